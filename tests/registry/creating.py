"""
A process that creates sessions, for others to race with or to kill.

Run as a module by ``racing`` and ``killing``. It answers on its standard
output, and begins when it is told to on its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Any, NamedTuple, NoReturn, TypeAlias

from idlanyard.registry import AsyncSessionRegistry, SessionExists, SessionRegistry


class Tally(NamedTuple):
    """
    The outcome of a race.

    Attributes:
        created: the IDs that were created.
        refused: how many were there already, by ``SessionExists``.
        others: whatever else was raised.
    """

    created: list[str]
    refused: int
    others: list[str]


Creates: TypeAlias = Callable[[list[str]], Tally]
# A machine that stalls for longer than the default timeout is no part of a race or a kill.
PATIENCE = 60.0


def sum_of(tallies: list[Tally]) -> Tally:
    """
    Return what became of several.
    """
    return Tally(
        [name for tally in tallies for name in tally.created],
        sum(tally.refused for tally in tallies),
        [other for tally in tallies for other in tally.others],
    )


@contextmanager
def threads(url: str, workers: int) -> Iterator[Creates]:
    """
    Lend what creates every ID in every one of some threads.
    """

    def work(names: list[str]) -> Tally:
        tally = Tally([], 0, [])
        for name in names:
            try:
                tally.created.append(registry.create(name).session_id)
            except SessionExists:
                tally = tally._replace(refused=tally.refused + 1)
            except Exception as error:
                tally.others.append(f"{error!r} {error.__cause__!r}")
        return tally

    with (
        SessionRegistry.open(url, timeout=PATIENCE) as registry,
        ThreadPoolExecutor(workers) as pool,
    ):
        yield lambda names: sum_of(list(pool.map(work, shuffled(names, workers))))


@contextmanager
def tasks(url: str, workers: int) -> Iterator[Creates]:
    """
    Lend what creates every ID in every one of some tasks.
    """

    async def work(names: list[str]) -> Tally:
        tally = Tally([], 0, [])
        for name in names:
            try:
                tally.created.append((await registry.create(name)).session_id)
            except SessionExists:
                tally = tally._replace(refused=tally.refused + 1)
            except Exception as error:
                tally.others.append(f"{error!r} {error.__cause__!r}")
        return tally

    async def create(names: list[str]) -> Tally:
        return sum_of(await asyncio.gather(*map(work, shuffled(names, workers))))

    registry = AsyncSessionRegistry.open(url, timeout=PATIENCE)
    with asyncio.Runner() as runner:
        try:
            yield lambda names: runner.run(create(names))
        finally:
            runner.run(registry.close())


def shuffled(names: list[str], workers: int) -> list[list[str]]:
    """
    Return the IDs in an order of its own for each worker.

    Every process has the same orders: two workers, one in each, go side by side.
    """
    return [Random(number).sample(names, len(names)) for number in range(workers)]


def race(url: str, *, workers: int, awaited: bool) -> None:
    """
    For each line that comes, IDs in JSON, create them in every worker, and say the tally.
    """
    with (tasks if awaited else threads)(url, workers) as create:
        _say("ready")
        for line in sys.stdin:
            _say(json.dumps(create(json.loads(line))))


def await_kill() -> None:
    """
    For each line that comes, a URL and a start, let a child create sessions until it is killed.

    The child says its number, then ``?`` and a number before each session,
    and ``+`` and the number behind it; this says how the child ended.
    """
    _say("ready")
    for line in sys.stdin:
        url, start = json.loads(line)
        # So that the children need not import its library, each for itself.
        SessionRegistry.open(url).close()
        child = os.fork()
        if not child:
            _create_until_killed(url, start)
        _, status = os.waitpid(child, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _create_until_killed(url: str, start: str) -> NoReturn:
    try:
        _say(str(os.getpid()))
        registry = SessionRegistry.open(url, timeout=PATIENCE)
        for number in count():
            _say(f"?{number}")
            registry.create(f"{start}-{number}", client_id=start, metadata={"n": number})
            _say(f"+{number}")
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _say(line: str) -> None:
    # One write: what is said is said whole, or not at all.
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def main() -> None:
    task: dict[str, Any] = json.loads(sys.argv[1])
    (race if "workers" in task else await_kill)(**task)


if __name__ == "__main__":
    main()

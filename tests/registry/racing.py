"""
Races of several processes to create the same sessions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias
from uuid import uuid4

from registry import creating
from registry.creating import Tally, sum_of, tasks, threads

ROUND = 250
Process: TypeAlias = "subprocess.Popen[str]"


class Outcome(NamedTuple):
    """
    The outcome of a race.

    Attributes:
        names: the IDs that were to be created.
        workers: how many created every one of them, in each process.
        tallies: what became of it in each process.
        seconds: how long all of it took.
    """

    names: list[str]
    workers: int
    tallies: list[Tally]
    seconds: float

    @property
    def tally(self) -> Tally:
        """
        The outcome of all rounds.
        """
        return sum_of(self.tallies)


@contextmanager
def process_that(**task: object) -> Iterator[Process]:
    """
    Lend a process that is ready for a task of ``creating``.
    """
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", creating.__name__, json.dumps(task)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    with process:
        try:
            assert heard(process) == "ready"
            yield process
            process.communicate()
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    """
    Return what a process of ours is to know: where it is, and nothing that slows it.
    """
    home = str(Path(creating.__file__).parents[1])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    slowing = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "PYTHONDEVMODE")
    kept = {name: value for name, value in os.environ.items() if name not in slowing}
    return kept | {"PYTHONPATH": path}


def tell(process: Process, line: str) -> None:
    """
    Tell a process one line.
    """
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def heard(process: Process) -> str:
    """
    Return the next line that a process says.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process has ended"
    return line.rstrip("\n")


def race_of(
    url: str, *, ids: int, workers: int = 8, processes: int = 2, awaited: bool = False
) -> Outcome:
    """
    Make processes create the same sessions at once, in threads or tasks, in rounds.

    In rounds, since whoever is ahead stays ahead, and then nobody races.
    """
    task = {"url": url, "workers": workers, "awaited": awaited}
    with ExitStack() as stack:
        running = [stack.enter_context(process_that(**task)) for _ in range(processes)]

        def create(names: list[str]) -> list[Tally]:
            for process in running:
                tell(process, json.dumps(names))
            return [Tally(*json.loads(heard(process))) for process in running]

        return _in_rounds(create, ids, workers)


def race_here(url: str, *, ids: int, workers: int = 8, awaited: bool = False) -> Outcome:
    """
    The same in this process alone.
    """
    with (tasks if awaited else threads)(url, workers) as create:
        return _in_rounds(lambda names: [create(names)], ids, workers)


def _in_rounds(create: Callable[[list[str]], list[Tally]], ids: int, workers: int) -> Outcome:
    start = uuid4().hex
    names = [f"{start}-{number}" for number in range(ids)]
    began = time.monotonic()
    rounds = [create(names[first : first + ROUND]) for first in range(0, ids, ROUND)]
    seconds = time.monotonic() - began
    return Outcome(
        names, workers, [sum_of(list(one)) for one in zip(*rounds, strict=True)], seconds
    )

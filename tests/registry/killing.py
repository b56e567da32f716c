"""
Kills of processes that create sessions, and of servers that keep them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from random import Random
from typing import NamedTuple, Protocol
from uuid import uuid4

from idlanyard.registry import RegistryUnavailable, SessionRecord, SessionRegistry
from registry.creating import PATIENCE
from registry.racing import Process, heard, process_that, tell

MOST_AWAITED = 30
LONGEST_WAIT = 0.003
PAGE = 100


class Kill(NamedTuple):
    """
    The sessions after one kill.

    Attributes:
        acknowledged: how many creates had returned.
        unanswered: how many had not.
        lost: what was acknowledged, and is not there.
        unsound: what is there, and not as it was created.
    """

    acknowledged: int
    unanswered: int
    lost: list[str]
    unsound: list[str]


class Outcome(NamedTuple):
    """
    The sessions after many kills.
    """

    kills: list[Kill]
    seconds: float

    @property
    def acknowledged(self) -> int:
        """
        How many creates had returned.
        """
        return sum(kill.acknowledged for kill in self.kills)

    @property
    def unanswered(self) -> int:
        """
        How many had not.
        """
        return sum(kill.unanswered for kill in self.kills)

    @property
    def lost(self) -> list[str]:
        """
        Sessions that were acknowledged and are gone.
        """
        return [name for kill in self.kills for name in kill.lost]

    @property
    def unsound(self) -> list[str]:
        """
        Sessions that are there, but not as they were created.
        """
        return [name for kill in self.kills for name in kill.unsound]


class Server(Protocol):
    """
    A store's server that may be killed.
    """

    @property
    def url(self) -> str:
        """
        The address of it.
        """
        ...

    def start(self) -> object:
        """
        Start it anew, with what it has persisted.
        """
        ...

    def kill(self) -> None:
        """
        Send it SIGKILL.
        """
        ...


def kill_clients(
    urls: Iterable[str],
    *,
    chance: Random,
    most: int = MOST_AWAITED,
    longest: float = LONGEST_WAIT,
) -> Outcome:
    """
    Kill processes at random moments while they create sessions.

    Args:
        urls: the store of each.
        chance: says the moments.
        most: after how many creates at most.
        longest: how many seconds into the next one at most.
    """
    began = time.monotonic()
    with process_that() as process:
        kills = [_kill_client(process, url, chance, most, longest) for url in urls]
    return Outcome(kills, time.monotonic() - began)


def _kill_client(process: Process, url: str, chance: Random, most: int, longest: float) -> Kill:
    start = uuid4().hex
    tell(process, json.dumps([url, start]))
    child = int(heard(process))
    # Each create says two lines, one before and one behind it; the next has begun.
    said = [_heard_of_a_create(process) for _ in range(2 * chance.randint(0, most) + 1)]
    time.sleep(chance.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    while not (line := heard(process)).startswith("ended"):
        said.append(line)
    assert line == f"ended -{signal.SIGKILL}"
    return examined(url, start, *divmod(len(said), 2))


def _heard_of_a_create(process: Process) -> str:
    line = heard(process)
    # Nothing more would come of a child that has ended, and waiting for it would not end.
    assert line.startswith(("?", "+")), f"the child {line} before it was killed"
    return line


def kill_servers(server: Server, *, times: int, chance: Random) -> Outcome:
    """
    Kill a server at random moments while one registry creates sessions in it.

    That registry is the same before and after: it connects anew.
    """
    began = time.monotonic()
    opened = SessionRegistry.open(server.url, timeout=PATIENCE)
    with opened as registry, ThreadPoolExecutor(1) as pool:
        kills = [_kill_server(server, registry, pool, chance) for _ in range(times)]
    return Outcome(kills, time.monotonic() - began)


def _kill_server(
    server: Server, registry: SessionRegistry, pool: ThreadPoolExecutor, chance: Random
) -> Kill:
    start = uuid4().hex
    answers: SimpleQueue[int] = SimpleQueue()
    created = pool.submit(_create_until_unavailable, registry, start, answers.put)
    try:
        for _ in range(chance.randint(0, MOST_AWAITED)):
            answers.get(timeout=60)
        time.sleep(chance.uniform(0, LONGEST_WAIT))
    finally:
        # Creates end with the server alone, and the pool waits for them.
        server.kill()
    acknowledged = created.result(timeout=60)
    server.start()
    return examined(server.url, start, acknowledged, 1)


def _create_until_unavailable(
    registry: SessionRegistry, start: str, answered: Callable[[int], None]
) -> int:
    number = 0
    try:
        while True:
            registry.create(f"{start}-{number}", client_id=start, metadata={"n": number})
            answered(number)
            number += 1
    except RegistryUnavailable:
        return number


def examined(url: str, start: str, acknowledged: int, unanswered: int) -> Kill:
    """
    Return what a new registry finds of the sessions of one kill, and let it create another.
    """
    whole = {f"{start}-{number}": {"n": number} for number in range(acknowledged + unanswered)}
    with SessionRegistry.open(url, timeout=PATIENCE) as registry:
        there = [name for name in whole if registry.exists(name)]
        found = {one.session_id: one.metadata for one in paged(registry, start)}
        registry.create(f"{start}-next", client_id=start)
    lost = [name for name in list(whole)[:acknowledged] if name not in there]
    unsound = [name for name, metadata in found.items() if metadata != whole.get(name)]
    return Kill(acknowledged, unanswered, lost, unsound + sorted(found.keys() ^ set(there)))


def paged(registry: SessionRegistry, client: str) -> Iterator[SessionRecord]:
    """
    Yield all sessions of a client, page by page.
    """
    after = None
    while page := registry.find(client_id=client, limit=PAGE, after=after):
        yield from page
        after = page[-1].session_id

"""
The stores whose registry is measured, each on a server of its own, and how they are filled.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import registry_by_hand as by_hand

from idlanyard.registry._questions import Put
from idlanyard.registry._record import Kept

# The servers are those of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from registry.postgres import PostgreSQL, execute, fresh_database
from registry.valkey import Valkey

if TYPE_CHECKING:
    from registry_faces import Face

BATCH = 1000
PER_CLIENT = 100


class Sessions(NamedTuple):
    """
    The sessions that a store is filled with; each client has as many.

    Attributes:
        number: how many.
        per_client: how many of them one client has.
        seconds: after how many they expire; ``None`` is never.
        start: what their IDs begin with.
    """

    number: int
    per_client: int = PER_CLIENT
    seconds: float | None = None
    start: str = "session"

    @property
    def ttl(self) -> int | None:
        """
        The time to live, in microseconds.
        """
        return None if self.seconds is None else int(self.seconds * 1_000_000)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """
        Yield the ID of each session, and whose it is.
        """
        for number in range(self.number):
            yield name_of(number, self.start), f"client-{number // self.per_client}"


def name_of(number: int, start: str = "session") -> str:
    """
    Return the ID of a session that a store is filled with.
    """
    return f"{start}-{number}"


class Store(NamedTuple):
    """
    A kind of store.

    Attributes:
        empty: lends the URL of a new one.
        by_hand: who creates sessions in it by hand, for each face.
    """

    empty: Callable[[], AbstractContextManager[str]]
    by_hand: Mapping[str, Callable[[str], Any]]


def fill(face: Face, opened: Any, url: str, sessions: Sessions) -> None:
    """
    Put them into the store of an open registry, and let a server of tables settle.
    """
    now = time.time_ns() // 1000
    expires = None if sessions.seconds is None else now + int(sessions.seconds * 1_000_000)
    pairs = sessions.pairs()
    while batch := list(islice(pairs, BATCH)):
        kept = [Kept(name, client, "{}", sessions.ttl, now, expires) for name, client in batch]
        face.done(opened._store.ask(Put(kept)))
    if url.startswith("postgresql:"):
        execute(url, "VACUUM ANALYZE idlanyard_sessions")
        execute(url, "CHECKPOINT")


def _one_after_the_other(urls: Iterator[str]) -> Callable[[], AbstractContextManager[str]]:
    """
    Return what lends one URL after the other.
    """

    @contextmanager
    def empty() -> Iterator[str]:
        yield next(urls)

    return empty


def _memory(stack: ExitStack) -> Store:
    hands = {"sync": by_hand.MemoryByHand, "async": by_hand.MemoryAwaited}
    return Store(_one_after_the_other(repeat("memory://")), hands)


def _sqlite(stack: ExitStack) -> Store:
    home = stack.enter_context(TemporaryDirectory(prefix="idlanyard-"))
    urls = (f"sqlite:///{home}/{number}.db" for number in count())
    hands = {"sync": by_hand.SqliteByHand, "async": by_hand.SqliteAwaited}
    return Store(_one_after_the_other(urls), hands)


def _postgresql(stack: ExitStack) -> Store:
    server = stack.enter_context(PostgreSQL())
    hands = {"sync": by_hand.PostgresqlByHand, "async": by_hand.PostgresqlAwaited}
    return Store(partial(fresh_database, server.url), hands)


def _valkey(stack: ExitStack) -> Store:
    server = stack.enter_context(Valkey(databases=100))
    urls = (f"redis://127.0.0.1:{server.port}/{number}" for number in count())
    hands = {"sync": by_hand.RedisByHand, "async": by_hand.RedisAwaited}
    return Store(_one_after_the_other(urls), hands)


STORES = {"memory": _memory, "SQLite": _sqlite, "PostgreSQL": _postgresql, "Valkey": _valkey}


@contextmanager
def started(name: str) -> Iterator[Store]:
    """
    Lend a kind of store, whose server runs as long.
    """
    with ExitStack() as stack:
        yield STORES[name](stack)

"""
The stores whose registry is measured, each on a server of its own, and how they are filled.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from hashlib import sha256
from itertools import count, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
import registry_by_hand as by_hand

# The servers are those of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from registries.postgres import PostgreSQL, execute, fresh_database
from registries.valkey import Valkey

if TYPE_CHECKING:
    from registry_faces import Face

BATCH = 1000
PER_CLIENT = 100


class Sessions(NamedTuple):
    """
    The sessions that a store is filled with; each client has as many.
    """

    number: int
    per_client: int = PER_CLIENT

    def pairs(self) -> Iterator[tuple[str, str]]:
        """
        Yield the ID of each session, and whose it is.
        """
        for number in range(self.number):
            yield name_of(number), f"client-{number // self.per_client}"


def name_of(number: int) -> str:
    """
    Return the ID of a session that a store is filled with.
    """
    return f"session-{number}"


class Store(NamedTuple):
    """
    A kind of store.

    Attributes:
        empty: lends the URL of a new one.
        by_hand: who creates sessions in it by hand, for each face.
        fill: puts sessions into one that is open: face, registry, URL, sessions.
    """

    empty: Callable[[], AbstractContextManager[str]]
    by_hand: Mapping[str, Callable[[str], Any]]
    fill: Callable[[Face, Any, str, Sessions], None]


def fill_memory(face: Face, opened: Any, url: str, sessions: Sessions) -> None:
    """
    Create them, one by one.
    """
    clients = dict(sessions.pairs())
    face.timed(lambda name: opened.create(name, client_id=clients[name]), list(clients))


def fill_sqlite(face: Face, opened: Any, url: str, sessions: Sessions) -> None:
    """
    Insert them in one transaction.
    """
    face.done(opened.exists("x"))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.executemany(
            "INSERT INTO idlanyard_sessions VALUES (?, ?, ?, ?, '{}', NULL, 0, NULL)",
            ((_key(name), name, _key(client), client) for name, client in sessions.pairs()),
        )


def fill_postgresql(face: Face, opened: Any, url: str, sessions: Sessions) -> None:
    """
    Let the server make them, and settle.
    """
    face.done(opened.exists("x"))
    execute(
        url,
        "INSERT INTO idlanyard_sessions (key, session_id, client_key, client_id, metadata,"
        " created_at) SELECT sha256(name::bytea), name, sha256(client::bytea), client, '{}', now()"
        f" FROM (SELECT 'session-' || n AS name, 'client-' || n / {sessions.per_client} AS client"
        f" FROM generate_series(0, {sessions.number - 1}) AS n) AS numbered",
    )
    execute(url, "VACUUM ANALYZE idlanyard_sessions")
    execute(url, "CHECKPOINT")


def fill_redis(face: Face, opened: Any, url: str, sessions: Sessions) -> None:
    """
    Send them in batches.
    """
    with closing(redis.Redis.from_url(url)) as client:
        by_hand.RedisByHand(url).close()
        pipeline = client.pipeline(transaction=False)
        for name, owner in sessions.pairs():
            pipeline.evalsha(*by_hand.words_of(name, owner))
            if len(pipeline) == BATCH:
                pipeline.execute()
        pipeline.execute()


def _key(text: str) -> bytes:
    return sha256(text.encode()).digest()


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
    return Store(_one_after_the_other(repeat("memory://")), hands, fill_memory)


def _sqlite(stack: ExitStack) -> Store:
    home = stack.enter_context(TemporaryDirectory(prefix="idlanyard-"))
    urls = (f"sqlite:///{home}/{number}.db" for number in count())
    hands = {"sync": by_hand.SqliteByHand, "async": by_hand.SqliteAwaited}
    return Store(_one_after_the_other(urls), hands, fill_sqlite)


def _postgresql(stack: ExitStack) -> Store:
    server = stack.enter_context(PostgreSQL())
    hands = {"sync": by_hand.PostgresqlByHand, "async": by_hand.PostgresqlAwaited}
    return Store(partial(fresh_database, server.url), hands, fill_postgresql)


def _valkey(stack: ExitStack) -> Store:
    server = stack.enter_context(Valkey(databases=100))
    urls = (f"redis://127.0.0.1:{server.port}/{number}" for number in count())
    hands = {"sync": by_hand.RedisByHand, "async": by_hand.RedisAwaited}
    return Store(_one_after_the_other(urls), hands, fill_redis)


STORES = {"memory": _memory, "SQLite": _sqlite, "PostgreSQL": _postgresql, "Valkey": _valkey}


@contextmanager
def started(name: str) -> Iterator[Store]:
    """
    Lend a kind of store, whose server runs as long.
    """
    with ExitStack() as stack:
        yield STORES[name](stack)

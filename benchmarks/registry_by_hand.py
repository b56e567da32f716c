"""
The registry's statements by hand: the least that creates a session in each store.

Who does it by hand uses the same library with the same settings, knows the
statement, and does nothing else: no check, no time limit, no record.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from os import urandom
from threading import Lock
from time import time_ns
from typing import Any

import psycopg
import redis
import redis.asyncio
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from idlanyard.registry._postgresql._schema import sessions_table
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._scripts import INSERT
from idlanyard.registry._sqlite._commands import Statements as SqliteStatements

DIALECT = "postgresql+psycopg://"
POOL: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "pool_size": 10,
    "max_overflow": 0,
    "pool_use_lifo": True,
    "use_native_hstore": False,
    "hide_parameters": True,
}
STATEMENTS = Statements(sessions_table("idlanyard"))
SPACE = Namespace("idlanyard")
SQLITE = SqliteStatements("idlanyard")


class MemoryByHand:
    """
    A dictionary with a lock.
    """

    def __init__(self, url: str) -> None:
        self._lock = Lock()
        self._kept: dict[bytes, tuple[str, int]] = {}

    def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        key = sha256(name.encode()).digest()
        new = (name, time_ns() // 1000)
        with self._lock:
            return self._kept.setdefault(key, new) is new

    def close(self) -> None: ...


class MemoryAwaited:
    """
    The same, awaited.
    """

    def __init__(self, url: str) -> None:
        self._kept = MemoryByHand(url)

    async def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        return self._kept.create(name)

    async def close(self) -> None: ...


def values_of(name: str) -> dict[str, Any]:
    """
    Return what the statements take.
    """
    return {
        "key": sha256(name.encode()).digest(),
        "session_id": name,
        "client_key": None,
        "client_id": None,
        "metadata": "{}",
        "lifetime": None,
    }


class SqliteByHand:
    """
    The standard library, with one connection.
    """

    def __init__(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._insert = SQLITE.insert

    def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        values = (*list(values_of(name).values()), time_ns() // 1000, None)
        return self._connection.execute(self._insert, values).rowcount == 1

    def close(self) -> None:
        self._connection.close()


class SqliteAwaited:
    """
    The same in a thread, for an event loop.
    """

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting = SqliteByHand(url)

    async def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._waiting.create, name)

    async def close(self) -> None:
        self._thread.shutdown()
        self._waiting.close()


class PostgresqlByHand:
    """
    SQLAlchemy Core and psycopg, with threads.
    """

    def __init__(self, url: str) -> None:
        def connect() -> psycopg.Connection[Any]:
            return psycopg.connect(url, prepare_threshold=None)

        self._engine = create_engine(DIALECT, creator=connect, **POOL)

    def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        with self._engine.connect() as connection:
            return bool(connection.execute(STATEMENTS.insert, values_of(name)).all())

    def close(self) -> None:
        self._engine.dispose()


class PostgresqlAwaited:
    """
    The same on an event loop.
    """

    def __init__(self, url: str) -> None:
        async def connect() -> psycopg.AsyncConnection[Any]:
            return await psycopg.AsyncConnection.connect(url, prepare_threshold=None)

        self._engine = create_async_engine(DIALECT, async_creator=connect, **POOL)

    async def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        async with self._engine.connect() as connection:
            return bool((await connection.execute(STATEMENTS.insert, values_of(name))).all())

    async def close(self) -> None:
        await self._engine.dispose()


def words_of(name: str, client: str | None = None) -> list[Any]:
    """
    Return what the script takes.
    """
    key = sha256(name.encode()).digest()
    keys: list[bytes] = [SPACE.session(key)]
    words: list[Any] = [urandom(16), name.encode(), "{}", b""]
    if client is not None:
        client_key = sha256(client.encode()).digest()
        keys += (SPACE.index(key, client_key), SPACE.ends(key, client_key))
        words += [client.encode(), client_key]
    return [INSERT.sha, len(keys), *keys, *words]


class RedisByHand:
    """
    redis-py, with threads.
    """

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, protocol=2)
        self._client.script_load(INSERT.text)

    def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        return self._client.evalsha(*words_of(name)) is not None

    def close(self) -> None:
        self._client.close()


class RedisAwaited:
    """
    The same on an event loop; the server has the script already.
    """

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url, protocol=2)

    async def create(self, name: str) -> bool:
        """
        Create a session, and say whether it is new.
        """
        return await self._client.evalsha(*words_of(name)) is not None

    async def close(self) -> None:
        await self._client.aclose()

"""
Connections that end when a question's time is up, and the engines that pool them.

The server ends a statement that takes too long (``statement_timeout``). Where it
does not answer at all, the waiting ends here, and the connection with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg
from psycopg import waiting
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

    from idlanyard.registry._pools import Pool

T = TypeVar("T")

SCHEME: Final = "postgresql"

# The moment at which the question of this thread or task has taken too long.
deadline: Final = ContextVar("idlanyard_registry_deadline", default=math.inf)

_attempts: Final[ContextVar[list[Generator[Any, Any, Any]]]] = ContextVar(
    "idlanyard_registry_attempts"
)
_DIALECT: Final = "postgresql+psycopg://"
_LONGEST: Final = 60.0
# SQL_ASCII keeps the bytes of UTF-8 as they are; every other encoding changes them.
_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})


class BoundedConnection(psycopg.Connection[Any]):
    """
    A connection that waits for its server until ``deadline``, and then is closed.
    """

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Any:
        return _until(deadline.get(), super()._connect_gen(*arguments, **options))

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """
        As psycopg's, until ``deadline``.
        """
        try:
            return super().wait(_until(deadline.get(), gen), *arguments, **options)
        except psycopg.errors.ConnectionTimeout:
            self.pgconn.finish()
            raise


class AsyncBoundedConnection(psycopg.AsyncConnection[Any]):
    """
    The same for an event loop. It is closed as well where its task is cancelled.

    psycopg's own would ask the server to cancel the statement and wait for the
    answer; of a server that does not answer, that is too long.
    """

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Any:
        attempt = super()._connect_gen(*arguments, **options)
        _attempts.get().append(attempt)
        return attempt

    @classmethod
    async def opened(cls, parameters: dict[str, Any]) -> Self:
        """
        Return a new connection; where the task is cancelled, nothing of it stays.
        """
        attempts: list[Generator[Any, Any, Any]] = []
        token = _attempts.set(attempts)
        try:
            return await cls.connect(**parameters, prepare_threshold=None)
        finally:
            _attempts.reset(token)
            # psycopg leaves that to the garbage collector.
            for attempt in attempts:
                attempt.close()

    async def wait(self, gen: Generator[Any, Any, T], *_: Any, **__: Any) -> T:
        """
        As psycopg's, until ``deadline``.
        """
        moment = deadline.get()
        # Timers may come early by the resolution of the clock.
        rest = min(max(moment - monotonic(), 0.0) + 0.001, _LONGEST)
        try:
            return await waiting.wait_async(_until(moment, gen), self.pgconn.socket, interval=rest)
        except (psycopg.errors.ConnectionTimeout, asyncio.CancelledError):
            # SQLAlchemy 2.0 leaves a cancelled one to the garbage collector.
            self.pgconn.finish()
            raise


def _until(moment: float, waits: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """
    Let psycopg wait as it does, until a moment.
    """
    ready = None
    while True:
        try:
            wanted = waits.send(ready)
        except StopIteration as done:
            answer: T = done.value
            return answer
        if monotonic() >= moment:
            raise psycopg.errors.ConnectionTimeout("the server did not answer in time")
        ready = yield wanted


def engine_of(parameters: dict[str, Any], pool: Pool) -> Engine:
    """
    Return an engine for threads; each of its statements is a transaction.
    """

    def connect() -> BoundedConnection:
        connection = BoundedConnection.connect(**parameters, prepare_threshold=None)
        try:
            _check_encoding(connection.info)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    engine = create_engine(_DIALECT, creator=connect, **_settings(pool))
    event.listen(engine, "checkout", _check_alive)
    return engine


def async_engine_of(parameters: dict[str, Any], pool: Pool) -> AsyncEngine:
    """
    Return the same for an event loop.
    """

    async def connect() -> AsyncBoundedConnection:
        connection = await AsyncBoundedConnection.opened(parameters)
        try:
            _check_encoding(connection.info)
        except psycopg.Error:
            await connection.close()
            raise
        return connection

    engine = create_async_engine(_DIALECT, async_creator=connect, **_settings(pool))
    event.listen(engine.sync_engine, "checkout", _check_alive)
    return engine


def _settings(pool: Pool) -> dict[str, Any]:
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": pool.size,
        "max_overflow": pool.most - pool.size,
        "pool_timeout": pool.wait,
        "pool_use_lifo": True,
        "use_native_hstore": False,
        "hide_parameters": True,
    }


def _check_encoding(info: psycopg.ConnectionInfo) -> None:
    encoding = info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS:
        raise psycopg.NotSupportedError(
            f"the database's encoding is {encoding}: make one with ENCODING 'UTF8'"
        )


def _check_alive(_: object, entry: ConnectionPoolEntry, __: object) -> None:
    """
    Give up a pooled connection that the server has closed meanwhile.

    This looks at what has arrived, and asks the server nothing. What is read
    first may be its last words, and only what is read next the end.
    """
    connection: Any = entry.driver_connection
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError as error:
        raise DisconnectionError from error

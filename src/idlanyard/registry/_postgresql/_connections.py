"""
Connections that end at a question's deadline, and the engines that use them.

The server ends a statement that takes too long (``statement_timeout``). If it
does not answer at all, the wait ends here at the deadline, and the connection
is closed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg import waiting
from psycopg.pq import ConnStatus, TransactionStatus
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

T = TypeVar("T")

SCHEME: Final = "postgresql"

# The moment of the monotonic clock at which the current question of this thread or task ends.
deadline: Final = ContextVar("idlanyard_registry_deadline", default=math.inf)

ROOM: Final = text(
    """
    SELECT least(
        CAST(current_setting('max_connections') AS int)
        - CAST(current_setting('superuser_reserved_connections') AS int)
        - CAST(coalesce(current_setting('reserved_connections', true), '0') AS int)
        - count(*),
        (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user AND rolconnlimit >= 0)
        - count(*) FILTER (WHERE usename = session_user),
        (SELECT datconnlimit FROM pg_database
            WHERE datname = current_database() AND datconnlimit >= 0)
        - count(*) FILTER (WHERE datname = current_database())
    )
    FROM pg_stat_activity WHERE datid IS NOT NULL
    """
)
"""
The number of connections that the server has left for this role.
"""
_DIALECT: Final = "postgresql+psycopg://"
_LONGEST_WAIT: Final = 60.0
# SQL_ASCII keeps the bytes of UTF-8 as they are; every other encoding changes them.
_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})
_READ_ONLY_PARAMETERS: Final = (b"in_hot_standby", b"default_transaction_read_only")


class PooledConnection:
    """
    A connection of our pool, detached from the pools of SQLAlchemy and psycopg.

    Attributes:
        connection: SQLAlchemy's ``Connection`` or ``AsyncConnection``.
        generation: the generation of the pool in which it was opened.
        has_answered: whether the server has answered a statement on it.
        is_new: whether it was opened for the current question.
    """

    __slots__ = ("_driver", "_was_writable", "connection", "generation", "has_answered", "is_new")

    def __init__(
        self, connection: Any, driver: psycopg.BaseConnection[Any], generation: int
    ) -> None:
        self.connection = connection
        self.generation = generation
        self.has_answered = False
        self.is_new = True
        self._driver = driver
        self._was_writable = self._is_writable()

    def is_alive(self) -> bool:
        """
        Return whether the connection is usable, as far as is known without asking the server.
        """
        wire = self._driver.pgconn
        try:
            if wire.status == ConnStatus.OK:
                # The first read may get the server's last message, and only the second its end.
                wire.consume_input()
                wire.consume_input()
        except psycopg.OperationalError:
            return False
        return wire.status == ConnStatus.OK and wire.transaction_status == TransactionStatus.IDLE

    def is_demoted(self) -> bool:
        """
        Return whether the server accepted writes before, and reports now that it does not.

        PostgreSQL 14 and later report it beside their answers.
        """
        is_writable = self._is_writable()
        if is_writable:
            self._was_writable = True
        return self._was_writable and not is_writable

    def close(self) -> None:
        """
        Close the connection, at once and from any thread. Closing twice is harmless.
        """
        self._driver.pgconn.finish()

    def _is_writable(self) -> bool:
        wire = self._driver.pgconn
        return all(wire.parameter_status(name) != b"on" for name in _READ_ONLY_PARAMETERS)


class _Opening:
    """
    A connection that is being opened, to one host or to the first of several that answers.

    Args:
        hosts: the number of hosts.
    """

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts
        self._attempts: list[Generator[Any, Any, Any]] = []
        self.connection: psycopg.BaseConnection[Any] | None = None

    def bound_attempt(self, waits: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """
        Return psycopg's attempt at one host, limited to its share of the remaining time.
        """
        now, hosts_left = monotonic(), max(1, self._hosts - len(self._attempts))
        bounded = _wait_until(now + (deadline.get() - now) / hosts_left, waits)
        self._attempts.append(bounded)
        return bounded

    def close(self) -> None:
        """
        Close the sockets to every host, which psycopg leaves to the garbage collector.
        """
        for attempt in self._attempts:
            attempt.close()
        if self.connection is not None:
            self.connection.pgconn.finish()


_opening: Final[ContextVar[_Opening]] = ContextVar("idlanyard_registry_opening")


class BoundedConnection(psycopg.Connection[Any]):
    """
    A connection that waits for its server until ``deadline``, and is closed then.
    """

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Any:
        return _opening.get().bound_attempt(super()._connect_gen(*arguments, **options))

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """
        Wait as psycopg does, until ``deadline``.
        """
        try:
            return super().wait(_wait_until(deadline.get(), gen), *arguments, **options)
        except psycopg.errors.ConnectionTimeout:
            self.pgconn.finish()
            raise


class AsyncBoundedConnection(psycopg.AsyncConnection[Any]):
    """
    The same for an event loop. It is also closed if its task is cancelled.

    psycopg would ask the server to cancel the statement and wait for the answer.
    If the server does not answer, that takes too long.
    """

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Any:
        return _opening.get().bound_attempt(super()._connect_gen(*arguments, **options))

    async def wait(self, gen: Generator[Any, Any, T], *_: Any, **__: Any) -> T:
        """
        Wait as psycopg does, until ``deadline``.
        """
        moment = deadline.get()
        # A timer may fire early, by the resolution of the clock.
        rest = min(max(moment - monotonic(), 0.0) + 0.001, _LONGEST_WAIT)
        waits = _wait_until(moment, gen)
        try:
            return await waiting.wait_async(waits, self.pgconn.socket, interval=rest)
        except (psycopg.errors.ConnectionTimeout, asyncio.CancelledError):
            # SQLAlchemy 2.0 leaves a cancelled connection to the garbage collector.
            self.pgconn.finish()
            raise


def _wait_until(moment: float, waits: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """
    Run psycopg's generator of waits, and raise ``ConnectionTimeout`` at a moment.
    """
    ready = None
    try:
        while True:
            try:
                wanted = waits.send(ready)
            except StopIteration as done:
                answer: T = done.value
                return answer
            if monotonic() >= moment:
                raise psycopg.errors.ConnectionTimeout("the server did not answer in time")
            ready = yield wanted
    finally:
        waits.close()


def create_sync_engine(parameters: dict[str, Any]) -> Engine:
    """
    Return an engine for threads. Each of its statements is a transaction.
    """

    def connect() -> BoundedConnection:
        made = BoundedConnection.connect(**parameters, prepare_threshold=None)
        _opening.get().connection = made
        _check_encoding(made.info)
        return made

    return create_engine(_DIALECT, creator=connect, **_SETTINGS)


def create_loop_engine(parameters: dict[str, Any]) -> AsyncEngine:
    """
    Return an engine for an event loop. Each of its statements is a transaction.
    """

    async def connect() -> AsyncBoundedConnection:
        made = await AsyncBoundedConnection.connect(**parameters, prepare_threshold=None)
        _opening.get().connection = made
        _check_encoding(made.info)
        return made

    return create_async_engine(_DIALECT, async_creator=connect, **_SETTINGS)


@contextmanager
def close_unless_opened(parameters: dict[str, Any]) -> Generator[None]:
    """
    Close all sockets of a connection if opening it fails within this block.
    """
    opening = _Opening(str(parameters.get("host", "")).count(",") + 1)
    token = _opening.set(opening)
    try:
        yield
    except BaseException:
        opening.close()
        raise
    finally:
        _opening.reset(token)


def detach_connection(connection: Any, sync_connection: Any, generation: int) -> PooledConnection:
    """
    Return a new connection, detached from SQLAlchemy's pool.

    Args:
        connection: SQLAlchemy's connection, on which statements are executed.
        sync_connection: the same, or the sync connection inside an async one.
        generation: the current generation of our pool.
    """
    driver = sync_connection.connection.driver_connection
    sync_connection.detach()
    return PooledConnection(connection, driver, generation)


# SQLAlchemy's own pools would try dead connections first, and wait without our deadline.
_SETTINGS: Final[dict[str, Any]] = {
    "isolation_level": "AUTOCOMMIT",
    "poolclass": NullPool,
    "use_native_hstore": False,
    "hide_parameters": True,
}


def _check_encoding(info: psycopg.ConnectionInfo) -> None:
    encoding = info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS:
        raise psycopg.NotSupportedError(
            f"the database's encoding is {encoding}: make one with ENCODING 'UTF8'"
        )

"""
Connections that end when a question's time is up, and the engines that ask by them.

The server ends a statement that takes too long (``statement_timeout``). Where it
does not answer at all, the waiting ends here, and the connection with it.
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
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from idlanyard.registry._postgresql._links import Link

T = TypeVar("T")

SCHEME: Final = "postgresql"

# The moment at which the question of this thread or task has taken too long.
deadline: Final = ContextVar("idlanyard_registry_deadline", default=math.inf)

_DIALECT: Final = "postgresql+psycopg://"
_LONGEST: Final = 60.0
# SQL_ASCII keeps the bytes of UTF-8 as they are; every other encoding changes them.
_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})


class _Opening:
    """
    One connection that is being opened, by way of one host or of several.

    Args:
        hosts: how many hosts there are to try.
    """

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts
        self._attempts: list[Generator[Any, Any, Any]] = []
        self.connection: psycopg.BaseConnection[Any] | None = None

    def attempt(self, waits: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """
        Let psycopg try one host, for its share of the time that is left.
        """
        now, rest = monotonic(), max(1, self._hosts - len(self._attempts))
        bounded = _until(now + (deadline.get() - now) / rest, waits)
        self._attempts.append(bounded)
        return bounded

    def give_up(self) -> None:
        """
        Hang up on every host, which psycopg leaves to the garbage collector.
        """
        for attempt in self._attempts:
            attempt.close()
        if self.connection is not None:
            self.connection.pgconn.finish()


_opening: Final[ContextVar[_Opening]] = ContextVar("idlanyard_registry_opening")


class BoundedConnection(psycopg.Connection[Any]):
    """
    A connection that waits for its server until ``deadline``, and then is closed.
    """

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Any:
        return _opening.get().attempt(super()._connect_gen(*arguments, **options))

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
        return _opening.get().attempt(super()._connect_gen(*arguments, **options))

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


def engine_of(parameters: dict[str, Any]) -> Engine:
    """
    Return an engine for threads; each of its statements is a transaction.
    """

    def connect() -> BoundedConnection:
        made = BoundedConnection.connect(**parameters, prepare_threshold=None)
        _opening.get().connection = made
        _check_encoding(made.info)
        return made

    return create_engine(_DIALECT, creator=connect, **_SETTINGS)


def async_engine_of(parameters: dict[str, Any]) -> AsyncEngine:
    """
    Return the same for an event loop.
    """

    async def connect() -> AsyncBoundedConnection:
        made = await AsyncBoundedConnection.connect(**parameters, prepare_threshold=None)
        _opening.get().connection = made
        _check_encoding(made.info)
        return made

    return create_async_engine(_DIALECT, async_creator=connect, **_SETTINGS)


@contextmanager
def opening(parameters: dict[str, Any]) -> Generator[None]:
    """
    Leave nothing open of a connection that could not be opened within this block.
    """
    one = _Opening(str(parameters.get("host", "")).count(",") + 1)
    token = _opening.set(one)
    try:
        yield
    except BaseException:
        one.give_up()
        raise
    finally:
        _opening.reset(token)


def link_of(connection: Any, inner: Any, generation: int) -> Link:
    """
    Return the link of a new connection, which is no longer SQLAlchemy's to pool.

    Args:
        connection: SQLAlchemy's, as questions are asked by it.
        inner: the same, or the one that an asynchronous one stands for.
        generation: of which generation it is.
    """
    driver = inner.connection.driver_connection
    inner.detach()
    return Link(connection, driver, generation)


# The places are the pool; SQLAlchemy's own would try dead connections first, and wait by itself.
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

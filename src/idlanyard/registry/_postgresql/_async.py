"""
``postgresql://`` for an event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._drive import drive_async
from idlanyard.registry._loops import OnLoop
from idlanyard.registry._postgresql._attempts import (
    WAIT_SHARE,
    Attempts,
    Execute,
    ReadRoom,
    Step,
    Wait,
)
from idlanyard.registry._postgresql._commands import Commands
from idlanyard.registry._postgresql._connections import (
    ROOM,
    PooledConnection,
    close_unless_opened,
    create_loop_engine,
    deadline,
    detach_connection,
)
from idlanyard.registry._postgresql._migration import Migration
from idlanyard.registry._postgresql._pool import ConnectionPool
from idlanyard.registry._postgresql._schema import sessions_table
from idlanyard.registry._postgresql._url import connection_parameters
from idlanyard.registry._questions import Purge, Question

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from idlanyard.registry._postgresql._statements import Statement
    from idlanyard.registry._urls import Pool

T = TypeVar("T")
# A statement's deadline is earlier than that of its task: a connection that times out by itself
# is known to be dead, and the pool replaces the others, too; one that was cancelled is not.
_STATEMENT_SHARE = 0.95


class _Home(NamedTuple):
    """
    The engine and the connections of one event loop.
    """

    engine: AsyncEngine
    pool: ConnectionPool


class AsyncPostgresqlStore:
    """
    A store whose connections belong to one event loop.

    If that loop is closed, the next use opens new connections on its own loop.
    """

    def __init__(
        self, parameters: dict[str, Any], *, timeout: float, namespace: str, pool: Pool
    ) -> None:
        table = sessions_table(namespace)
        self._parameters = parameters
        self._timeout = timeout
        self._bounds = pool
        self._table = table.name
        self._migration = Migration(table)
        self._commands = Commands(table, self._migration)
        self._homes = OnLoop(self._new_home, _close_home)

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question. Each batch of a purge has the whole timeout.
        """
        until = None if isinstance(question, Purge) else monotonic() + self._timeout
        steps = self._commands.steps(question)
        answer: T = await drive_async(steps, partial(self._answer, until))
        return answer

    async def close(self) -> None:
        """
        Close the connections, from any event loop; those in use when they come back.
        """
        held = self._homes.take()
        if held is not None:
            _close_home(held.state)

    async def _answer(self, until: float | None, statement: Statement) -> Any:
        """
        Return the answer to a statement, within the timeout if *until* is ``None``.
        """
        home, now = self._homes.get(), monotonic()
        seconds = self._timeout if until is None else until - now
        end = now + seconds * _STATEMENT_SHARE
        wait = min((end - now) * WAIT_SHARE, self._bounds.wait)
        is_check = statement.sql is None
        attempts = Attempts(home.pool, asyncio.Event, until=now + wait, is_fresh=is_check)
        token = deadline.set(end)
        try:
            async with asyncio.timeout(seconds):
                return await drive_async(attempts.steps(), partial(self._take, home, statement))
        except (SQLAlchemyError, psycopg.Error, TimeoutError) as error:
            reason = attempts.reason(error)
            raise attempts.failure(reason, self._table) from reason
        finally:
            deadline.reset(token)

    async def _take(self, home: _Home, statement: Statement, step: Step) -> Any:
        """
        Take one step of the attempts at a statement.
        """
        if isinstance(step, Execute):
            connection = step.connection.connection
            return await connection.run_sync(self._migration.execute, statement)
        if isinstance(step, Wait):
            with suppress(TimeoutError):
                async with asyncio.timeout(step.seconds):
                    await step.event.wait()
            return None
        if isinstance(step, ReadRoom):
            return await step.connection.connection.scalar(ROOM)
        return await self._open(home.engine, step.generation)

    async def _open(self, engine: AsyncEngine, generation: int) -> PooledConnection:
        with close_unless_opened(self._parameters):
            connection = await engine.connect()
            return detach_connection(connection, connection.sync_connection, generation)

    def _new_home(self) -> _Home:
        return _Home(create_loop_engine(self._parameters), ConnectionPool(self._bounds))


def _close_home(home: _Home) -> None:
    home.pool.replace_all(home.pool.generation)


def async_store(
    url: str, *, timeout: float, namespace: str, pool: Pool, **_: object
) -> AsyncPostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL; it connects on first use.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = connection_parameters(url, timeout)
    return AsyncPostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

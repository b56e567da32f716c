"""
``postgresql://`` for threads.
"""

from __future__ import annotations

import os
from functools import partial
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._drive import drive
from idlanyard.registry._postgresql._attempts import (
    WAIT_SHARE,
    Attempts,
    Execute,
    NoConnection,
    ReadRoom,
    Step,
    Wait,
)
from idlanyard.registry._postgresql._commands import Commands
from idlanyard.registry._postgresql._connections import (
    ROOM,
    PooledConnection,
    close_unless_opened,
    create_sync_engine,
    deadline,
    detach_connection,
)
from idlanyard.registry._postgresql._migration import Migration
from idlanyard.registry._postgresql._pool import ConnectionPool
from idlanyard.registry._postgresql._schema import sessions_table
from idlanyard.registry._postgresql._url import connection_parameters
from idlanyard.registry._questions import Purge, Question

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from idlanyard.registry._postgresql._statements import Statement
    from idlanyard.registry._urls import Pool

T = TypeVar("T")


class _Home(NamedTuple):
    """
    The engine and the connections of one process.
    """

    engine: Engine
    pool: ConnectionPool


class PostgresqlStore:
    """
    A store whose connections are shared by threads.

    After a fork, the child opens its own connections and leaves its parent's alone.
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
        self._homes: dict[int, _Home] = {}

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question. Each batch of a purge has the whole timeout.
        """
        until = None if isinstance(question, Purge) else monotonic() + self._timeout
        answer: T = drive(self._commands.steps(question), partial(self._answer, until))
        return answer

    def close(self) -> None:
        """
        Close the connections; those in use are closed when they come back.
        """
        home = self._homes.pop(os.getpid(), None)
        if home is not None:
            home.pool.replace_all(home.pool.generation)

    def _answer(self, until: float | None, statement: Statement) -> Any:
        """
        Return the answer to a statement, within the timeout if *until* is ``None``.
        """
        home, now = self._home(), monotonic()
        end = now + self._timeout if until is None else until
        wait = min((end - now) * WAIT_SHARE, self._bounds.wait)
        is_check = statement.sql is None
        attempts = Attempts(home.pool, Event, until=now + wait, is_fresh=is_check)
        token = deadline.set(end)
        try:
            return drive(attempts.steps(), partial(self._take, home, statement))
        except (SQLAlchemyError, psycopg.Error, NoConnection) as error:
            reason = attempts.reason(error)
            raise attempts.failure(reason, self._table) from reason
        finally:
            deadline.reset(token)

    def _take(self, home: _Home, statement: Statement, step: Step) -> Any:
        """
        Take one step of the attempts at a statement.
        """
        if isinstance(step, Execute):
            return self._migration.execute(step.connection.connection, statement)
        if isinstance(step, Wait):
            return step.event.wait(step.seconds)
        if isinstance(step, ReadRoom):
            return step.connection.connection.scalar(ROOM)
        return self._open(home.engine, step.generation)

    def _open(self, engine: Engine, generation: int) -> PooledConnection:
        with close_unless_opened(self._parameters):
            connection = engine.connect()
            return detach_connection(connection, connection, generation)

    def _home(self) -> _Home:
        process = os.getpid()
        home = self._homes.get(process)
        if home is None:
            made = _Home(create_sync_engine(self._parameters), ConnectionPool(self._bounds))
            home = self._homes.setdefault(process, made)
        return home


def store(url: str, *, timeout: float, namespace: str, pool: Pool, **_: object) -> PostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL; it connects on first use.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = connection_parameters(url, timeout)
    return PostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

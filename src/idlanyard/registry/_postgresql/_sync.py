"""
``postgresql://`` for threads: a pool of connections that they share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME, deadline, engine_of
from idlanyard.registry._postgresql._faults import fault_of, is_gone
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._questions import Asking, Questions
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._postgresql._table import table_of
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch

if TYPE_CHECKING:
    from sqlalchemy import Engine, Executable

    from idlanyard.registry._pools import Pool

T = TypeVar("T")


class PostgresqlStore:
    """
    A pool of connections that threads share; see ``Store``.

    After a fork, the child connects anew and leaves its parent's connections alone.
    """

    def __init__(
        self, parameters: dict[str, Any], *, timeout: float, namespace: str, pool: Pool
    ) -> None:
        self._parameters = parameters
        self._timeout = timeout
        self._pool = pool
        self._table = table_of(namespace)
        self._layout = Layout(self._table)
        self._questions = Questions(Statements(self._table), self._layout)
        self._engines: dict[int, Engine] = {}

    def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``Store.insert``.
        """
        return self._answer(self._questions.insert(draft))

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return self._answer(self._questions.read(key))

    def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``Store.extend``.
        """
        return self._answer(self._questions.extend(key, ttl, metadata, created))

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        return self._answer(self._questions.delete(key, created))

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        return self._answer(self._questions.page(client_key, after, limit))

    def purge(self) -> int:
        """
        As ``Store.purge``: in batches, each of them a question of its own.
        """
        return self._answer(self._questions.purge())

    def count(self) -> int:
        """
        As ``Store.count``.
        """
        return self._answer(self._questions.count())

    def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``Store.walk``: in the order of keys.
        """
        return self._answer(self._questions.walk(after, limit))

    def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``Store.put``.
        """
        return self._answer(self._questions.put(sessions))

    def check(self) -> list[str]:
        """
        As ``Store.check``.
        """
        self._answer(self._questions.count())
        return []

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()

    def _answer(self, asking: Asking[T]) -> T:
        """
        Ask what a verb wants to know, one question after another.
        """
        try:
            question = next(asking)
            while True:
                try:
                    rows = self._ask(*question)
                except RegistryMisconfigured as error:
                    if not is_gone(error.__cause__):
                        raise
                    # Somebody dropped the table: it is made anew.
                    self._layout.forget()
                    rows = self._ask(*question)
                question = asking.send(rows)
        except StopIteration as done:
            answer: T = done.value
            return answer

    def _ask(self, statement: Executable, values: dict[str, Any]) -> Sequence[Any]:
        token = deadline.set(monotonic() + self._timeout)
        try:
            engine = self._engine()
            if self._layout.is_due:
                self._prepare(engine)
            with engine.connect() as connection:
                return connection.execute(statement, values).all()
        except (SQLAlchemyError, psycopg.Error) as error:
            fault = fault_of(error, self._table.name)
            if fault is not None:
                raise RegistryMisconfigured(SCHEME, fault) from error
            raise RegistryUnavailable(SCHEME) from error
        finally:
            deadline.reset(token)

    def _engine(self) -> Engine:
        """
        Return the engine of this process.
        """
        process = os.getpid()
        engine = self._engines.get(process)
        if engine is None:
            made = engine_of(self._parameters, self._pool)
            engine = self._engines.setdefault(process, made)
        return engine

    def _prepare(self, engine: Engine) -> list[str]:
        with engine.connect() as connection:
            return self._layout.prepare(connection)


def store(url: str, *, timeout: float, namespace: str, pool: Pool, **_: object) -> PostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL, as libpq takes it.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = parameters_of(url, timeout)
    return PostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

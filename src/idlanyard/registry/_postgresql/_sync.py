"""
``postgresql://`` for threads: a pool of connections that they share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME, deadline, engine_of
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._statements import BATCH, Statements, one, values_of
from idlanyard.registry._postgresql._table import TRANSACTION, create, is_there, table_of
from idlanyard.registry._record import Draft, Row

if TYPE_CHECKING:
    from sqlalchemy import Engine, Executable

    from idlanyard.registry._pools import Pool


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
        self._statements = Statements(self._table)
        self._is_ready = False
        self._engines: dict[int, Engine] = {}

    def insert(self, draft: Draft) -> Row | None:
        """
        As ``Store.insert``.
        """
        times = self._ask(self._statements.insert, values_of(draft))
        return Row(draft.session_id, draft.client_id, draft.metadata, *times[0]) if times else None

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return one(self._ask(self._statements.read, {"at": key}))

    def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``Store.extend``.
        """
        return one(self._ask(self._statements.extend, {"at": key, "lifetime": ttl}))

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        return one(self._ask(self._statements.delete, {"at": key, "created": created}))

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        values = {"whose": client_key, "after": after or "", "most": limit}
        return [Row(*row) for row in self._ask(self._statements.page, values)]

    def purge(self) -> int:
        """
        As ``Store.purge``: in batches, each of them a question of its own.
        """
        purged = 0
        while True:
            batch: int = self._ask(self._statements.purge, {})[0][0]
            purged += batch
            if batch < BATCH:
                return purged

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()

    def _ask(self, statement: Executable, values: dict[str, Any]) -> Sequence[Any]:
        token = deadline.set(monotonic() + self._timeout)
        try:
            engine = self._engine()
            if not self._is_ready:
                self._prepare(engine)
            with engine.connect() as connection:
                return connection.execute(statement, values).all()
        except (SQLAlchemyError, psycopg.Error) as error:
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

    def _prepare(self, engine: Engine) -> None:
        with engine.connect() as connection:
            self._is_ready = is_there(connection, self._table)
        if not self._is_ready:
            with engine.execution_options(**TRANSACTION).begin() as connection:
                create(connection, self._table)
            self._is_ready = True


def store(url: str, *, timeout: float, namespace: str, pool: Pool, **_: object) -> PostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL, as libpq takes it.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = parameters_of(url, timeout)
    return PostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

"""
``postgresql://`` for an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME, async_engine_of, deadline
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._statements import BATCH, Statements, one, values_of
from idlanyard.registry._postgresql._table import TRANSACTION, create, is_there, table_of
from idlanyard.registry._record import Draft, Row

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from idlanyard.registry._pools import Pool


class AsyncPostgresqlStore:
    """
    A pool of connections on one event loop; see ``AsyncStore``.
    """

    def __init__(
        self, parameters: dict[str, Any], *, timeout: float, namespace: str, pool: Pool
    ) -> None:
        self._timeout = timeout
        self._table = table_of(namespace)
        self._statements = Statements(self._table)
        self._is_ready = False
        self._engine = async_engine_of(parameters, pool)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def insert(self, draft: Draft) -> Row | None:
        """
        As ``AsyncStore.insert``.
        """
        times = await self._ask(self._statements.insert, values_of(draft))
        return Row(draft.session_id, draft.client_id, draft.metadata, *times[0]) if times else None

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return one(await self._ask(self._statements.read, {"at": key}))

    async def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        return one(await self._ask(self._statements.extend, {"at": key, "lifetime": ttl}))

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return one(await self._ask(self._statements.delete, {"at": key, "created": created}))

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        values = {"whose": client_key, "after": after or "", "most": limit}
        return [Row(*row) for row in await self._ask(self._statements.page, values)]

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``: in batches, each of them a question of its own.
        """
        purged = 0
        while True:
            batch: int = (await self._ask(self._statements.purge, {}))[0][0]
            purged += batch
            if batch < BATCH:
                return purged

    async def close(self) -> None:
        """
        As ``AsyncStore.close``.
        """
        await self._engine.dispose()
        self._loop = None

    async def _ask(self, statement: Executable, values: dict[str, Any]) -> Sequence[Any]:
        self._check_loop()
        # A statement ends before its task does: a connection that is found dead
        # by itself takes the others of its pool with it.
        token = deadline.set(monotonic() + 0.95 * self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                if not self._is_ready:
                    await self._prepare()
                async with self._engine.connect() as connection:
                    return (await connection.execute(statement, values)).all()
        except (SQLAlchemyError, psycopg.Error, TimeoutError) as error:
            raise RegistryUnavailable(SCHEME) from error
        finally:
            deadline.reset(token)

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this registry belongs to the event loop that first used it: "
                "open one registry for each loop"
            )

    async def _prepare(self) -> None:
        async with self._engine.connect() as connection:
            self._is_ready = await connection.run_sync(is_there, self._table)
        if not self._is_ready:
            async with self._engine.execution_options(**TRANSACTION).begin() as connection:
                await connection.run_sync(create, self._table)
            self._is_ready = True


def async_store(
    url: str, *, timeout: float, namespace: str, pool: Pool, **_: object
) -> AsyncPostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL, as libpq takes it.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = parameters_of(url, timeout)
    return AsyncPostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

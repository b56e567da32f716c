"""
``postgresql://`` for an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME, async_engine_of, deadline
from idlanyard.registry._postgresql._faults import fault_of, is_gone
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._questions import Asking, Questions
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._postgresql._table import table_of
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from idlanyard.registry._pools import Pool

T = TypeVar("T")


class AsyncPostgresqlStore:
    """
    A pool of connections on one event loop; see ``AsyncStore``.
    """

    def __init__(
        self, parameters: dict[str, Any], *, timeout: float, namespace: str, pool: Pool
    ) -> None:
        self._timeout = timeout
        self._table = table_of(namespace)
        self._layout = Layout(self._table)
        self._questions = Questions(Statements(self._table), self._layout)
        self._engine = async_engine_of(parameters, pool)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``AsyncStore.insert``.
        """
        return await self._answer(self._questions.insert(draft))

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return await self._answer(self._questions.read(key))

    async def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        return await self._answer(self._questions.extend(key, ttl, metadata, created))

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return await self._answer(self._questions.delete(key, created))

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        return await self._answer(self._questions.page(client_key, after, limit))

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``: in batches, each of them a question of its own.
        """
        return await self._answer(self._questions.purge())

    async def count(self) -> int:
        """
        As ``AsyncStore.count``.
        """
        return await self._answer(self._questions.count())

    async def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``AsyncStore.walk``: in the order of keys.
        """
        return await self._answer(self._questions.walk(after, limit))

    async def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``AsyncStore.put``.
        """
        return await self._answer(self._questions.put(sessions))

    async def check(self) -> list[str]:
        """
        As ``AsyncStore.check``.
        """
        await self._answer(self._questions.count())
        return []

    async def close(self) -> None:
        """
        As ``AsyncStore.close``.
        """
        await self._engine.dispose()
        self._loop = None

    async def _answer(self, asking: Asking[T]) -> T:
        """
        Ask what a verb wants to know, one question after another.
        """
        try:
            question = next(asking)
            while True:
                try:
                    rows = await self._ask(*question)
                except RegistryMisconfigured as error:
                    if not is_gone(error.__cause__):
                        raise
                    # Somebody dropped the table: it is made anew.
                    self._layout.forget()
                    rows = await self._ask(*question)
                question = asking.send(rows)
        except StopIteration as done:
            answer: T = done.value
            return answer

    async def _ask(self, statement: Executable, values: dict[str, Any]) -> Sequence[Any]:
        self._check_loop()
        # A statement ends before its task does: a connection that is found dead
        # by itself takes the others of its pool with it.
        token = deadline.set(monotonic() + 0.95 * self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                if self._layout.is_due:
                    await self._prepare()
                async with self._engine.connect() as connection:
                    return (await connection.execute(statement, values)).all()
        except (SQLAlchemyError, psycopg.Error, TimeoutError) as error:
            fault = fault_of(error, self._table.name)
            if fault is not None:
                raise RegistryMisconfigured(SCHEME, fault) from error
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

    async def _prepare(self) -> list[str]:
        async with self._engine.connect() as connection:
            return await connection.run_sync(self._layout.prepare)


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

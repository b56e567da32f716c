"""
``postgresql://`` for an event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._postgresql._async_pool import AsyncPool
from idlanyard.registry._postgresql._faults import is_gone
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._questions import Asking, Question, Questions
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._postgresql._table import table_of
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

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
        self._pool = AsyncPool(parameters, pool, table=self._table.name)
        self._layout = Layout(self._table)
        self._questions = Questions(Statements(self._table), self._layout)

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
        return await self._answer(self._questions.purge(), is_long=True)

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
        As ``AsyncStore.check``: by a new connection.
        """

        async def question(connection: AsyncConnection) -> list[str]:
            return await connection.run_sync(self._layout.prepare)

        return await self._pool.ask(question, until=monotonic() + self._timeout, is_fresh=True)

    async def close(self) -> None:
        """
        As ``AsyncStore.close``.
        """
        await self._pool.close()

    async def _answer(self, asking: Asking[T], *, is_long: bool = False) -> T:
        """
        Ask what a verb wants to know, one question after another.

        Args:
            asking: the questions.
            is_long: whether each of them has the whole time, and not all together.
        """
        until = monotonic() + self._timeout
        try:
            question = next(asking)
            while True:
                if is_long:
                    until = monotonic() + self._timeout
                try:
                    rows = await self._ask(question, until)
                except RegistryMisconfigured as error:
                    if not is_gone(error.__cause__):
                        raise
                    # Somebody dropped the table: it is made anew.
                    self._layout.forget()
                    rows = await self._ask(question, until)
                question = asking.send(rows)
        except StopIteration as done:
            answer: T = done.value
            return answer

    async def _ask(self, asked: Question, until: float) -> Sequence[Any]:
        async def question(connection: AsyncConnection) -> Sequence[Any]:
            if self._layout.is_due:
                await connection.run_sync(self._layout.prepare)
            return (await connection.execute(*asked)).all()

        return await self._pool.ask(question, until=until)


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

"""
``postgresql://`` for an event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from idlanyard.registry._drive import drive_async
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._postgresql._async_pool import AsyncPool
from idlanyard.registry._postgresql._faults import is_gone
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._questions import Questions, Statement
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._postgresql._table import table_of
from idlanyard.registry._questions import Check, Purge, Question

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from idlanyard.registry._urls import Pool

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

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question. Each batch of a purge has the whole timeout.
        """
        answer: T = await self._answer(question)
        return answer

    async def close(self) -> None:
        """
        Close the connections; those in use are closed when they come back.
        """
        await self._pool.close()

    async def _answer(self, question: Question[Any]) -> Any:
        if isinstance(question, Check):
            return await self._check()
        until = None if isinstance(question, Purge) else monotonic() + self._timeout
        return await drive_async(self._questions.steps(question), partial(self._rows, until))

    async def _check(self) -> list[str]:
        """
        Check the server by a new connection.
        """

        async def prepare(connection: AsyncConnection) -> list[str]:
            return await connection.run_sync(self._layout.prepare)

        return await self._pool.ask(prepare, until=monotonic() + self._timeout, is_fresh=True)

    async def _rows(self, until: float | None, statement: Statement) -> Sequence[Any]:
        """
        Return the rows of a statement, within the timeout if *until* is ``None``.
        """
        if until is None:
            until = monotonic() + self._timeout
        try:
            return await self._execute(statement, until)
        except RegistryMisconfigured as error:
            if not is_gone(error.__cause__):
                raise
            # Somebody dropped the table: it is made anew.
            self._layout.forget()
            return await self._execute(statement, until)

    async def _execute(self, statement: Statement, until: float) -> Sequence[Any]:
        async def execute(connection: AsyncConnection) -> Sequence[Any]:
            if self._layout.is_due:
                await connection.run_sync(self._layout.prepare)
            return (await connection.execute(*statement)).all()

        return await self._pool.ask(execute, until=until)


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

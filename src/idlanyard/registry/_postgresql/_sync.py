"""
``postgresql://`` for threads: a pool of connections that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from idlanyard.registry._drive import drive
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._postgresql._faults import is_gone
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._questions import Questions, Statement
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._postgresql._sync_pool import SyncPool
from idlanyard.registry._postgresql._table import table_of
from idlanyard.registry._questions import Check, Purge, Question

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from idlanyard.registry._urls import Pool

T = TypeVar("T")


class PostgresqlStore:
    """
    A pool of connections that threads share; see ``Store``.

    After a fork, the child connects anew and leaves its parent's connections alone.
    """

    def __init__(
        self, parameters: dict[str, Any], *, timeout: float, namespace: str, pool: Pool
    ) -> None:
        self._timeout = timeout
        self._table = table_of(namespace)
        self._pool = SyncPool(parameters, pool, table=self._table.name)
        self._layout = Layout(self._table)
        self._questions = Questions(Statements(self._table), self._layout)

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question. Each batch of a purge has the whole timeout.
        """
        answer: T = self._answer(question)
        return answer

    def close(self) -> None:
        """
        Close the connections; those in use are closed when they come back.
        """
        self._pool.close()

    def _answer(self, question: Question[Any]) -> Any:
        if isinstance(question, Check):
            return self._check()
        until = None if isinstance(question, Purge) else monotonic() + self._timeout
        return drive(self._questions.steps(question), partial(self._rows, until))

    def _check(self) -> list[str]:
        """
        Check the server by a new connection.
        """

        def prepare(connection: Connection) -> list[str]:
            return self._layout.prepare(connection)

        return self._pool.ask(prepare, until=monotonic() + self._timeout, is_fresh=True)

    def _rows(self, until: float | None, statement: Statement) -> Sequence[Any]:
        """
        Return the rows of a statement, within the timeout if *until* is ``None``.
        """
        if until is None:
            until = monotonic() + self._timeout
        try:
            return self._execute(statement, until)
        except RegistryMisconfigured as error:
            if not is_gone(error.__cause__):
                raise
            # Somebody dropped the table: it is made anew.
            self._layout.forget()
            return self._execute(statement, until)

    def _execute(self, statement: Statement, until: float) -> Sequence[Any]:
        def execute(connection: Connection) -> Sequence[Any]:
            if self._layout.is_due:
                self._layout.prepare(connection)
            return connection.execute(*statement).all()

        return self._pool.ask(execute, until=until)


def store(url: str, *, timeout: float, namespace: str, pool: Pool, **_: object) -> PostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL, as libpq takes it.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = parameters_of(url, timeout)
    return PostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

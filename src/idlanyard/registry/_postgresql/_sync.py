"""
``postgresql://`` for threads: a pool of connections that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._postgresql._faults import is_gone
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._parameters import parameters_of
from idlanyard.registry._postgresql._questions import Asking, Question, Questions
from idlanyard.registry._postgresql._statements import Statements
from idlanyard.registry._postgresql._sync_pool import SyncPool
from idlanyard.registry._postgresql._table import table_of
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch

if TYPE_CHECKING:
    from sqlalchemy import Connection

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
        self._timeout = timeout
        self._table = table_of(namespace)
        self._pool = SyncPool(parameters, pool, table=self._table.name)
        self._layout = Layout(self._table)
        self._questions = Questions(Statements(self._table), self._layout)

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
        return self._answer(self._questions.purge(), is_long=True)

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
        As ``Store.check``: by a new connection.
        """

        def question(connection: Connection) -> list[str]:
            return self._layout.prepare(connection)

        return self._pool.ask(question, until=monotonic() + self._timeout, is_fresh=True)

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        self._pool.close()

    def _answer(self, asking: Asking[T], *, is_long: bool = False) -> T:
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
                    rows = self._ask(question, until)
                except RegistryMisconfigured as error:
                    if not is_gone(error.__cause__):
                        raise
                    # Somebody dropped the table: it is made anew.
                    self._layout.forget()
                    rows = self._ask(question, until)
                question = asking.send(rows)
        except StopIteration as done:
            answer: T = done.value
            return answer

    def _ask(self, asked: Question, until: float) -> Sequence[Any]:
        def question(connection: Connection) -> Sequence[Any]:
            if self._layout.is_due:
                self._layout.prepare(connection)
            return connection.execute(*asked).all()

        return self._pool.ask(question, until=until)


def store(url: str, *, timeout: float, namespace: str, pool: Pool, **_: object) -> PostgresqlStore:
    """
    Return the store of a ``postgresql://`` URL, as libpq takes it.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    parameters = parameters_of(url, timeout)
    return PostgresqlStore(parameters, timeout=timeout, namespace=namespace, pool=pool)

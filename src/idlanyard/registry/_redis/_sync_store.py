"""
The store for code that waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from idlanyard.registry._pools import Pool
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch
from idlanyard.registry._redis import _moving, _questions, _settings
from idlanyard.registry._redis._address import Target, target_of
from idlanyard.registry._redis._asker import Asker
from idlanyard.registry._redis._claims import Question
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page

T = TypeVar("T")


class RedisStore:
    """
    A pool of connections that threads share; see ``Store``.

    After a fork, the child connects anew and leaves its parent's connections alone.
    """

    def __init__(self, target: Target, timeout: float, namespace: str, pool: Pool) -> None:
        self._timeout = timeout
        self._layout = Layout(namespace)
        self._looked = _settings.Looked()
        self._asker = Asker(target, timeout, pool, self._layout)

    def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``Store.insert``.
        """
        return self._follow(_questions.insert(self._layout, draft, self._timeout))

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return self._follow(_questions.read(self._layout, key))

    def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``Store.extend``.
        """
        question = _questions.extend(self._layout, key, ttl, metadata, created, self._timeout)
        return self._follow(question)

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        return self._follow(_questions.delete(self._layout, key, created, self._timeout))

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        return self._follow(page(self._layout, client_key, after, limit))

    def purge(self) -> int:
        """
        As ``Store.purge``: in batches, each of them a question of its own.
        """
        return self._follow(_questions.purge(self._layout), anew=True)

    def count(self) -> int:
        """
        As ``Store.count``: in batches, each of them a question of its own.
        """
        return self._follow(_moving.count(self._layout), anew=True)

    def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``Store.walk``.
        """
        return self._follow(_moving.walk(self._layout, after, limit))

    def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``Store.put``: in batches, each of them a question of its own.
        """
        return self._follow(_moving.put(self._layout, sessions, self._timeout), anew=True)

    def check(self) -> list[str]:
        """
        As ``Store.check``.
        """
        return self._follow(_settings.check(self._layout, self._timeout))

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        self._asker.close()

    def _follow(self, question: Question[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.
        """
        question = _settings.begun(self._looked, self._layout, question)
        return self._asker.follow(question, anew=anew)


def store(url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool) -> RedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return RedisStore(target_of(url, scheme), timeout, namespace, pool)

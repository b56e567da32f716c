"""
The store for code on an event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from idlanyard.registry._pools import Pool
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch
from idlanyard.registry._redis import _moving, _questions, _settings
from idlanyard.registry._redis._address import Target, target_of
from idlanyard.registry._redis._async_asker import AsyncAsker
from idlanyard.registry._redis._claims import Question
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page

T = TypeVar("T")


class AsyncRedisStore:
    """
    A pool of connections that tasks share; see ``AsyncStore``.
    """

    def __init__(self, target: Target, timeout: float, namespace: str, pool: Pool) -> None:
        self._timeout = timeout
        self._layout = Layout(namespace)
        self._looked = _settings.Looked()
        self._asker = AsyncAsker(target, timeout, pool, self._layout)

    async def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``AsyncStore.insert``.
        """
        return await self._follow(_questions.insert(self._layout, draft, self._timeout))

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return await self._follow(_questions.read(self._layout, key))

    async def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        question = _questions.extend(self._layout, key, ttl, metadata, created, self._timeout)
        return await self._follow(question)

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return await self._follow(_questions.delete(self._layout, key, created, self._timeout))

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        return await self._follow(page(self._layout, client_key, after, limit))

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``: in batches, each of them a question of its own.
        """
        return await self._follow(_questions.purge(self._layout), anew=True)

    async def count(self) -> int:
        """
        As ``AsyncStore.count``: in batches, each of them a question of its own.
        """
        return await self._follow(_moving.count(self._layout), anew=True)

    async def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``AsyncStore.walk``.
        """
        return await self._follow(_moving.walk(self._layout, after, limit))

    async def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``AsyncStore.put``: in batches, each of them a question of its own.
        """
        return await self._follow(_moving.put(self._layout, sessions, self._timeout), anew=True)

    async def check(self) -> list[str]:
        """
        As ``AsyncStore.check``.
        """
        return await self._follow(_settings.check(self._layout, self._timeout))

    async def close(self) -> None:
        """
        As ``AsyncStore.close``.
        """
        await self._asker.close()

    async def _follow(self, question: Question[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.
        """
        question = _settings.begun(self._looked, self._layout, question)
        return await self._asker.follow(question, anew=anew)


def async_store(
    url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool
) -> AsyncRedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return AsyncRedisStore(target_of(url, scheme), timeout, namespace, pool)

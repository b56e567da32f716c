"""
``AsyncSessionRegistry``: the verbs, for code on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from idlanyard.ids import timestamped
from idlanyard.registry._opening import checked, home_of
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._store import AsyncStore
from idlanyard.registry._verbs import Verb, Verbs

T = TypeVar("T")


class AsyncSessionRegistry:
    """
    The sessions that are known: no ID twice, whoever asks, from whatever process.

    Made by ``open``. One belongs to the event loop that first uses it; ``close``
    it, or use it with ``async with``. No verb blocks the loop.

    Every verb raises ``RegistryUnavailable`` where the store does not answer
    in time; nothing stands in for it. A session that has expired is absent.
    """

    __slots__ = ("_store", "_verbs")

    def __init__(self, store: AsyncStore, verbs: Verbs) -> None:
        self._store = store
        self._verbs = verbs

    @classmethod
    def open(
        cls,
        url: str = "sqlite:///sessions.db",
        *,
        ttl: float | None = None,
        mint: Callable[[], str] = timestamped,
        validator: Callable[[str], object] | None = None,
        timeout: float = 5.0,
        namespace: str = "idlanyard",
    ) -> AsyncSessionRegistry:
        """
        Return the registry that a URL names. It connects when it is first used.

        The arguments are those of ``SessionRegistry.open``.

        Raises:
            PolicyError: an option cannot be followed; the message says what
                to write instead.
            MissingExtra: the scheme needs an extra that is not installed.
        """
        scheme, home = home_of(url)
        options = checked(timeout=timeout, namespace=namespace)
        verbs = Verbs(mint=mint, validator=validator, ttl=ttl)
        return cls(home.async_store(url, scheme=scheme, **options), verbs)

    async def create(
        self,
        session_id: str | None = None,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
    ) -> SessionRecord:
        """
        As ``SessionRegistry.create``.
        """
        return await self._run(self._verbs.create(session_id, client_id, metadata, ttl))

    async def create_or_suffix(
        self,
        base: str,
        retries: int = 3,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
    ) -> SessionRecord:
        """
        As ``SessionRegistry.create_or_suffix``.
        """
        return await self._run(
            self._verbs.create_or_suffix(base, retries, client_id, metadata, ttl)
        )

    async def get(self, session_id: str) -> SessionRecord:
        """
        As ``SessionRegistry.get``.
        """
        return await self._run(self._verbs.get(session_id))

    async def exists(self, session_id: str) -> bool:
        """
        As ``SessionRegistry.exists``.
        """
        return await self._run(self._verbs.exists(session_id))

    async def touch(self, session_id: str, *, ttl: float | None = None) -> SessionRecord:
        """
        As ``SessionRegistry.touch``.
        """
        return await self._run(self._verbs.touch(session_id, ttl))

    async def end(self, session_id: str, *, created_at: datetime | None = None) -> SessionRecord:
        """
        As ``SessionRegistry.end``.
        """
        return await self._run(self._verbs.end(session_id, created_at))

    async def find(
        self, *, client_id: str, limit: int = 100, after: str | None = None
    ) -> list[SessionRecord]:
        """
        As ``SessionRegistry.find``.
        """
        return await self._run(self._verbs.find(client_id, limit, after))

    async def purge_expired(self) -> int:
        """
        As ``SessionRegistry.purge_expired``.
        """
        return await self._run(self._verbs.purge_expired())

    async def close(self) -> None:
        """
        Let go of connections and threads. Twice is harmless.
        """
        await self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, verb: Verb[T]) -> T:
        answer = None
        try:
            while True:
                method, arguments = verb.send(answer)
                answer = await getattr(self._store, method)(*arguments)
        except StopIteration as done:
            value: T = done.value
            return value

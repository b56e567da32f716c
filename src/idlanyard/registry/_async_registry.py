"""
``AsyncSessionRegistry``: the registry for async code.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from idlanyard._binding.events import subscribers
from idlanyard.ids import timestamped
from idlanyard.registry._checks import IdempotencyKey
from idlanyard.registry._drive import drive_async
from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._questions import AsyncStore, Question
from idlanyard.registry._record import SessionRecord, make_record
from idlanyard.registry._reporting import VerbReport
from idlanyard.registry._urls import Opened, open_store
from idlanyard.registry._verbs import Verb, Verbs

T = TypeVar("T")


class AsyncSessionRegistry:
    """
    A registry of sessions in which each ID exists once, across all processes.

    Made by ``open``. A registry belongs to the event loop that first uses it.
    ``close`` it, or use it with ``async with``. No verb blocks the loop. The
    arguments, results and errors of each verb are those of ``SessionRegistry``.

    Every verb raises ``RegistryUnavailable`` if the store does not answer in
    time; there is no fallback. An expired session is absent.
    """

    __slots__ = ("_name", "_outages", "_store", "_verbs")

    def __init__(self, opened: Opened, verbs: Verbs) -> None:
        self._store: AsyncStore = opened.store
        self._outages = opened.outages
        self._name = opened.name
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
        pool_size: int | None = None,
        pool_max: int | None = None,
        pool_wait: float | None = None,
    ) -> AsyncSessionRegistry:
        """
        Return the registry at a URL. It connects when it is first used.

        The arguments are those of ``SessionRegistry.open``.

        Raises:
            PolicyError: an option is not valid; the message says what to
                write instead.
            MissingExtra: the scheme needs an extra that is not installed.
        """
        verbs = Verbs(mint=mint, validator=validator, ttl=ttl)
        opened = open_store(
            url,
            timeout=timeout,
            namespace=namespace,
            is_async=True,
            pool_size=pool_size,
            pool_max=pool_max,
            pool_wait=pool_wait,
        )
        return cls(opened, verbs)

    @property
    def scheme(self) -> str:
        """
        The kind of store, as in ``"redis"``.
        """
        return self._name

    @property
    def timeout(self) -> float:
        """
        The most seconds that one question to the store may take.
        """
        return self._outages.timeout

    async def create(
        self,
        session_id: str | None = None,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
    ) -> SessionRecord:
        """
        Create a session; see ``SessionRegistry.create``.
        """
        return await self._run(
            "create", self._verbs.create(session_id, client_id, metadata, ttl, idempotency_key)
        )

    async def create_or_suffix(
        self,
        base: str,
        retries: int = 3,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
    ) -> SessionRecord:
        """
        Create a session with the ID or a similar one; see ``SessionRegistry.create_or_suffix``.
        """
        return await self._run(
            "create_or_suffix",
            self._verbs.create_or_suffix(base, retries, client_id, metadata, ttl, idempotency_key),
        )

    async def get(self, session_id: str) -> SessionRecord:
        """
        Return a session; see ``SessionRegistry.get``.
        """
        return await self._run("get", self._verbs.get(session_id))

    async def exists(self, session_id: str) -> bool:
        """
        Return whether there is such a session.
        """
        return await self._run("exists", self._verbs.exists(session_id))

    async def touch(
        self,
        session_id: str,
        *,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> SessionRecord:
        """
        Extend the life of a session; see ``SessionRegistry.touch``.
        """
        verb = self._verbs.touch(session_id, ttl, metadata, created_at)
        return await self._run("touch", verb)

    async def end(self, session_id: str, *, created_at: datetime | None = None) -> SessionRecord:
        """
        Delete a session, and return its last record; see ``SessionRegistry.end``.
        """
        return await self._run("end", self._verbs.end(session_id, created_at))

    async def find(
        self, *, client_id: str, limit: int = 100, after: str | None = None
    ) -> list[SessionRecord]:
        """
        Return one page of a client's sessions; see ``SessionRegistry.find``.
        """
        return await self._run("find", self._verbs.find(client_id, limit, after))

    async def purge_expired(self) -> int:
        """
        Free the space of expired sessions; see ``SessionRegistry.purge_expired``.
        """
        return await self._run("purge_expired", self._verbs.purge_expired())

    async def count(self) -> int:
        """
        Return the number of living sessions.
        """
        return await self._run("count", self._verbs.count())

    async def walk(self) -> AsyncGenerator[SessionRecord, None]:
        """
        Yield all living sessions; see ``SessionRegistry.walk``.
        """
        after: str | None = None
        while True:
            stretch = await self._run("walk", self._verbs.walk(after))
            for kept in stretch.sessions:
                yield make_record(kept.row())
            after = stretch.after
            if after is None:
                return

    async def check(self) -> list[str]:
        """
        Check whether the store can keep its promises; see ``SessionRegistry.check``.
        """
        return await self._run("check", self._verbs.check())

    async def close(self) -> None:
        """
        Close connections, files and threads. Closing twice is harmless.
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

    async def _run(self, name: str, verb: Verb[T]) -> T:
        if "registry" not in subscribers:
            return await drive_async(verb, self._ask)
        with VerbReport(self._name, name) as report:

            async def ask(question: Question[Any]) -> Any:
                report.answer = answer = await self._ask(question)
                return answer

            value = await drive_async(verb, ask)
            if isinstance(value, bool):
                report.answer = value
            return value

    async def _ask(self, question: Question[T]) -> T:
        outages = self._outages
        began = outages.begin(question)
        try:
            answer = await self._store.ask(question)
        except RegistryUnavailable as error:
            outages.fail(question, error, began)
            raise
        if outages.known:
            outages.end(question)
        return answer

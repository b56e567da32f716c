"""
``SessionRegistry``: the verbs, for code that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from idlanyard.ids import timestamped
from idlanyard.registry._opening import checked, home_of
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._store import Store
from idlanyard.registry._verbs import Verb, Verbs

T = TypeVar("T")


class SessionRegistry:
    """
    The sessions that are known: no ID twice, whoever asks, from whatever process.

    Made by ``open``. Threads may share one; ``close`` it, or use it as a
    context manager.

    Every verb raises ``RegistryUnavailable`` where the store does not answer
    in time; nothing stands in for it. A session that has expired is absent.
    """

    __slots__ = ("_store", "_verbs")

    def __init__(self, store: Store, verbs: Verbs) -> None:
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
    ) -> SessionRegistry:
        """
        Return the registry that a URL names. It connects when it is first used.

        Args:
            url: ``memory://``, ``sqlite:///sessions.db`` (relative;
                ``sqlite:////var/lib/sessions.db`` is absolute),
                ``postgresql://user@host/database``,
                ``redis://host:6379/0`` or ``rediss://...``.
            ttl: after how many seconds without a ``touch`` sessions expire
                that are created without one; ``None`` is never.
            mint: makes the IDs of sessions that are created without one.
            validator: refuses custom IDs by raising ``ValueError``, such as
                ``idlanyard.registry.strict``.
            timeout: the most seconds that one question may take.
            namespace: what the store's tables and keys begin with.

        Raises:
            PolicyError: an option cannot be followed; the message says what
                to write instead.
            MissingExtra: the scheme needs an extra that is not installed.
        """
        scheme, home = home_of(url)
        options = checked(timeout=timeout, namespace=namespace)
        verbs = Verbs(mint=mint, validator=validator, ttl=ttl)
        return cls(home.store(url, scheme=scheme, **options), verbs)

    def create(
        self,
        session_id: str | None = None,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
    ) -> SessionRecord:
        """
        Create a session, in one atomic step at the store.

        Args:
            session_id: the ID, taken as it is, case and all: any text of 1
                to 1,024 bytes of UTF-8 without control characters. ``None``
                and ``""`` mint one (S-D1).
            client_id: whose session it is, of the same shape; for ``find``.
            metadata: a JSON object, up to 16 KiB and 8 levels.
            ttl: after how many seconds without a ``touch`` it expires;
                fractions count.

        Raises:
            SessionExists: the ID is taken.
            ValueError: the ID, the client's ID, the metadata or the time to
                live is refused.
            TypeError: one of them is of a wrong type.
            PolicyError: the registry's ``mint`` makes what is no ID.
        """
        return self._run(self._verbs.create(session_id, client_id, metadata, ttl))

    def create_or_suffix(
        self,
        base: str,
        retries: int = 3,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
    ) -> SessionRecord:
        """
        Create the session ``base``, else ``base_1``, ``base_2`` ..., else a minted one (S-D18).

        Args:
            base: the ID that is wanted.
            retries: how many names are tried before one is minted.
            client_id: as in ``create``.
            metadata: as in ``create``.
            ttl: as in ``create``.

        Raises:
            ValueError: as ``create``.
            TypeError: as ``create``.
        """
        return self._run(self._verbs.create_or_suffix(base, retries, client_id, metadata, ttl))

    def get(self, session_id: str) -> SessionRecord:
        """
        Return a session.

        Raises:
            SessionNotFound: there is none.
        """
        return self._run(self._verbs.get(session_id))

    def exists(self, session_id: str) -> bool:
        """
        Say whether there is such a session.
        """
        return self._run(self._verbs.exists(session_id))

    def touch(self, session_id: str, *, ttl: float | None = None) -> SessionRecord:
        """
        Let a session live on: its time begins anew (S-D16).

        Args:
            session_id: the ID.
            ttl: how many seconds from now on, and after later touches; left
                out, what it had.

        Raises:
            SessionNotFound: there is none.
        """
        return self._run(self._verbs.touch(session_id, ttl))

    def end(self, session_id: str, *, created_at: datetime | None = None) -> SessionRecord:
        """
        Forget a session, and return what it was; its ID is free again (S-D11).

        Args:
            session_id: the ID.
            created_at: as in the record of the session that is meant; one that
                has been created with its ID since is left alone.

        Raises:
            SessionNotFound: there is none, or another one.
        """
        return self._run(self._verbs.end(session_id, created_at))

    def find(
        self, *, client_id: str, limit: int = 100, after: str | None = None
    ) -> list[SessionRecord]:
        """
        Return one page of a client's sessions, in the order of their IDs' bytes.

        Minted IDs so come oldest first. The next page is the one ``after``
        the last session ID of this one; a page that is not full is the last.

        Args:
            client_id: whose sessions.
            limit: how many at most, up to 1,000.
            after: begin behind this session ID.
        """
        return self._run(self._verbs.find(client_id, limit, after))

    def purge_expired(self) -> int:
        """
        Give up what expired sessions still take, and return how many those were.

        They are absent without it; this is for the disk. On Redis, which
        gives them up by itself, there is little to do.
        """
        return self._run(self._verbs.purge_expired())

    def close(self) -> None:
        """
        Let go of connections, files and threads. Twice is harmless.
        """
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, verb: Verb[T]) -> T:
        answer = None
        try:
            while True:
                method, arguments = verb.send(answer)
                answer = getattr(self._store, method)(*arguments)
        except StopIteration as done:
            value: T = done.value
            return value

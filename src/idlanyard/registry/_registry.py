"""
``SessionRegistry``: the registry for sync code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from idlanyard._binding.events import subscribers
from idlanyard.ids import timestamped
from idlanyard.registry._checks import IdempotencyKey
from idlanyard.registry._drive import drive
from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._questions import Question, Store
from idlanyard.registry._record import SessionRecord, make_record
from idlanyard.registry._reporting import VerbReport
from idlanyard.registry._urls import Opened, open_store
from idlanyard.registry._verbs import Verb, Verbs

T = TypeVar("T")


class SessionRegistry:
    """
    A registry of sessions in which each ID exists once, across all processes.

    Made by ``open``. Threads may share a registry. ``close`` it, or use it
    as a context manager.

    Every verb raises ``RegistryUnavailable`` if the store does not answer in
    time; there is no fallback. An expired session is absent.
    """

    __slots__ = ("_name", "_outages", "_store", "_verbs")

    def __init__(self, opened: Opened, verbs: Verbs) -> None:
        self._store: Store = opened.store
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
    ) -> SessionRegistry:
        """
        Return the registry at a URL. It connects when it is first used.

        Args:
            url: ``memory://``, ``sqlite:///sessions.db`` (relative;
                ``sqlite:////var/lib/sessions.db`` is absolute),
                ``postgresql://user@host/database``,
                ``redis://host:6379/0`` or ``rediss://...``.
            ttl: the default time to live of sessions, in seconds since the
                last ``touch``; ``None`` is endless.
            mint: makes the IDs of sessions that are created without one.
            validator: raises ``ValueError`` for custom IDs that it refuses, as
                ``idlanyard.registry.strict`` does.
            timeout: the most seconds that one question to the store may take.
            namespace: the prefix of the store's tables and keys.
            pool_size: how many idle connections to a server this process
                keeps open; 10 by default.
            pool_max: how many connections it may have open at once; by
                default as many as ``pool_size``, and at least 10.
            pool_wait: the most seconds to wait for a free connection; by
                default the timeout. The URL may have the three instead, as in
                ``postgresql://host/database?pool_size=5&pool_max=20``.

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

    def create(
        self,
        session_id: str | None = None,
        *,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
    ) -> SessionRecord:
        """
        Create a session, in one atomic step at the store.

        Args:
            session_id: the ID, case-sensitive: any text of 1 to 1,024 bytes of
                UTF-8 without control characters. ``None`` and ``""`` mint one.
            client_id: the client of the session, of the same form; for ``find``.
            metadata: a JSON object, up to 16 KiB and 8 levels.
            ttl: the seconds without a ``touch`` after which the session
                expires, with fractions; by default that of the registry.
            idempotency_key: text of the caller's choice, such as a UUID. A
                retry with the same key and arguments returns the first record
                while the session lives. Keys are separate for each
                ``client_id``.

        Raises:
            SessionExists: the ID is taken.
            IdempotencyMismatch: the key was used with other arguments.
            ValueError: an argument is not valid.
            TypeError: an argument has the wrong type.
            PolicyError: the registry's ``mint`` makes an invalid ID.
        """
        return self._run(
            "create", self._verbs.create(session_id, client_id, metadata, ttl, idempotency_key)
        )

    def create_or_suffix(
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
        Create the session ``base``, else ``base_1``, ``base_2`` ..., else a minted one.

        Args:
            base: the preferred ID.
            retries: how many names are tried before one is minted.
            client_id: see ``create``.
            metadata: see ``create``.
            ttl: see ``create``.
            idempotency_key: see ``create``.

        Raises:
            IdempotencyMismatch: see ``create``.
            ValueError: an argument is not valid.
            TypeError: an argument has the wrong type.
        """
        return self._run(
            "create_or_suffix",
            self._verbs.create_or_suffix(base, retries, client_id, metadata, ttl, idempotency_key),
        )

    def get(self, session_id: str) -> SessionRecord:
        """
        Return a session.

        Raises:
            SessionNotFound: there is no such session.
        """
        return self._run("get", self._verbs.get(session_id))

    def exists(self, session_id: str) -> bool:
        """
        Return whether there is such a session.
        """
        return self._run("exists", self._verbs.exists(session_id))

    def touch(
        self,
        session_id: str,
        *,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> SessionRecord:
        """
        Extend the life of a session: its time to live starts again.

        Args:
            session_id: the ID.
            ttl: the new time to live, for this and later touches; by default
                the current one.
            metadata: replaces the metadata; by default it is kept.
            created_at: the ``created_at`` of a record; a later session with
                the same ID is then not touched.

        Raises:
            SessionNotFound: there is no such session.
            ValueError: an argument is not valid.
            TypeError: an argument has the wrong type.
        """
        verb = self._verbs.touch(session_id, ttl, metadata, created_at)
        return self._run("touch", verb)

    def end(self, session_id: str, *, created_at: datetime | None = None) -> SessionRecord:
        """
        Delete a session, and return its last record. Its ID is free again.

        Args:
            session_id: the ID.
            created_at: the ``created_at`` of a record; a later session with
                the same ID is then not ended.

        Raises:
            SessionNotFound: there is no such session.
        """
        return self._run("end", self._verbs.end(session_id, created_at))

    def find(
        self, *, client_id: str, limit: int = 100, after: str | None = None
    ) -> list[SessionRecord]:
        """
        Return one page of a client's sessions, in the order of their IDs' bytes.

        So minted IDs come oldest first. For the next page pass the last
        session ID of this one as ``after``; a page that is not full is the last.

        Args:
            client_id: the client.
            limit: the most sessions to return, 1 to 1,000.
            after: return the sessions behind this session ID.

        Raises:
            ValueError: an argument is not valid.
            TypeError: an ID is not a ``str``.
        """
        return self._run("find", self._verbs.find(client_id, limit, after))

    def purge_expired(self) -> int:
        """
        Free the space of expired sessions, and return their number.

        Expired sessions are absent anyway; this is for the disk. Redis frees
        most of it by itself.
        """
        return self._run("purge_expired", self._verbs.purge_expired())

    def count(self) -> int:
        """
        Return the number of living sessions.
        """
        return self._run("count", self._verbs.count())

    def walk(self) -> Generator[SessionRecord, None, None]:
        """
        Yield all living sessions, of all clients, in the store's own order.

        A session that lives during the whole walk is yielded; on Redis perhaps
        twice. A session created meanwhile may be yielded or not.
        """
        after: str | None = None
        while True:
            stretch = self._run("walk", self._verbs.walk(after))
            for kept in stretch.sessions:
                yield make_record(kept.row())
            after = stretch.after
            if after is None:
                return

    def check(self) -> list[str]:
        """
        Check whether the store can keep the promises of the registry.

        Call it when the service starts, and in health checks on a registry
        with a short ``timeout``.

        Returns:
            A sentence for each setting that breaks a promise, such as an
            evicting Redis, with the setting to write instead; else nothing.

        Raises:
            RegistryMisconfigured: the registry cannot work there; the message
                says what to change.
            RegistryUnavailable: the store does not answer.
        """
        return self._run("check", self._verbs.check())

    def close(self) -> None:
        """
        Close connections, files and threads. Closing twice is harmless.
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

    def _run(self, name: str, verb: Verb[T]) -> T:
        if "registry" not in subscribers:
            return drive(verb, self._ask)
        with VerbReport(self._name, name) as report:

            def ask(question: Question[Any]) -> Any:
                report.answer = answer = self._ask(question)
                return answer

            value = drive(verb, ask)
            if isinstance(value, bool):
                report.answer = value
            return value

    def _ask(self, question: Question[T]) -> T:
        outages = self._outages
        began = outages.begin(question)
        try:
            answer = self._store.ask(question)
        except RegistryUnavailable as error:
            outages.fail(question, error, began)
            raise
        if outages.known:
            outages.end(question)
        return answer

"""
``SessionRegistry``: the verbs, for code that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from idlanyard._binding.events import subscribers
from idlanyard.ids import timestamped
from idlanyard.registry._drive import drive
from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._opening import Opened, open_store
from idlanyard.registry._questions import Question, Store
from idlanyard.registry._record import SessionRecord, record_of
from idlanyard.registry._rules import IdempotencyKey
from idlanyard.registry._telling import Telling
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
            pool_size: how many connections to a server this process keeps
                open; 10 where nothing is said.
            pool_max: how many it may have open at once; left out, as many.
            pool_wait: the most seconds to wait for a free one; left out, the
                timeout. The three may stand in the URL instead, as in
                ``postgresql://host/database?pool_size=5&pool_max=20``.

        Raises:
            PolicyError: an option cannot be followed; the message says what
                to write instead.
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
        The most seconds that one question may take.
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
            session_id: the ID, taken as it is, case and all: any text of 1
                to 1,024 bytes of UTF-8 without control characters. ``None``
                and ``""`` mint one.
            client_id: whose session it is, of the same shape; for ``find``.
            metadata: a JSON object, up to 16 KiB and 8 levels.
            ttl: after how many seconds without a ``touch`` it expires;
                fractions count.
            idempotency_key: text of the caller's choice, such as a UUID, that
                makes this create repeatable while its session lives: sent
                again, it returns the record that it made. It counts for its
                ``client_id`` only.

        Raises:
            SessionExists: the ID is taken.
            IdempotencyMismatch: the key has made a session from other arguments.
            ValueError: the ID, the client's ID, the metadata, the time to
                live or the key is refused.
            TypeError: one of them is of a wrong type.
            PolicyError: the registry's ``mint`` makes what is no ID.
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
            base: the ID that is wanted.
            retries: how many names are tried before one is minted.
            client_id: as in ``create``.
            metadata: as in ``create``.
            ttl: as in ``create``.
            idempotency_key: as in ``create``.

        Raises:
            IdempotencyMismatch: as ``create``.
            ValueError: as ``create``.
            TypeError: as ``create``.
        """
        return self._run(
            "create_or_suffix",
            self._verbs.create_or_suffix(base, retries, client_id, metadata, ttl, idempotency_key),
        )

    def get(self, session_id: str) -> SessionRecord:
        """
        Return a session.

        Raises:
            SessionNotFound: there is none.
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
        Let a session live on: its time begins anew.

        Args:
            session_id: the ID.
            ttl: how many seconds from now on, and after later touches; left
                out, what it had.
            metadata: takes the place of what was left with it; left out, that stays.
            created_at: as in the record of the session that is meant; one that
                has been created with its ID since is left alone.

        Raises:
            SessionNotFound: there is none, or another one.
            ValueError: the time to live or the metadata is refused.
            TypeError: one of them is of a wrong type.
        """
        verb = self._verbs.touch(session_id, ttl, metadata, created_at)
        return self._run("touch", verb)

    def end(self, session_id: str, *, created_at: datetime | None = None) -> SessionRecord:
        """
        Forget a session, and return what it was; its ID is free again .

        Args:
            session_id: the ID.
            created_at: as in the record of the session that is meant; one that
                has been created with its ID since is left alone.

        Raises:
            SessionNotFound: there is none, or another one.
        """
        return self._run("end", self._verbs.end(session_id, created_at))

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

        Raises:
            ValueError: the limit is none of 1 to 1,000, or an ID is refused.
            TypeError: an ID is no text.
        """
        return self._run("find", self._verbs.find(client_id, limit, after))

    def purge_expired(self) -> int:
        """
        Give up what expired sessions still take, and return how many those were.

        They are absent without it; this is for the disk. On Redis, which
        gives them up by itself, there is little to do.
        """
        return self._run("purge_expired", self._verbs.purge_expired())

    def count(self) -> int:
        """
        Return how many sessions are living.
        """
        return self._run("count", self._verbs.count())

    def walk(self) -> Generator[SessionRecord, None, None]:
        """
        Go through all living sessions, whoever has them, in the store's own order.

        Each that lives during the whole walk is met; on Redis one may be met
        twice. What is created meanwhile may be met or not.
        """
        after: str | None = None
        while True:
            stretch = self._run("walk", self._verbs.walk(after))
            for kept in stretch.sessions:
                yield record_of(kept.row())
            after = stretch.after
            if after is None:
                return

    def check(self) -> list[str]:
        """
        Ask the store whether it can keep what the registry promises.

        Call it when the service starts, and from the check of its health with
        a registry of a short ``timeout``.

        Returns:
            A sentence for each setting that voids a promise, such as an
            evicting Redis, with what to write instead; empty where all is well.

        Raises:
            RegistryMisconfigured: the registry cannot work there: waiting will
                not mend it, and the message says what will.
            RegistryUnavailable: the store does not answer.
        """
        return self._run("check", self._verbs.check())

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

    def _run(self, name: str, verb: Verb[T]) -> T:
        if "registry" not in subscribers:
            return drive(verb, self._ask)
        with Telling(self._name, name) as telling:

            def ask(question: Question[Any]) -> Any:
                telling.answer = answer = self._ask(question)
                return answer

            value = drive(verb, ask)
            if isinstance(value, bool):
                telling.answer = value
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

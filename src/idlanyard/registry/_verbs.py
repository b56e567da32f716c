"""
The verbs of a registry, as generators that yield questions to a store.

A verb decides and never waits. ``SessionRegistry`` answers the questions in
the calling thread, ``AsyncSessionRegistry`` on its event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from idlanyard.exceptions import PolicyError
from idlanyard.ids import timestamped
from idlanyard.registry._exceptions import IdempotencyMismatch, SessionExists, SessionNotFound
from idlanyard.registry._questions import (
    Check,
    Count,
    Delete,
    Extend,
    Insert,
    Page,
    Purge,
    Question,
    Read,
    Walk,
)
from idlanyard.registry._record import Draft, Repeated, Row, SessionRecord, Stretch, record_of
from idlanyard.registry._rules import (
    MOST_BYTES,
    IdempotencyKey,
    first_ttl,
    idempotency_of,
    is_repeated,
    key_of,
    metadata_text,
    microseconds,
    since_1970,
)


class _Rest(NamedTuple):
    """
    What a draft has besides its ID.
    """

    client_key: bytes | None
    client_id: str | None
    metadata: str
    ttl: int | None
    idempotency: bytes | None = None
    request: bytes | None = None
    idempotency_key: str = ""


T = TypeVar("T")
Verb: TypeAlias = Generator[Question[Any], Any, T]

_MINTS: Final = 5
MOST_ON_A_PAGE: Final = 1000


class Verbs:
    """
    The verbs of one registry.

    Args:
        mint: makes the IDs of sessions created without one.
        validator: refuses custom IDs by raising ``ValueError``.
        ttl: the time to live, in seconds, of sessions created without one.

    Raises:
        PolicyError: an option cannot be followed.
    """

    __slots__ = ("_mint", "_ttl", "_validator")

    def __init__(
        self,
        *,
        mint: Callable[[], str] = timestamped,
        validator: Callable[[str], object] | None = None,
        ttl: float | None = None,
    ) -> None:
        if not callable(mint):
            raise PolicyError.about("mint", "takes a function, such as idlanyard.ids.uuid7", mint)
        if validator is not None and not callable(validator):
            raise PolicyError.about(
                "validator", "takes a function, such as idlanyard.registry.strict", validator
            )
        self._mint = mint
        self._validator = validator
        try:
            self._ttl = None if ttl is None else microseconds(ttl)
        except (TypeError, ValueError) as error:
            raise PolicyError(str(error), option="ttl", value=ttl) from None

    def create(
        self,
        session_id: object,
        client_id: object,
        metadata: object,
        ttl: object,
        idempotency_key: object,
    ) -> Verb[SessionRecord]:
        """
        Create one session, minting its ID where none is given.
        """
        wanted = None if session_id == "" else session_id
        rest = self._rest(wanted, client_id, metadata, ttl, idempotency_key)
        if wanted is None:
            return (yield from self._minted(rest))
        return (yield from self._named(wanted, rest))

    def create_or_suffix(
        self,
        base: object,
        retries: int,
        client_id: object,
        metadata: object,
        ttl: object,
        idempotency_key: object,
    ) -> Verb[SessionRecord]:
        """
        Try ``base``, ``base_1``, ``base_2`` and so on, then mint.
        """
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 1:
            raise ValueError("retries is how many names are tried: write 1 or more")
        key_of("base", base)
        rest = self._rest(base, client_id, metadata, ttl, idempotency_key)
        for number in range(retries):
            name = f"{base}_{number}" if number else str(base)
            if number and not self._is_allowed(name):
                break
            try:
                return (yield from self._named(name, rest))
            except SessionExists:
                continue
        return (yield from self._minted(rest))

    def get(self, session_id: object) -> Verb[SessionRecord]:
        """
        Return one session.
        """
        row = yield from Read(_key_to_find(session_id))
        return record_of(_check_found(row, session_id))

    def exists(self, session_id: object) -> Verb[bool]:
        """
        Return whether there is such a session.
        """
        try:
            _check_found((yield from Read(_key_to_find(session_id))), session_id)
        except SessionNotFound:
            return False
        return True

    def touch(
        self, session_id: object, ttl: object, metadata: object, created_at: object
    ) -> Verb[SessionRecord]:
        """
        Let one session live on, perhaps with other metadata.
        """
        longer = None if ttl is None else microseconds(ttl)
        text = None if metadata is None else metadata_text(metadata)
        created = None if created_at is None else since_1970(created_at)
        row = yield from Extend(_key_to_find(session_id), longer, text, created)
        return record_of(_check_found(row, session_id))

    def end(self, session_id: object, created_at: object) -> Verb[SessionRecord]:
        """
        Forget one session.
        """
        created = None if created_at is None else since_1970(created_at)
        row = yield from Delete(_key_to_find(session_id), created)
        return record_of(_check_found(row, session_id), "ended")

    def find(self, client_id: object, limit: int, after: str | None) -> Verb[list[SessionRecord]]:
        """
        Return one page of a client's sessions.
        """
        if (
            isinstance(limit, bool)
            or not isinstance(limit, int)
            or not 1 <= limit <= MOST_ON_A_PAGE
        ):
            raise ValueError(f"limit is how many at most: write 1 to {MOST_ON_A_PAGE}")
        if after is not None:
            key_of("after", after)
        rows = yield from Page(key_of("client_id", client_id), after, limit)
        return [record_of(row) for row in rows]

    def purge_expired(self) -> Verb[int]:
        """
        Give up what expired sessions still take.
        """
        return (yield from Purge())

    def count(self) -> Verb[int]:
        """
        Return how many sessions are living.
        """
        return (yield from Count())

    def walk(self, after: str | None) -> Verb[Stretch]:
        """
        Return the next part of all the living sessions.
        """
        return (yield from Walk(after, MOST_ON_A_PAGE))

    def check(self) -> Verb[list[str]]:
        """
        Return a sentence for each setting of the store that voids a promise.
        """
        return (yield from Check())

    def _rest(
        self,
        session_id: object,
        client_id: object,
        metadata: object,
        ttl: object,
        idempotency_key: object,
    ) -> _Rest:
        """
        Return what a draft has besides its ID.
        """
        lifetime = self._ttl if ttl is None else microseconds(ttl)
        text = metadata_text(metadata)
        client_key, client = None, None
        if client_id is not None and client_id != "":
            client_key, client = key_of("client_id", client_id), str(client_id)
        if idempotency_key is None:
            return _Rest(client_key, client, text, lifetime)
        if session_id is not None:
            key_of("session_id", session_id)
        asked = (session_id, client, text, lifetime)
        digests = idempotency_of(idempotency_key, client, asked, lifetime)
        return _Rest(client_key, client, text, lifetime, *digests, _text_of(idempotency_key))

    def _is_allowed(self, name: str) -> bool:
        """
        Return whether a name of our own making may be registered.
        """
        if len(name.encode()) > MOST_BYTES:
            return False
        try:
            if self._validator is not None:
                self._validator(name)
        except ValueError:
            return False
        return True

    def _named(self, session_id: object, rest: _Rest) -> Verb[SessionRecord]:
        """
        Create a session with the ID that was asked for.
        """
        key = key_of("session_id", session_id)
        text = str(session_id)
        if self._validator is not None:
            self._validator(text)
        record = yield from self._inserted(key, text, rest)
        if record is None:
            raise SessionExists(text)
        return record

    def _minted(self, rest: _Rest) -> Verb[SessionRecord]:
        """
        Create a session with a fresh ID; one that is taken is drawn again.
        """
        made = ""
        for _ in range(_MINTS):
            made = self._mint()
            try:
                key = key_of("its ID", made)
            except (TypeError, ValueError) as error:
                raise PolicyError.about("mint", f"makes what is no ID: {error}") from None
            record = yield from self._inserted(key, made, rest)
            if record is not None:
                return record
        raise SessionExists(made)

    def _inserted(self, key: bytes, session_id: str, rest: _Rest) -> Verb[SessionRecord | None]:
        """
        Return the new session, or the one that the idempotency key has made before.
        """
        draft = Draft(key, session_id, *rest[:6])
        answer = yield from Insert(draft)
        if answer is None:
            return None
        if isinstance(answer, Repeated):
            if not is_repeated(rest.request, answer.request):
                raise IdempotencyMismatch(rest.idempotency_key)
            # As it was answered first, whatever has touched it since.
            row, ttl = answer.row, first_ttl(answer.request)
            expires = None if ttl is None else row.created + ttl
            return record_of(row._replace(metadata=rest.metadata, expires=expires))
        return record_of(answer)


def _key_to_find(session_id: object) -> bytes:
    """
    Return the key of a session that is looked for.

    Raises:
        SessionNotFound: the ID could never be registered.
    """
    try:
        return key_of("session_id", session_id)
    except ValueError:
        raise SessionNotFound(str(session_id)) from None


def _check_found(row: Row | None, session_id: object) -> Row:
    """
    Return the row of the session that was looked for.

    Raises:
        SessionNotFound: there is none.
    """
    # Two IDs with the same SHA-256 are not expected, but must never be mixed up.
    if row is None or row.session_id != session_id:
        raise SessionNotFound(str(session_id))
    return row


def _text_of(idempotency_key: object) -> str:
    given = idempotency_key
    return given.key if isinstance(given, IdempotencyKey) else str(given)

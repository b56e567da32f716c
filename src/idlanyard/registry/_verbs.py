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
from idlanyard.registry._checks import (
    MOST_BYTES,
    IdempotencyKey,
    convert_datetime,
    convert_ttl,
    encode_metadata,
    hash_idempotency,
    is_same_request,
    make_key,
    read_first_ttl,
)
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
from idlanyard.registry._record import Draft, Repeated, Row, SessionRecord, Stretch, make_record


class _Fields(NamedTuple):
    """
    The fields of a draft besides its ID.
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
        validator: raises ``ValueError`` for custom IDs that it refuses.
        ttl: the time to live, in seconds, of sessions created without one.

    Raises:
        PolicyError: an option is not valid.
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
            self._ttl = None if ttl is None else convert_ttl(ttl)
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
        Create a session, and mint its ID if none is given.
        """
        wanted = None if session_id == "" else session_id
        fields = self._check_fields(wanted, client_id, metadata, ttl, idempotency_key)
        if wanted is None:
            return (yield from self._create_minted(fields))
        return (yield from self._create_named(wanted, fields))

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
        make_key("base", base)
        fields = self._check_fields(base, client_id, metadata, ttl, idempotency_key)
        for number in range(retries):
            name = f"{base}_{number}" if number else str(base)
            if number and not self._is_allowed(name):
                break
            try:
                return (yield from self._create_named(name, fields))
            except SessionExists:
                continue
        return (yield from self._create_minted(fields))

    def get(self, session_id: object) -> Verb[SessionRecord]:
        """
        Return a session.
        """
        row = yield from Read(_make_key_to_find(session_id))
        return make_record(_check_found(row, session_id))

    def exists(self, session_id: object) -> Verb[bool]:
        """
        Return whether there is such a session.
        """
        try:
            _check_found((yield from Read(_make_key_to_find(session_id))), session_id)
        except SessionNotFound:
            return False
        return True

    def touch(
        self, session_id: object, ttl: object, metadata: object, created_at: object
    ) -> Verb[SessionRecord]:
        """
        Extend the life of a session, perhaps with new metadata.
        """
        longer = None if ttl is None else convert_ttl(ttl)
        text = None if metadata is None else encode_metadata(metadata)
        created = None if created_at is None else convert_datetime(created_at)
        row = yield from Extend(_make_key_to_find(session_id), longer, text, created)
        return make_record(_check_found(row, session_id))

    def end(self, session_id: object, created_at: object) -> Verb[SessionRecord]:
        """
        Delete a session, and return its last record.
        """
        created = None if created_at is None else convert_datetime(created_at)
        row = yield from Delete(_make_key_to_find(session_id), created)
        return make_record(_check_found(row, session_id), "ended")

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
            make_key("after", after)
        rows = yield from Page(make_key("client_id", client_id), after, limit)
        return [make_record(row) for row in rows]

    def purge_expired(self) -> Verb[int]:
        """
        Free the space of expired sessions, and return their number.
        """
        return (yield from Purge())

    def count(self) -> Verb[int]:
        """
        Return the number of living sessions.
        """
        return (yield from Count())

    def walk(self, after: str | None) -> Verb[Stretch]:
        """
        Return the next part of all the living sessions.
        """
        return (yield from Walk(after, MOST_ON_A_PAGE))

    def check(self) -> Verb[list[str]]:
        """
        Return a sentence for each setting of the store that breaks a promise.
        """
        return (yield from Check())

    def _check_fields(
        self,
        session_id: object,
        client_id: object,
        metadata: object,
        ttl: object,
        idempotency_key: object,
    ) -> _Fields:
        """
        Check the arguments of a create, and return the fields of its draft besides the ID.
        """
        lifetime = self._ttl if ttl is None else convert_ttl(ttl)
        text = encode_metadata(metadata)
        client_key, client = None, None
        if client_id is not None and client_id != "":
            client_key, client = make_key("client_id", client_id), str(client_id)
        if idempotency_key is None:
            return _Fields(client_key, client, text, lifetime)
        if session_id is not None:
            make_key("session_id", session_id)
        asked = (session_id, client, text, lifetime)
        digests = hash_idempotency(idempotency_key, client, asked, lifetime)
        return _Fields(client_key, client, text, lifetime, *digests, _get_text(idempotency_key))

    def _is_allowed(self, name: str) -> bool:
        """
        Return whether a suffixed name is a valid ID.
        """
        if len(name.encode()) > MOST_BYTES:
            return False
        try:
            if self._validator is not None:
                self._validator(name)
        except ValueError:
            return False
        return True

    def _create_named(self, session_id: object, fields: _Fields) -> Verb[SessionRecord]:
        """
        Create a session with a given ID.
        """
        key = make_key("session_id", session_id)
        text = str(session_id)
        if self._validator is not None:
            self._validator(text)
        record = yield from self._insert(key, text, fields)
        if record is None:
            raise SessionExists(text)
        return record

    def _create_minted(self, fields: _Fields) -> Verb[SessionRecord]:
        """
        Create a session with a minted ID, and mint again if it is taken.
        """
        made = ""
        for _ in range(_MINTS):
            made = self._mint()
            try:
                key = make_key("its ID", made)
            except (TypeError, ValueError) as error:
                raise PolicyError.about("mint", f"makes an invalid ID: {error}") from None
            record = yield from self._insert(key, made, fields)
            if record is not None:
                return record
        raise SessionExists(made)

    def _insert(self, key: bytes, session_id: str, fields: _Fields) -> Verb[SessionRecord | None]:
        """
        Return the new session, the first one of its idempotency key, or ``None`` if it is taken.
        """
        draft = Draft(key, session_id, *fields[:6])
        answer = yield from Insert(draft)
        if answer is None:
            return None
        if isinstance(answer, Repeated):
            if not is_same_request(fields.request, answer.request):
                raise IdempotencyMismatch(fields.idempotency_key)
            # A retry gets the first reply, whatever has touched the session since.
            row, ttl = answer.row, read_first_ttl(answer.request)
            expires = None if ttl is None else row.created + ttl
            return make_record(row._replace(metadata=fields.metadata, expires=expires))
        return make_record(answer)


def _make_key_to_find(session_id: object) -> bytes:
    """
    Return the key of a session that is looked for.

    Raises:
        SessionNotFound: the ID could never be registered.
    """
    try:
        return make_key("session_id", session_id)
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


def _get_text(idempotency_key: object) -> str:
    given = idempotency_key
    return given.key if isinstance(given, IdempotencyKey) else str(given)

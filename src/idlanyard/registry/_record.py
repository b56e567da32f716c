"""
Sessions as callers see them, and as stores keep them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

_SECOND: Final = 1_000_000
# Division to float seconds is exact to the microsecond until the year 2255.
_moment: Final = datetime.fromtimestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """
    One session in the registry, as it was when it was read.

    Attributes:
        session_id: the ID, as given or minted.
        client_id: the client of the session, if the creator named one.
        metadata: a JSON object that the creator stored with the session.
        created_at: when the session was created, in UTC, by the store's clock.
        expires_at: when the session expires, in UTC; ``None`` is never.
        status: ``"active"``, or ``"ended"`` in the record that ``end`` returns.
    """

    session_id: str
    client_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)
    created_at: datetime
    expires_at: datetime | None = None
    status: Literal["active", "ended"] = "active"


class Draft(NamedTuple):
    """
    A session to create.

    Attributes:
        key: the SHA-256 of the session ID, 32 bytes.
        session_id: the ID.
        client_key: the SHA-256 of the client ID, or ``None``.
        client_id: the client's ID, or ``None``.
        metadata: a JSON object as ASCII text.
        ttl: the time to live in microseconds, or ``None``.
        idempotency: the SHA-256 of the idempotency key and its client, or ``None``.
        request: 32 bytes for the request, if there is an idempotency key.
    """

    key: bytes
    session_id: str
    client_key: bytes | None
    client_id: str | None
    metadata: str
    ttl: int | None
    idempotency: bytes | None = None
    request: bytes | None = None


class Row(NamedTuple):
    """
    A session as a store returns it to a verb.

    Attributes:
        session_id: the ID.
        client_id: the client's ID, or ``None``.
        metadata: a JSON object as ASCII text.
        created: microseconds since 1970, UTC.
        expires: the same, or ``None``.
    """

    session_id: str
    client_id: str | None
    metadata: str
    created: int
    expires: int | None


class Repeated(NamedTuple):
    """
    A living session from an earlier create with the same idempotency key.

    Attributes:
        row: the session.
        request: the 32 bytes for the request of that create.
    """

    row: Row
    request: bytes


class Kept(NamedTuple):
    """
    A session with every field that a store keeps, to copy it to another store.

    Attributes:
        session_id: the ID.
        client_id: the client's ID, or ``None``.
        metadata: a JSON object as ASCII text.
        ttl: the time to live in microseconds, or ``None``.
        created: microseconds since 1970, UTC.
        expires: the same, or ``None``.
        idempotency: as in ``Draft``.
        request: as in ``Draft``.
    """

    session_id: str
    client_id: str | None
    metadata: str
    ttl: int | None
    created: int
    expires: int | None
    idempotency: bytes | None = None
    request: bytes | None = None

    def row(self) -> Row:
        """
        Return the fields that verbs see.
        """
        return Row(self.session_id, self.client_id, self.metadata, self.created, self.expires)


class Stretch(NamedTuple):
    """
    A part of all the living sessions of a store.

    Attributes:
        sessions: the sessions of this part, in the store's own order.
        after: the place where the next part begins; ``None`` in the last part.
    """

    sessions: list[Kept]
    after: str | None


PutResult: TypeAlias = Literal["kept", "same", "taken", "expired"]
"""
The result of putting a session into a store: it is kept now, was there before, another session
has its ID or idempotency key, or it has expired.
"""

# A frozen __init__ takes twice as long: it would make a get on memory:// a fifth slower.
_slots: Final[Any] = SessionRecord
_new: Final = object.__new__
_set_session_id: Final = _slots.session_id.__set__
_set_client_id: Final = _slots.client_id.__set__
_set_metadata: Final = _slots.metadata.__set__
_set_created_at: Final = _slots.created_at.__set__
_set_expires_at: Final = _slots.expires_at.__set__
_set_status: Final = _slots.status.__set__


def make_record(row: Row, status: Literal["active", "ended"] = "active") -> SessionRecord:
    """
    Return the record of a row.
    """
    session_id, client_id, metadata, created, expires = row
    record = _new(SessionRecord)
    _set_session_id(record, session_id)
    _set_client_id(record, client_id)
    _set_metadata(record, {} if metadata == "{}" else json.loads(metadata))
    _set_created_at(record, _moment(created / _SECOND, UTC))
    _set_expires_at(record, None if expires is None else _moment(expires / _SECOND, UTC))
    _set_status(record, status)
    return record

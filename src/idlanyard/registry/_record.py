"""
A session as callers see it, and as stores keep it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

_SECOND: Final = 1_000_000
# A double tells microseconds apart until the year 2255.
_moment: Final = datetime.fromtimestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """
    What the registry knows of one session: a snapshot.

    Attributes:
        session_id: the ID, as it was given or minted.
        client_id: whose session it is, if the creator said so.
        metadata: what the creator left with it, a JSON object.
        created_at: when it was created, in UTC, by the store's clock.
        expires_at: when it expires, in UTC; ``None`` is never.
        status: ``"active"``, or ``"ended"`` in what ``end`` returns.
    """

    session_id: str
    client_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, hash=False)
    created_at: datetime
    expires_at: datetime | None = None
    status: Literal["active", "ended"] = "active"


class Draft(NamedTuple):
    """
    A session that is about to be created.

    Attributes:
        key: the SHA-256 of the session ID, 32 bytes.
        session_id: the ID.
        client_key: the SHA-256 of the client ID, or ``None``.
        client_id: the client's ID, or ``None``.
        metadata: a JSON object as ASCII text.
        ttl: after how many microseconds without a touch it expires, or ``None``.
        idempotency: the SHA-256 of the idempotency key and whose it is, or ``None``.
        request: 32 bytes that stand for what was asked for, where there is an idempotency key.
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
    A session as a store keeps it.

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
    The living session that an earlier create with the same idempotency key has made.

    Attributes:
        row: the session.
        request: the 32 bytes that stand for what that create asked for.
    """

    row: Row
    request: bytes


class Kept(NamedTuple):
    """
    Everything that a store keeps of a session, as it goes from one store to another.

    Attributes:
        session_id: the ID.
        client_id: the client's ID, or ``None``.
        metadata: a JSON object as ASCII text.
        ttl: after how many microseconds without a touch it expires, or ``None``.
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
        Return the session as its verbs see it.
        """
        return Row(self.session_id, self.client_id, self.metadata, self.created, self.expires)


class Stretch(NamedTuple):
    """
    A part of all the living sessions of a store.

    Attributes:
        sessions: those of this part, in the store's own order.
        after: where the next part begins; ``None`` where this is the last.
    """

    sessions: list[Kept]
    after: str | None


PutResult: TypeAlias = Literal["kept", "same", "taken", "expired"]
"""
Outcome of putting a session into a store: it is kept now, was there before, another session has
its ID or its idempotency key, or its time is over.
"""

# Plain stores into slots cost a third of what a frozen __init__ does.
_slots: Final[Any] = SessionRecord
_new: Final = object.__new__
_set_session_id: Final = _slots.session_id.__set__
_set_client_id: Final = _slots.client_id.__set__
_set_metadata: Final = _slots.metadata.__set__
_set_created_at: Final = _slots.created_at.__set__
_set_expires_at: Final = _slots.expires_at.__set__
_set_status: Final = _slots.status.__set__


def record_of(row: Row, status: Literal["active", "ended"] = "active") -> SessionRecord:
    """
    Return a store's row as callers see it.
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

"""
A session as callers see it, and as stores keep it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
    """

    key: bytes
    session_id: str
    client_key: bytes | None
    client_id: str | None
    metadata: str
    ttl: int | None


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


def record_of(row: Row, status: Literal["active", "ended"] = "active") -> SessionRecord:
    """
    Return a store's row as callers see it.
    """
    return SessionRecord(
        session_id=row.session_id,
        client_id=row.client_id,
        metadata={} if row.metadata == "{}" else json.loads(row.metadata),
        created_at=_moment(row.created),
        expires_at=None if row.expires is None else _moment(row.expires),
        status=status,
    )


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)

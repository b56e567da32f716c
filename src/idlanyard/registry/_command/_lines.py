"""
The lines of an export: sessions as JSON, and back. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from idlanyard.registry._command._showing import moment_text
from idlanyard.registry._record import Kept
from idlanyard.registry._rules import MOST_SECONDS, key_of, metadata_text, since_1970

FIRST: Final = {"idlanyard_sessions": 1}
LAST: Final = "sessions"
MOST_BYTES: Final = 1 << 20
_NAMES: Final = (
    "session_id",
    "client_id",
    "metadata",
    "ttl_microseconds",
    "created_at",
    "expires_at",
    "idempotency",
    "request",
)


def line_of(kept: Kept) -> str:
    """
    Return the line of one session.
    """
    values = (
        kept.session_id,
        kept.client_id,
        json.loads(kept.metadata),
        kept.ttl,
        moment_text(kept.created),
        moment_text(kept.expires),
        None if kept.idempotency is None else kept.idempotency.hex(),
        None if kept.request is None else kept.request.hex(),
    )
    return json.dumps(dict(zip(_NAMES, values, strict=True)))


def parsed_line(line: bytes) -> dict[str, Any]:
    """
    Return the JSON object of a line.

    Raises:
        ValueError: it has none; the message says what is wrong.
    """
    if len(line) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ValueError("it is no JSON object")


def kept_of(fields: Mapping[str, Any]) -> Kept:
    """
    Return the session of a line's object.

    Raises:
        ValueError: it is none; the message names the field, never its value.
    """
    _refuse_names(fields)
    try:
        key_of("session_id", fields["session_id"])
        client_id = fields["client_id"]
        if client_id is not None:
            key_of("client_id", client_id)
        metadata = metadata_text(fields["metadata"])
    except TypeError as error:
        raise ValueError(str(error)) from None
    created = _moment("created_at", fields["created_at"])
    if created is None:
        raise ValueError("created_at is null: write a moment")
    idempotency = _digest("idempotency", fields["idempotency"])
    request = _digest("request", fields["request"])
    if (idempotency is None) != (request is None):
        raise ValueError("idempotency and request go together: write both, or null for both")
    return Kept(
        fields["session_id"],
        client_id,
        metadata,
        _ttl(fields["ttl_microseconds"]),
        created,
        _moment("expires_at", fields["expires_at"]),
        idempotency,
        request,
    )


def _refuse_names(fields: Mapping[str, Any]) -> None:
    missing = [name for name in _NAMES if name not in fields]
    if missing:
        raise ValueError(f"{missing[0]} is missing: write null where there is none")
    if len(fields) > len(_NAMES):
        raise ValueError("it has more fields than a session: leave them out")


def _moment(name: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return since_1970(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{name} is no moment with a time zone: write 2026-01-31T12:00:00.000000Z"
        ) from None


def _ttl(value: object) -> int | None:
    if value is None:
        return None
    most = MOST_SECONDS * 1_000_000
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise ValueError(f"ttl_microseconds is no time to live: write 1 to {most}, or null")
    return value


def _digest(name: str, value: object) -> bytes | None:
    if value is None:
        return None
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError(f"{name} is no SHA-256: write its 64 hexadecimal digits, or null")
    return digest

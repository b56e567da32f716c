"""
What may be registered: IDs, metadata, times to live. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple, cast

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STRICT: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
MOST_BYTES: Final = 1024
MOST_METADATA: Final = 16 * 1024
DEEPEST: Final = 8
MOST_SECONDS: Final = 100 * 366 * 24 * 3600
_DIGEST: Final = 24
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PLAIN: Final = (str, bool, int, type(None))
_MAPPING: Final = (dict, Mapping)
_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def key_of(name: str, text: object) -> bytes:
    """
    Return the key of an ID that may be registered: the SHA-256 of its UTF-8 bytes.

    Keys are compared as bytes, so that no collation joins ``Session_001``
    with ``session_001``, and have one length, so that no index overflows.

    Args:
        name: what the ID is called, for the message.
        text: the ID.

    Raises:
        TypeError: it is not a ``str``.
        ValueError: it is empty, longer than 1,024 bytes, has a control
            character, or is not encodable; the message never has it.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}: write str(...)")
    if not text:
        raise ValueError(f"{name} is empty: leave it out to have none")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is refused: it cannot be encoded in UTF-8") from None
    if len(encoded) > MOST_BYTES:
        raise ValueError(
            f"{name} is refused: it has {len(encoded)} bytes in UTF-8 and may have {MOST_BYTES}"
        )
    if _CONTROL.search(text):
        raise ValueError(f"{name} is refused: it has a control character")
    return sha256(encoded).digest()


def strict(session_id: str) -> None:
    """
    Refuse custom IDs that are not ``A-Z a-z 0-9 _ -``, 1 to 255 of them.

    For ``SessionRegistry.open(url, validator=strict)``.

    Raises:
        ValueError: the ID has other characters, or more of them.
    """
    if not _STRICT.fullmatch(session_id):
        raise ValueError("session_id is refused: write 1 to 255 of A-Z a-z 0-9 _ -")


def metadata_text(metadata: object) -> str:
    """
    Return metadata as the JSON text that is kept, in ASCII.

    Raises:
        TypeError: it is no mapping, or something in it is not of JSON.
        ValueError: it has more than 16 KiB as compact UTF-8, more than 8
            levels, or a number that JSON does not have.
    """
    if metadata is None:
        return "{}"
    if not isinstance(metadata, _MAPPING):
        raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}: write {{...}}")
    plain = _plain(cast("Mapping[object, Any]", metadata), 1)
    text = _encode(plain)
    # Escapes are longer than what they stand for.
    if len(text) > MOST_METADATA:
        unescaped = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
        size = len(unescaped.encode("utf-8", "surrogatepass"))
        if size > MOST_METADATA:
            raise ValueError(f"metadata has {size} bytes and may have {MOST_METADATA}")
    return text


def _plain(value: Any, level: int) -> Any:
    """
    Return *value* made of what JSON has and nothing else.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("metadata has a number that JSON does not have: NaN or an infinity")
        return value
    if level > DEEPEST:
        raise ValueError(f"metadata has more than {DEEPEST} levels: flatten it")
    if isinstance(value, _MAPPING):
        pairs = cast("Mapping[object, Any]", value)
        return {_name(name): _plain(inner, level + 1) for name, inner in pairs.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, level + 1) for inner in cast("list[Any]", value)]
    raise TypeError(f"metadata has a {type(value).__name__}, which JSON has not: write str(...)")


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"metadata has a key of type {type(name).__name__}: write str(...)")
    return name


class IdempotencyKey(NamedTuple):
    """
    What makes a create that is sent again answer as it did the first time.

    Attributes:
        key: the text that the caller chose for this one create.
        request: what was asked for, as bytes; the same for each retry.
    """

    key: str
    request: bytes


def idempotency_of(
    given: object, client_id: str | None, asked: tuple[object, ...], ttl: int | None
) -> tuple[bytes, bytes]:
    """
    Return 32 bytes each for an idempotency key and for the request that it is for.

    A key is its client's own: another client's same key is another one. The
    request's end with the time to live, which a server may grant anew each time.

    Args:
        given: the key as text, or an ``IdempotencyKey``.
        client_id: whose session it is.
        asked: what the session is created with.
        ttl: its time to live in microseconds.

    Raises:
        TypeError: it is no text.
        ValueError: as ``key_of``.
    """
    if isinstance(given, IdempotencyKey):
        text: object = given.key
        request = given.request
    else:
        text, request = given, json.dumps(asked).encode()
    key = key_of("idempotency_key", text)
    whose = b"" if client_id is None else sha256(client_id.encode()).digest()
    digest = sha256(request).digest()[:_DIGEST]
    return sha256(whose + key).digest(), digest + (ttl or 0).to_bytes(32 - _DIGEST)


def is_repeated(request: bytes | None, first: bytes) -> bool:
    """
    Return whether a request is the one that a key was first sent with.
    """
    return request is not None and request[:_DIGEST] == first[:_DIGEST]


def first_ttl(first: bytes) -> int | None:
    """
    Return the time to live that the first request was answered with, in microseconds.
    """
    return int.from_bytes(first[_DIGEST:]) or None


def microseconds(ttl: object) -> int:
    """
    Return a time to live, given in seconds, in whole microseconds.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive, or more than a hundred years.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl is a number of seconds, not {type(ttl).__name__}")
    if not 0 < ttl <= MOST_SECONDS:
        raise ValueError("ttl is a positive number of seconds, at most a hundred years")
    return math.ceil(ttl * 1_000_000)


def since_1970(moment: object) -> int:
    """
    Return a moment in whole microseconds since 1970, UTC, as stores keep it.

    Raises:
        TypeError: it is no ``datetime``.
        ValueError: it has no time zone.
    """
    if not isinstance(moment, datetime):
        raise TypeError(f"created_at is a datetime, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError("created_at has no time zone: write the created_at of a record")
    return (moment - _EPOCH) // _MICROSECOND

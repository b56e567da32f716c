"""
Check IDs, metadata, times to live and idempotency keys, and convert them to what stores keep.
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


def make_key(name: str, text: object) -> bytes:
    """
    Check an ID, and return its key: the SHA-256 of its UTF-8 bytes.

    Stores compare keys as bytes, so that no collation treats ``Session_001``
    and ``session_001`` as equal. All keys have one length, so that no index
    overflows.

    Args:
        name: the name of the ID in messages.
        text: the ID.

    Raises:
        TypeError: the ID is not a ``str``.
        ValueError: the ID is empty, longer than 1,024 bytes, has a control
            character or cannot be encoded. The message never quotes it.
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
    Check that a custom ID is 1 to 255 characters of ``A-Z a-z 0-9 _ -``.

    For ``SessionRegistry.open(url, validator=strict)``.

    Raises:
        ValueError: the ID is longer, or has other characters.
    """
    if not _STRICT.fullmatch(session_id):
        raise ValueError("session_id is refused: write 1 to 255 of A-Z a-z 0-9 _ -")


def encode_metadata(metadata: object) -> str:
    """
    Return metadata as JSON text in ASCII, as stores keep it.

    Raises:
        TypeError: the metadata is not a mapping, or JSON cannot express a part of it.
        ValueError: the metadata has more than 16 KiB as compact UTF-8, more
            than 8 levels, or a number that JSON cannot express.
    """
    if metadata is None:
        return "{}"
    if not isinstance(metadata, _MAPPING):
        raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}: write {{...}}")
    plain = _copy_plain(cast("Mapping[object, Any]", metadata), 1)
    text = _encode(plain)
    # The limit is on UTF-8, and ASCII escapes are longer than the characters.
    if len(text) > MOST_METADATA:
        unescaped = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
        size = len(unescaped.encode("utf-8", "surrogatepass"))
        if size > MOST_METADATA:
            raise ValueError(f"metadata has {size} bytes and may have {MOST_METADATA}")
    return text


def _copy_plain(value: Any, level: int) -> Any:
    """
    Return a copy of *value* made of the types of JSON only.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("metadata has a number that JSON cannot express: NaN or an infinity")
        return value
    if level > DEEPEST:
        raise ValueError(f"metadata has more than {DEEPEST} levels: flatten it")
    if isinstance(value, _MAPPING):
        pairs = cast("Mapping[object, Any]", value)
        return {_check_name(name): _copy_plain(inner, level + 1) for name, inner in pairs.items()}
    if isinstance(value, list | tuple):
        return [_copy_plain(inner, level + 1) for inner in cast("list[Any]", value)]
    raise TypeError(
        f"metadata has a {type(value).__name__}, which JSON cannot express: write str(...)"
    )


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"metadata has a key of type {type(name).__name__}: write str(...)")
    return name


class IdempotencyKey(NamedTuple):
    """
    An idempotency key with the request it was sent with, for front ends that parse requests.

    Attributes:
        key: the text that the caller chose for this one create.
        request: the request as bytes, which each retry must repeat.
    """

    key: str
    request: bytes


def hash_idempotency(
    given: object, client_id: str | None, asked: tuple[object, ...], ttl: int | None
) -> tuple[bytes, bytes]:
    """
    Return 32 bytes for an idempotency key, and 32 bytes for its request.

    Two clients may use the same key for different requests. The bytes of the
    request end with the time to live, which is not compared: a server may
    grant another one each time.

    Args:
        given: the key as text, or an ``IdempotencyKey``.
        client_id: the client of the session.
        asked: the arguments of the create.
        ttl: the time to live in microseconds.

    Raises:
        TypeError: the key is not a ``str``.
        ValueError: the key is not valid; see ``make_key``.
    """
    if isinstance(given, IdempotencyKey):
        text: object = given.key
        request = given.request
    else:
        text, request = given, json.dumps(asked).encode()
    key = make_key("idempotency_key", text)
    client = b"" if client_id is None else sha256(client_id.encode()).digest()
    digest = sha256(request).digest()[:_DIGEST]
    return sha256(client + key).digest(), digest + (ttl or 0).to_bytes(32 - _DIGEST)


def is_same_request(request: bytes | None, first: bytes) -> bool:
    """
    Return whether a request equals the first request with its key, whatever the time to live.
    """
    return request is not None and request[:_DIGEST] == first[:_DIGEST]


def read_first_ttl(first: bytes) -> int | None:
    """
    Return the time to live of the first request with a key, in microseconds.
    """
    return int.from_bytes(first[_DIGEST:]) or None


def convert_ttl(ttl: object) -> int:
    """
    Convert a time to live from seconds to whole microseconds.

    Raises:
        TypeError: the time to live is not a number.
        ValueError: the time to live is not positive, or over a hundred years.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl is a number of seconds, not {type(ttl).__name__}")
    if not 0 < ttl <= MOST_SECONDS:
        raise ValueError("ttl is a positive number of seconds, at most a hundred years")
    return math.ceil(ttl * 1_000_000)


def convert_datetime(moment: object) -> int:
    """
    Convert a moment to whole microseconds since 1970, UTC, as stores keep it.

    Raises:
        TypeError: the moment is not a ``datetime``.
        ValueError: the moment has no time zone.
    """
    if not isinstance(moment, datetime):
        raise TypeError(f"created_at is a datetime, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError("created_at has no time zone: write the created_at of a record")
    return (moment - _EPOCH) // _MICROSECOND

"""
The header ``Idempotency-Key``, and which requests are the same. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from idlanyard.registry._rules import IdempotencyKey

HEADER: Final = "idempotency-key"
MOST_CHARACTERS: Final = 255
# The string of RFC 9651, section 3.3.3, which draft-ietf-httpapi-idempotency-key-header asks for.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
# What clients send instead. With a comma it may be two lines that a server has joined.
_BARE: Final = re.compile(r"[ !#-+\--~]*")
_ESCAPED: Final = re.compile(r"\\(.)")
_WORDS: Final = 'write one of 1 to 255 characters of ASCII, such as a UUID, as it is or in "..."'


def idempotency_key(headers: Mapping[str, str], asked: Mapping[str, Any]) -> IdempotencyKey | None:
    """
    Return the key that a create was sent with, and the request that it is for.

    Args:
        headers: the request's, names in lower case.
        asked: the fields of its body, as they were understood.

    Raises:
        ValueError: it is no key.
    """
    value = headers.get(HEADER)
    if value is None:
        return None
    key = _key_in(value.strip(" \t"))
    if not key or len(key) > MOST_CHARACTERS:
        raise ValueError(f"Idempotency-Key is refused: {_WORDS}.")
    return IdempotencyKey(key, _canonical(asked))


def _key_in(value: str) -> str | None:
    """
    Return the key that a header says, quoted or bare; ``None`` where it says none.
    """
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        return _ESCAPED.sub(r"\1", quoted[1])
    return value if _BARE.fullmatch(value) else None


def _canonical(asked: Mapping[str, Any]) -> bytes:
    """
    Return the same bytes for each way to spell the same JSON object.
    """
    return json.dumps(_plain(dict(asked)), sort_keys=True, separators=(",", ":")).encode()


def _plain(value: object) -> object:
    """
    Return a value in which whole numbers are of one type, as they are in JSON.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        return {name: _plain(inner) for name, inner in pairs.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in cast("list[object]", value)]
    return value

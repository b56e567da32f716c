"""
The text of a token, taken apart: its length first, then its shape, then its JSON.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

JSONObject = Mapping[str, Any]

LONGEST_TOKEN: Final = 8192
"""
The most characters of a token that is read.
"""

# AWS load balancers pad the parts, which the standard forbids.
_PART: Final = "[A-Za-z0-9_-]+={0,2}"
_SHAPE: Final = re.compile(rf"{_PART}\.{_PART}\.{_PART}")
_KEY_ID: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9._~+/=:@-]{1,200}")
# Beyond the year 9999, and before any time that was written in milliseconds.
_MOST_SECONDS: Final = 1e12


class TokenRefused(Exception):
    """
    A token is not believed; the message is one of a few texts, and quotes nothing of it.
    """


def parse_token_header(token: str) -> JSONObject:
    """
    Return the header of a token, about which nothing is proven yet.

    Raises:
        TokenRefused: the token is no JWT.
    """
    if not _SHAPE.fullmatch(token):
        raise TokenRefused("is no signed JWT")
    part = token[: token.index(".")].rstrip("=")
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise TokenRefused("is no signed JWT") from None
    return parse_object(data)


def parse_object(data: bytes) -> JSONObject:
    """
    Return the JSON object in *data*.

    Parsers differ in which of two members of one name they take, so that such
    an object is none.

    Raises:
        TokenRefused: the data are no JSON object.
    """
    try:
        found: object = json.loads(
            data.decode(), object_pairs_hook=_collect_once, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise TokenRefused("has a part that is no JSON object") from None
    if not isinstance(found, dict):
        raise TokenRefused("has a part that is no JSON object")
    return cast("JSONObject", found)


def _collect_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def read_key_id(header: JSONObject) -> str | None:
    """
    Return the key ID in the header of a token, ``None`` if it has none.

    Raises:
        TokenRefused: the key ID is none that a key set has.
    """
    kid = header.get("kid")
    if kid is not None and not is_key_id(kid):
        raise TokenRefused("has an unusual key ID (kid)")
    return kid


def is_key_id(kid: object) -> bool:
    """
    Return whether *kid* is a key ID: up to 200 characters that mean nothing in a path.
    """
    return isinstance(kid, str) and _KEY_ID.fullmatch(kid) is not None


def read_time(claims: JSONObject, name: str) -> float | None:
    """
    Return a time of a token in seconds, or ``None`` if it has none.

    Raises:
        TokenRefused: the time is no number of seconds.
    """
    value = claims.get(name)
    if value is None:
        return None
    # True is a number in Python.
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MOST_SECONDS:
        raise TokenRefused(f"has no number in {name}")
    return float(value)


def follow_path(claims: JSONObject, path: tuple[str, ...]) -> str | None:
    """
    Return the text at *path* in the claims, or ``None`` if there is no text.
    """
    found: object = claims
    for name in path:
        if not isinstance(found, dict):
            return None
        found = cast("JSONObject", found).get(name)
    return found if isinstance(found, str) and found else None

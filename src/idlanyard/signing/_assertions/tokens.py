"""
The text of a token, taken apart: its length first, then its shape, then its JSON.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn, TypeGuard, cast

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


class TokenParts(NamedTuple):
    """
    A token that was taken apart, about which nothing is proven yet.

    Attributes:
        header: the header.
        signed: the bytes that the signature is about.
        signature: the signature.
        payload: the claims, as they are encoded.
    """

    header: JSONObject
    signed: bytes
    signature: bytes
    payload: str


def parse_token(token: str) -> TokenParts:
    """
    Return the parts of a token; its claims are not read before they are proven.

    Raises:
        TokenRefused: the token is no JWT.
    """
    if not _SHAPE.fullmatch(token):
        raise TokenRefused("is no signed JWT")
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    return TokenParts(
        parse_object(decode_part(header)), signed.encode(), decode_part(signature), payload
    )


def decode_part(part: str) -> bytes:
    """
    Return the bytes of one part of a token.

    Raises:
        TokenRefused: another text means the same bytes, or none does.
    """
    stripped = part.rstrip("=")
    padded = stripped + "=" * (-len(stripped) % 4)
    try:
        data = urlsafe_b64decode(padded)
    except ValueError:
        raise TokenRefused("is no signed JWT") from None
    # The decoder passes over bits that mean nothing, so that one token would have many texts.
    if part not in (stripped, padded) or urlsafe_b64encode(data).decode() != padded:
        raise TokenRefused("is no signed JWT")
    return data


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


def is_key_id(kid: object) -> TypeGuard[str]:
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

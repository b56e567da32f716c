"""
The body of a request and its ``Idempotency-Key``, read strictly. Pure.

An ambiguous body is refused, never repaired. Every ``ValueError`` of this file
is a sentence for the caller, who gets it with a 422.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, cast

from idlanyard.registry._checks import IdempotencyKey, convert_ttl, encode_metadata

CREATE: Final = ("session_id", "client_id", "metadata", "ttl")
UPDATE: Final = ("ttl", "metadata")
_MOST_SHOWN: Final = 64

_JSON: Final = re.compile(
    r"(?:application/|[\w!#$&^.+-]+/[\w!#$&^.+-]+\+)json\s*(?:;[^,]*)?", re.IGNORECASE
)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")

KEY_HEADER: Final = "idempotency-key"
MOST_CHARACTERS: Final = 255
# The string of RFC 9651, section 3.3.3, which draft-ietf-httpapi-idempotency-key-header asks for.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
# Many clients send it without quotes. A comma may come from two lines that a server has joined.
_BARE: Final = re.compile(r"[ !#-+\--~]*")
_ESCAPED: Final = re.compile(r"\\(.)")
_WORDS: Final = 'write one of 1 to 255 characters of ASCII, such as a UUID, as it is or in "..."'


def parse_body(body: bytes, content_type: str, *, may_be_empty: bool) -> dict[str, Any]:
    """
    Return the JSON object in a body.

    A body needs a content type of JSON, since browsers send any other from
    any site without asking. A wrong content type is refused without a body, too.

    Args:
        body: the bytes.
        content_type: the header, ``""`` if there is none.
        may_be_empty: whether an empty body is an empty object.

    Raises:
        ValueError: the body is not one JSON object in UTF-8.
    """
    if (body or content_type) and not _JSON.fullmatch(content_type.strip()):
        raise ValueError("The body must be JSON: write Content-Type: application/json.")
    if not body and may_be_empty:
        return {}
    fields = _parse_json(body)
    if isinstance(fields, dict):
        return cast("dict[str, Any]", fields)
    raise ValueError("The body must be a JSON object.")


def _parse_json(body: bytes) -> object:
    try:
        text = body.decode()
        value: object = json.loads(
            text,
            object_pairs_hook=_object_of,
            parse_float=_parse_finite,
            parse_constant=_refuse_constant,
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("The body is nested too deeply.") from None
    except UnicodeError:
        raise ValueError("The body must be text in UTF-8.") from None
    except _AmbiguousError:
        raise
    except ValueError:
        raise ValueError("The body is not valid JSON.") from None
    return value


class _AmbiguousError(ValueError):
    """
    JSON that two parsers may read differently.
    """


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _AmbiguousError("The body has a name twice in one object.")
    return found


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _AmbiguousError("The body has a number that is too large.")
    return number


def _refuse_constant(name: str) -> float:
    raise _AmbiguousError(f"The body has {name}, which is not JSON: write a number or null.")


def check_names(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """
    Check that all fields are known: an unknown one is probably misspelt.

    Raises:
        ValueError: a field is unknown; the message suggests the most similar known one.
    """
    for name in fields:
        if name in known:
            continue
        meant = {_squeeze(one): one for one in known}
        near = get_close_matches(_squeeze(name[:_MOST_SHOWN]), meant, n=1)
        shown = name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}..."
        if near:
            raise ValueError(f"Unknown field '{shown}': write '{meant[near[0]]}'.")
        listed = f"{', '.join(known[:-1])} and {known[-1]}"
        raise ValueError(f"Unknown field '{shown}': the fields are {listed}.")


def _squeeze(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")


def text_of(fields: Mapping[str, Any], name: str) -> str | None:
    """
    Return a field of text; null, "" and an absent one are the same.

    Raises:
        ValueError: the value has another type.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a string or null.")
    return value or None


def metadata_of(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return the metadata; null and an absent field are the same.

    Raises:
        ValueError: the value has another type, or is more than a registry takes.
    """
    value: dict[str, Any] | None = fields.get("metadata")
    if value is not None and not isinstance(value, dict):
        raise ValueError("metadata must be an object or null.")
    encode_metadata(value)
    return value


def seconds_of(fields: Mapping[str, Any]) -> float | None:
    """
    Return the time to live; null and an absent field are the same.

    Raises:
        ValueError: the value is no number, or one that a registry does not take.
    """
    value: float | None = fields.get("ttl")
    if value is not None:
        try:
            convert_ttl(value)
        except TypeError:
            raise ValueError("ttl must be a number of seconds or null.") from None
    return value


def idempotency_key(headers: Mapping[str, str], asked: Mapping[str, Any]) -> IdempotencyKey | None:
    """
    Return the idempotency key of a create, together with the fields of that create.

    Args:
        headers: the request's headers, names in lower case.
        asked: the fields of its body, as they were understood.

    Raises:
        ValueError: the header is there, and its value is no key.
    """
    value = headers.get(KEY_HEADER)
    if value is None:
        return None
    key = _unquote(value.strip(" \t"))
    if not key or len(key) > MOST_CHARACTERS:
        raise ValueError(f"Idempotency-Key is refused: {_WORDS}.")
    return IdempotencyKey(key, _canonical_json(asked))


def _unquote(value: str) -> str | None:
    """
    Return the key in a header's value, quoted or bare; ``None`` if there is none.
    """
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        return _ESCAPED.sub(r"\1", quoted[1])
    return value if _BARE.fullmatch(value) else None


def _canonical_json(asked: Mapping[str, Any]) -> bytes:
    """
    Return the same bytes for every spelling of one JSON object.
    """
    return json.dumps(_unify_numbers(dict(asked)), sort_keys=True, separators=(",", ":")).encode()


def _unify_numbers(value: object) -> object:
    """
    Return a value with whole floats as ints: JSON has one type for both.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        return {name: _unify_numbers(inner) for name, inner in pairs.items()}
    if isinstance(value, list):
        return [_unify_numbers(inner) for inner in cast("list[object]", value)]
    return value

"""
The JSON body of a request, read strictly: what is doubtful is refused, never repaired. Pure.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, cast

_JSON: Final = re.compile(
    r"(?:application/|[\w!#$&^.+-]+/[\w!#$&^.+-]+\+)json\s*(?:;[^,]*)?", re.IGNORECASE
)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def fields_of(body: bytes, content_type: str, *, may_be_empty: bool) -> dict[str, Any]:
    """
    Return the object that a body spells.

    A content type that is not of JSON is refused whatever the body is, and a
    body without one: browsers send such from any site without asking.

    Args:
        body: the bytes.
        content_type: the header, ``""`` where there is none.
        may_be_empty: whether no body at all is an empty object.

    Raises:
        ValueError: it is not one JSON object in UTF-8.
    """
    if (body or content_type) and not _JSON.fullmatch(content_type.strip()):
        raise ValueError("The body must be JSON: write Content-Type: application/json.")
    if not body and may_be_empty:
        return {}
    fields = _parsed(body)
    if isinstance(fields, dict):
        return cast("dict[str, Any]", fields)
    raise ValueError("The body must be a JSON object.")


def _parsed(body: bytes) -> object:
    try:
        text = body.decode()
        value: object = json.loads(
            text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_refused
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("The body is nested too deeply.") from None
    except UnicodeError:
        raise ValueError("The body must be text in UTF-8.") from None
    except _Doubtful:
        raise
    except ValueError:
        raise ValueError("The body is not valid JSON.") from None
    return value


class _Doubtful(ValueError):
    """
    JSON that two readers may understand in two ways.
    """


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Doubtful("The body has a name twice in one object.")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Doubtful("The body has a number that is too large.")
    return number


def _refused(name: str) -> float:
    raise _Doubtful(f"The body has {name}, which JSON has not.")

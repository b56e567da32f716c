"""
The fields of a body: which there are, and of which types. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from idlanyard.registry._rules import metadata_text, microseconds

CREATE: Final = ("session_id", "client_id", "metadata", "ttl")
UPDATE: Final = ("ttl", "metadata")
_MOST_SHOWN: Final = 64


def check_names(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """
    Refuse fields that are not known, since something was meant by them.

    Raises:
        ValueError: there is one; the message names the nearest that is known.
    """
    for name in fields:
        if name in known:
            continue
        meant = {_squeezed(one): one for one in known}
        near = get_close_matches(_squeezed(name[:_MOST_SHOWN]), meant, n=1)
        shown = name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}..."
        if near:
            raise ValueError(f"Unknown field '{shown}': write '{meant[near[0]]}'.")
        raise ValueError(f"Unknown field '{shown}': the fields are {_listed(known)}.")


def text_of(fields: Mapping[str, Any], name: str) -> str | None:
    """
    Return a field of text; null, "" and absent are the same.

    Raises:
        ValueError: it is something else, a number for example.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a string or null.")
    return value or None


def metadata_of(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return the metadata; null and absent are the same.

    Raises:
        ValueError: it is something else, or more than a registry takes.
    """
    value: dict[str, Any] | None = fields.get("metadata")
    if value is not None and not isinstance(value, dict):
        raise ValueError("metadata must be an object or null.")
    metadata_text(value)
    return value


def seconds_of(fields: Mapping[str, Any]) -> float | None:
    """
    Return the time to live; null and absent are the same.

    Raises:
        ValueError: it is no number, or none that a registry takes.
    """
    value: float | None = fields.get("ttl")
    if value is not None:
        try:
            microseconds(value)
        except TypeError:
            raise ValueError("ttl must be a number of seconds or null.") from None
    return value


def _squeezed(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"

"""
``Baggage``: an ID read from the request's W3C ``baggage``.

There is no codec here: what a member is worth is what ``unquote_plus`` of the
standard library makes of it, which is what OpenTelemetry's propagator makes of
it too. So both read the same value, with and without OpenTelemetry installed
and whichever of the two middlewares is the outer one. What that reading
garbles, ``+`` and properties, holds a character that no ID has, and is refused
by the ID's own check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from idlanyard._request import Request
from idlanyard.exceptions import PolicyError

_KEY: Final = re.compile(r"[A-Za-z0-9_.~-]+")
_MOST_BYTES: Final = 8192
_MOST_MEMBERS: Final = 64


@dataclass(frozen=True)
class Baggage:
    """
    A member of the W3C ``baggage`` header, the client's word.

    All lines of the header count as one: longer than 8,192 bytes it is not
    read, and of more than 64 members only the first 64 are.

    Args:
        key: the member's key, such as ``"session.id"``.

    Raises:
        PolicyError: the key is none, or is written otherwise on the wire.
    """

    key: str

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not _KEY.fullmatch(self.key):
            raise PolicyError(
                f"Baggage({self.key!r}) is no key: write letters, digits and - . _ ~, "
                f"such as Baggage('session.id')",
                option="sources",
                value=self.key,
            )

    def read(self, request: Request) -> list[str]:
        """
        Return the values of every member of this key.
        """
        lines = request.headers.lines("baggage")
        # Before anything is split; a comma stands for each line but the first.
        if not lines or sum(map(len, lines)) + len(lines) - 1 > _MOST_BYTES:
            return []
        return [value for key, value in _members(lines) if key == self.key]


def _members(lines: list[str]) -> Iterator[tuple[str, str]]:
    """
    Yield the key and the value of the first members, decoded.
    """
    from urllib.parse import unquote_plus

    members = list(chain.from_iterable(line.split(",") for line in lines))
    for member in members[:_MOST_MEMBERS]:
        key, equals, value = member.partition("=")
        if equals:
            yield unquote_plus(key.strip(" \t")).strip(), unquote_plus(value.strip(" \t"))

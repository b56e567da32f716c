"""
A yes of ``authorize`` to a create that also says what the session is created with. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from idlanyard.registry._rules import key_of, metadata_text, microseconds


class _LeftOut(Enum):
    """
    The type of what a grant says nothing about.
    """

    LEFT_OUT = "left out"

    def __repr__(self) -> str:
        return "LEFT_OUT"


_LEFT_OUT: Final = _LeftOut.LEFT_OUT
LeftOut: TypeAlias = Literal[_LeftOut.LEFT_OUT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """
    A yes to a create, and what the server decides about its session.

    A value given here takes the place of the one in the body; where one is
    left out, the body's stands. ``None`` is a value: the session has none,
    whatever the body asks for, so that a missing user never lets the body
    name one.

    Args:
        client_id: whose session it is; ``None`` and ``""`` are nobody's.
        ttl: after how many seconds without a touch it expires; ``None`` is
            the registry's own time.
        metadata: a JSON object; ``None`` is an empty one.

    Raises:
        ValueError: the registry would refuse one of them.
        TypeError: one of them is of a wrong type.
    """

    client_id: str | LeftOut | None = _LEFT_OUT
    ttl: float | LeftOut | None = _LEFT_OUT
    metadata: Mapping[str, Any] | LeftOut | None = field(default=_LEFT_OUT, repr=False, hash=False)

    def __post_init__(self) -> None:
        if self.client_id is not _LEFT_OUT and self.client_id not in (None, ""):
            key_of("client_id", self.client_id)
        if self.ttl is not _LEFT_OUT and self.ttl is not None:
            microseconds(self.ttl)
        if self.metadata is not _LEFT_OUT:
            # A copy: the caller may go on changing its own.
            object.__setattr__(self, "metadata", json.loads(metadata_text(self.metadata)))

    def over(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return what a session is created with that was asked for by a body.

        Args:
            asked: the body's ``client_id``, ``ttl`` and ``metadata``.
        """
        given = {"client_id": self.client_id, "ttl": self.ttl, "metadata": self.metadata}
        return dict(asked) | {
            name: value for name, value in given.items() if value is not _LEFT_OUT
        }

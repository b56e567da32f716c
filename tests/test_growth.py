"""
The work that header lines cost grows no faster than their number.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from drive import ask_asgi_at_once
from idlanyard.asgi import SessionContextMiddleware

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import growth


class Counted(bytes):
    """
    Bytes that count how often they are compared or hashed.
    """

    looked_at = 0

    def __eq__(self, other: object) -> bool:
        Counted.looked_at += 1
        return bytes.__eq__(self, other)

    def __hash__(self) -> int:
        Counted.looked_at += 1
        return bytes.__hash__(self)


async def _nothing(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize("policy", growth.POLICIES)
@pytest.mark.parametrize("kind", growth.KINDS)
def test_each_line_is_looked_at_a_bounded_number_of_times(kind: str, policy: str) -> None:
    """
    S29: ten times the lines of any kind, repeated, aliased or forwarding, are ten times the work.
    """
    middleware = SessionContextMiddleware(_nothing, growth.POLICIES[policy])
    looks: list[int] = []
    for count in (200, 2_000):
        lines = [(Counted(name), Counted(value)) for name, value in growth.KINDS[kind](count)]
        Counted.looked_at = 0
        scope = {"type": "http", "path": "/", "headers": lines, "client": ("10.0.0.5", 1)}
        ask_asgi_at_once(middleware, scope)
        looks.append(Counted.looked_at)
    # Lists of over 8,192 characters are named as a whole, which costs a few looks more.
    assert looks[1] <= 13 * looks[0]


def test_the_benchmark_of_growth_measures_every_kind() -> None:
    """
    The recorded exponents are those of every kind of line, on both protocols.
    """
    found = growth.measured((20, 40))
    assert len(found) == 2 * len(growth.POLICIES) * len(growth.KINDS)

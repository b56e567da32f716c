"""
The work that header lines cost grows no faster than their number.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from counting import Name
from drive import ask_asgi_at_once
from idlanyard import Policy
from idlanyard._decision.caches import Caches
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import ASGI, WSGI
from idlanyard._decision.response import add_echo
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
        scope = {"type": "http", "path": "/", "headers": lines, "client": ("10.0.0.5", 1)}
        # The lines of the first such request are looked at once more, for the warning.
        ask_asgi_at_once(middleware, scope | {"headers": [*lines]})
        Counted.looked_at = 0
        ask_asgi_at_once(middleware, scope)
        looks.append(Counted.looked_at)
    # Lists of over 8,192 characters are named as a whole, which costs a few looks more.
    assert looks[1] <= 13 * looks[0]


class Text(str):
    """
    Text that counts the characters that are copied where it grows.
    """

    __slots__ = ()

    copied = 0

    def __add__(self, other: str) -> Text:
        Text.copied += len(self) + len(other)
        return Text(str.__add__(self, other))


class Line(bytes):
    """
    A header line that is decoded to such a text.
    """

    def decode(self, *_: Any, **__: Any) -> Text:
        return Text(bytes.decode(self, "latin-1"))


@pytest.mark.parametrize("header", [b"cache-control", b"cdn-cache-control", b"surrogate-control"])
def test_lines_for_caches_are_joined_once(header: bytes) -> None:
    """
    S29: of a response with many lines for caches, no line is copied with each that follows.
    """
    lines = [(header, Line(b"no-cache"))] * 2_000
    Text.copied = 0
    assert Caches(ASGI).read_instructions(lines).stored is not None
    assert Text.copied <= 13 * sum(len(value) for _, value in lines)


def test_each_header_that_is_silent_is_looked_for_once() -> None:
    """
    S29: a word in each of many headers for caches is work that grows as their number does.
    """
    names = [Name(f"x{number}-cache-control") for number in range(1_000)]
    plan = compile_policy(Policy(), WSGI)
    lines = [(name, "no-cache") for name in names]
    Name.compared = 0
    said = add_echo(plan, "GET", 200, lines, [("X-Session-ID", "s1")])
    assert all(value == "no-cache, private" for _, value in said[: len(names)])
    assert Name.compared <= 13 * len(names)


def test_the_benchmark_of_growth_measures_every_kind() -> None:
    """
    The recorded exponents are those of every kind of line, on both protocols.
    """
    found = growth.measured((20, 40))
    assert len(found) == 2 * len(growth.POLICIES) * len(growth.KINDS)

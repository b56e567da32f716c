"""
Functions that are handed in are looked at, and not called.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from idlanyard import Header, PolicyError
from idlanyard._policy.callables import find_call_fault


async def later(_: str) -> str:
    """
    Answer as nobody waits for.
    """
    raise AssertionError


async def parts(_: str) -> AsyncIterator[str]:
    """
    Yield what nobody waits for.
    """
    nothing: list[str] = []
    for part in nothing:
        yield part


class Later:
    """
    A callable whose call is async.
    """

    async def __call__(self, _: str) -> str:
        raise AssertionError


ASYNC = "takes a plain function, and not an async one, for which nobody waits"


@pytest.mark.parametrize(
    ("fn", "arguments", "fault"),
    [
        pytest.param(print, ["the line"], None, id="anything"),
        pytest.param(str.strip, ["the line"], None, id="a method"),
        pytest.param(str, ["the line"], None, id="a class"),
        pytest.param(partial(int, base=16), ["the line"], None, id="partial"),
        pytest.param(min, ["the line"], None, id="no signature"),
        pytest.param("x", ["a", "b"], "takes a function of a and b", id="text"),
        pytest.param("x", [], "takes a function", id="text for none"),
        pytest.param(later, ["the line"], ASYNC, id="async"),
        pytest.param(partial(partial(later)), ["the line"], ASYNC, id="async partial"),
        pytest.param(parts, ["the line"], ASYNC, id="async generator"),
        pytest.param(Later(), ["the line"], ASYNC, id="async call"),
        pytest.param(Later, [], None, id="the class of one"),
        pytest.param(lambda: None, ["a", "b"], "is called with a and b", id="too few"),
        pytest.param(lambda a: a, [], "is called without arguments", id="too many"),
    ],
)
def test_a_function_is_told_from_what_is_none(
    fn: object, arguments: list[str], fault: str | None
) -> None:
    """
    R14: found where it is handed in is what could not be called, or whose answer none would see.
    """
    assert find_call_fault(fn, *arguments) == fault


@pytest.mark.parametrize("parse", [later, lambda: None, "x"])
def test_a_parse_function_is_looked_at(parse: Any) -> None:
    """
    R14: a function that could read no line is refused when the source is built.
    """
    with pytest.raises(PolicyError, match=r"Header\(parse=...\) (takes|is called with)"):
        Header("X-A", parse=parse)

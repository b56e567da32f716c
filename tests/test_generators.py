"""
ID generators and parse functions that return no ID.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from drive import (
    ask_asgi,
    http_scope,
    pairs_of,
    values_of,
)
from idlanyard import (
    Header,
    IDSpec,
    Policy,
    PolicyError,
    asgi,
    get_session_id,
    session_spec,
)

FRESH = re.compile(r"[0-9a-f]{32}")


def _ok(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(get_session_id()), headers={"X-Session-ID": "app-set"})


@pytest.mark.parametrize("made", ["日本", "a\r\nSet-Cookie: x=1", "", "a" * 256, None, 7])
def test_a_bad_generator_is_found_at_start(made: Any) -> None:
    """
    A generator whose IDs could not be used is a ``PolicyError`` when built (S10).
    """
    with pytest.raises(PolicyError, match="mint"):
        session_spec(mint=lambda: made)


@pytest.mark.parametrize("made", ["日本", "a\r\nSet-Cookie: x=1", "", None])
def test_a_generator_that_turns_bad_fails_no_request(made: Any) -> None:
    """
    A generator that fails later is replaced by the default mint (R7).
    """
    values = iter(["fine"])
    mint: Callable[[], Any] = lambda: next(values, made)  # noqa: E731 - as users write it
    spec = IDSpec(name="defect_id", header="X-Defect-ID", accept="anyone", mint=mint)
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]), Policy(extra=[spec]))
    start = ask_asgi(app, http_scope())[0]
    assert start["status"] == 200
    [value] = values_of(pairs_of(start), "X-Defect-ID")
    assert FRESH.fullmatch(value)


def test_a_parse_passes_the_same_check() -> None:
    """
    The result of a ``parse`` is checked like a value from a header (R7).
    """

    def parse(line: str) -> str:
        return line + "\r\nSet-Cookie: x=1"

    policy = Policy(session=session_spec(sources=[Header("X-Raw", parse=parse)]))
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]), policy)
    start, _ = ask_asgi(app, http_scope([("X-Raw", "a")]))
    [session] = values_of(pairs_of(start), "X-Session-ID")
    assert FRESH.fullmatch(session)

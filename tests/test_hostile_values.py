"""
Values that pass elsewhere: very long, with line breaks, or a byte that is no text.
"""

from __future__ import annotations

import logging
import re

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from drive import (
    PROXY,
    ask_asgi,
    http_scope,
    pairs_of,
    values_of,
)
from idlanyard import (
    Policy,
    asgi,
    get_session_id,
)

HEX = "0123456789abcdef0123456789abcdef"
FRESH = re.compile(r"[0-9a-f]{32}")


def _ok(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(get_session_id()), headers={"X-Session-ID": "app-set"})


@pytest.mark.parametrize("value", ["-" * 60_000 + HEX, "urn:uuid:" + "{" * 400, "0x" + "f" * 300])
def test_long_values_are_refused_by_length(value: str) -> None:
    """
    60 KB that would pass as a UUID is no session ID, and comes back nowhere (S6).
    """
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]))
    start, body = ask_asgi(app, http_scope([("X-Session-ID", value)]))
    [session] = values_of(pairs_of(start), "X-Session-ID")
    assert FRESH.fullmatch(session)
    assert body["body"] == session.encode()


@pytest.mark.parametrize("value", ["\x85abc", "\xff", "\x00"])
def test_one_byte_breaks_nothing(value: str) -> None:
    """
    No byte of a header takes an endpoint down (S29).
    """
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]))
    start, body = ask_asgi(app, http_scope([("X-Session-ID", value), ("X-User-ID", value)]))
    assert start["status"] == 200
    assert FRESH.fullmatch(body["body"].decode())


@pytest.mark.parametrize("value", ["\x85" + HEX[1:], "abc\x85FAKE LINE", "abc\u00a0", "a\x0bb"])
def test_no_line_break_is_smuggled_in(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    A value that ``str.splitlines`` would break is no ID, and reaches neither echo nor log.
    """
    with caplog.at_level(logging.DEBUG):
        for header in ("X-Session-ID", "X-User-ID"):
            app = asgi.SessionContextMiddleware(
                Starlette(routes=[Route("/", _ok)]), Policy(trusted_peers=[PROXY])
            )
            start, body = ask_asgi(app, http_scope([(header, value)], peer=PROXY))
            [session] = values_of(pairs_of(start), "X-Session-ID")
            assert FRESH.fullmatch(session)
            assert body["body"] == session.encode()
            assert values_of(pairs_of(start), "X-User-ID") == []
    assert value not in caplog.text
    assert "FAKE" not in caplog.text

"""
Requests, handshakes and bodies through a middleware among the middlewares of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from drive import (
    PROXY,
    ask_asgi,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    values_of,
    websocket_scope,
)
from idlanyard import (
    Policy,
    asgi,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    request_spec,
    session_spec,
    wsgi,
)

S1 = [("X-Session-ID", "s1")]
FRESH = re.compile(r"[0-9a-f]{32}")


def _ok(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(get_session_id()), headers={"X-Session-ID": "app-set"})


@pytest.mark.parametrize("path", ["/", "/sub/"])
def test_one_header_however_often_it_is_set(path: str) -> None:
    """
    An app that sets the header, plain or mounted and wrapped twice, sends it once.
    """
    plain = Starlette(routes=[Route("/", _ok)])
    mounted = Mount("/sub", app=asgi.SessionContextMiddleware(plain))
    app = asgi.SessionContextMiddleware(Starlette(routes=[mounted, Route("/", _ok)]))
    start = ask_asgi(app, http_scope(S1, path=path))[0]
    assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]


def test_two_ids_keep_apart() -> None:
    """
    Two IDs on two headers are two values, in the app and in the echo.
    """
    policy = Policy(extra=[request_spec()])
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]), policy)
    start, body = ask_asgi(app, http_scope([*S1, ("X-Request-ID", "req-1")]))
    assert body["body"] == b"s1"
    assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]
    assert values_of(pairs_of(start), "X-Request-ID") == ["req-1"]


@pytest.mark.parametrize("value", ["bad id", "", "\x85abc", "a" * 300])
@pytest.mark.parametrize(
    ("on_invalid", "type_"), [("reject", "websocket.close"), ("drop", "websocket.accept")]
)
def test_no_client_breaks_a_websocket(value: str, on_invalid: Any, type_: str) -> None:
    """
    A bad header closes a WebSocket before accept, or is dropped, and never fails it.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert FRESH.fullmatch(str(get_session_id()))
        await send({"type": "websocket.accept"})

    policy = Policy(session=session_spec(on_invalid=on_invalid))
    scope = websocket_scope([("X-Session-ID", value)])
    [message] = ask_asgi(asgi.SessionContextMiddleware(app, policy), scope)
    # Empty is absent, which is not invalid.
    assert message["type"] == ("websocket.accept" if value == "" else type_)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.accept"},
        {"type": "websocket.http.response.start", "status": 403, "headers": []},
    ],
    ids=["accepted", "denied"],
)
def test_a_websocket_handshake_has_its_id(message: dict[str, Any]) -> None:
    """
    Both answers to a WebSocket handshake carry the session.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    [sent] = ask_asgi(asgi.SessionContextMiddleware(app), websocket_scope(S1))
    assert values_of(pairs_of(sent), "X-Session-ID") == ["s1"]


def test_the_exposed_headers_of_others_stay() -> None:
    """
    Beside the exposed headers of the CORS middleware ours stands once (S12).
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["https://a.example"],
        expose_headers=["X-Total-Count", "ETag"],
    )
    inner = Starlette(routes=[Route("/", _ok)], middleware=[cors])
    app = asgi.SessionContextMiddleware(inner, Policy(expose=True))
    start = ask_asgi(app, http_scope([*S1, ("Origin", "https://a.example")]))[0]
    [exposed] = values_of(pairs_of(start), "Access-Control-Expose-Headers")
    assert exposed.split(", ") == ["X-Total-Count", "ETag", "X-Session-ID"]


def test_a_body_closed_unread_leaks_nothing() -> None:
    """
    After a body was closed unread the next request on the thread is its own.
    """
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        seen.append(get_session_context().as_dict())
        yield b""

    wrapped = wsgi.SessionContextMiddleware(app, Policy(trusted_peers=[PROXY]))
    lines = [*S1, ("X-User-ID", "alice")]
    body: Any = wrapped(environ_of(lines, peer=PROXY), lambda *_: bytes)
    body.close()
    assert get_session_context().is_empty()
    ask_wsgi(wrapped, environ_of(lines, peer=PROXY))
    ask_wsgi(wrapped, environ_of(peer=PROXY))
    assert seen[0] == {"session_id": "s1", "user_id": "alice"}
    assert set(seen[1]) == {"session_id"}
    assert seen[1]["session_id"] != "s1"


def test_the_tenant_of_the_previous_request_is_gone() -> None:
    """
    An anonymous request after a tenant's, on the same thread, has no tenant (S28).
    """
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(get_session_context().tenant_id)
        start_response("200 OK", [])
        return []

    wrapped = wsgi.SessionContextMiddleware(app, Policy(trusted_peers=[PROXY]))
    ask_wsgi(wrapped, environ_of([("X-Tenant-ID", "ACME")], peer=PROXY))
    ask_wsgi(wrapped, environ_of(peer=PROXY))
    assert seen == ["ACME", None]


def _login() -> None:
    identify(user_id="alice")


def test_a_sync_dependency_may_identify() -> None:
    """
    A user that a sync dependency sets is in the endpoint and in the echo (R2).
    """
    app = FastAPI()

    @app.get("/")
    async def endpoint(_: Annotated[None, Depends(_login)]) -> Response:
        return PlainTextResponse(str(get_user_id()))

    start, body = ask_asgi(asgi.SessionContextMiddleware(app), http_scope())
    assert body["body"] == b"alice"
    assert values_of(pairs_of(start), "X-User-ID") == ["alice"]

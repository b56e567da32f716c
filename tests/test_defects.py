"""
Defects that are known from elsewhere, each as a test of ours named by its number.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
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
    Header,
    IDSpec,
    Policy,
    PolicyError,
    asgi,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    request_spec,
    session_spec,
    wsgi,
)
from idlanyard._binding.state import carried_by

HEX = "0123456789abcdef0123456789abcdef"
S1 = [("X-Session-ID", "s1")]
FRESH = re.compile(r"[0-9a-f]{32}")


def _boom(request: Request) -> PlainTextResponse:
    raise ZeroDivisionError("division by zero")


def _ok(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(get_session_id()), headers={"X-Session-ID": "app-set"})


@pytest.mark.parametrize("value", ["-" * 60_000 + HEX, "urn:uuid:" + "{" * 400, "0x" + "f" * 300])
def test_defect_4_1_long_values_are_refused_by_length(value: str) -> None:
    """
    60 KB that would pass as a UUID is no session ID, and comes back nowhere (S6).
    """
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]))
    start, body = ask_asgi(app, http_scope([("X-Session-ID", value)]))
    [session] = values_of(pairs_of(start), "X-Session-ID")
    assert FRESH.fullmatch(session)
    assert body["body"] == session.encode()


async def _explain(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"session": get_session_id()}, status_code=500)


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(Starlette(routes=[Route("/", _boom)]), id="Starlette"),
        pytest.param(
            Starlette(routes=[Route("/", _boom)], exception_handlers={Exception: _explain}),
            id="Starlette with a handler",
        ),
        pytest.param(FastAPI(routes=[Route("/", _boom)]), id="FastAPI"),
        pytest.param(
            FastAPI(routes=[Route("/", _boom)], exception_handlers={Exception: _explain}),
            id="FastAPI with a handler",
        ),
    ],
)
def test_defect_4_2_an_unhandled_error_has_its_id(app: Any) -> None:
    """
    A 500 of an app that is wrapped whole carries the session, custom handler or not.
    """
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    call = asgi.SessionContextMiddleware(app)(http_scope(S1), receive, send)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call)
    assert sent[0]["status"] == 500
    assert values_of(pairs_of(sent[0]), "X-Session-ID") == ["s1"]
    if b"session" in sent[1]["body"]:
        assert sent[1]["body"] == b'{"session":"s1"}'


@pytest.mark.parametrize("path", ["/", "/sub/"])
def test_defect_4_3_one_header_however_often_it_is_set(path: str) -> None:
    """
    An app that sets the header, plain or mounted and wrapped twice, sends it once.
    """
    plain = Starlette(routes=[Route("/", _ok)])
    mounted = Mount("/sub", app=asgi.SessionContextMiddleware(plain))
    app = asgi.SessionContextMiddleware(Starlette(routes=[mounted, Route("/", _ok)]))
    start = ask_asgi(app, http_scope(S1, path=path))[0]
    assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]


def test_defect_4_4_two_ids_keep_apart() -> None:
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
def test_defect_4_5_no_client_breaks_a_websocket(value: str, on_invalid: Any, type_: str) -> None:
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
def test_defect_4_6_a_websocket_handshake_has_its_id(message: dict[str, Any]) -> None:
    """
    Both answers to a WebSocket handshake carry the session.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(message)

    [sent] = ask_asgi(asgi.SessionContextMiddleware(app), websocket_scope(S1))
    assert values_of(pairs_of(sent), "X-Session-ID") == ["s1"]


def test_defect_4_8_the_exposed_headers_of_others_stay() -> None:
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


def test_defect_4_12_a_body_closed_unread_leaks_nothing() -> None:
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


def test_defect_4_13_the_tenant_of_the_previous_request_is_gone() -> None:
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


@pytest.mark.parametrize("value", ["\x85abc", "\xff", "\x00"])
def test_defect_4_14_one_byte_breaks_nothing(value: str) -> None:
    """
    No byte of a header takes an endpoint down (S29).
    """
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]))
    start, body = ask_asgi(app, http_scope([("X-Session-ID", value), ("X-User-ID", value)]))
    assert start["status"] == 200
    assert FRESH.fullmatch(body["body"].decode())


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("key"), LookupError()])
def test_defect_4_14_an_exception_says_what_it_said(error: Exception) -> None:
    """
    ``str``, ``repr`` and ``args`` of an exception are as they were raised.
    """
    before = (str(error), repr(error), error.args)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    with pytest.raises(type(error)):
        ask_wsgi(wsgi.SessionContextMiddleware(app), environ_of(S1))
    assert (str(error), repr(error), error.args) == before
    assert not hasattr(error, "__notes__")


def _login() -> None:
    identify(user_id="alice")


def test_defect_4_15_a_sync_dependency_may_identify() -> None:
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


@pytest.mark.parametrize("value", ["\x85" + HEX[1:], "abc\x85FAKE LINE", "abc\u00a0", "a\x0bb"])
def test_defect_4_17_no_line_break_is_smuggled_in(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    What ``str.splitlines`` would break is no ID, and reaches neither echo nor log.
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


class Closing:
    """
    An inner middleware that answers everything itself.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("slow down", status_code=429)(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "status"),
    [
        pytest.param(Starlette(), 404, id="a 404 of Starlette's router"),
        pytest.param(FastAPI(), 404, id="a 404 of FastAPI's router"),
        pytest.param(Starlette(middleware=[Middleware(Closing)]), 429, id="an early exit"),
    ],
)
def test_defect_4_18_early_exits_have_their_id(app: Any, status: int) -> None:
    """
    Whoever answers inside, the app that is wrapped whole sends the session.
    """
    start = ask_asgi(asgi.SessionContextMiddleware(app), http_scope(S1, path="/nowhere"))[0]
    assert start["status"] == status
    assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]


def test_defect_4_19_the_traceback_line_can_name_the_request() -> None:
    """
    Nothing stays bound after an error, and the exception tells its IDs.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identify(user_id="alice")
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as caught:
        ask_asgi(asgi.SessionContextMiddleware(app), http_scope(S1))
    assert get_session_context().is_empty()
    context = carried_by(caught.value)
    assert context is not None
    assert context.as_dict() == {"session_id": "s1", "user_id": "alice"}


@pytest.mark.parametrize("made", ["日本", "a\r\nSet-Cookie: x=1", "", "a" * 256, None, 7])
def test_defect_4_20_a_bad_generator_is_found_at_start(made: Any) -> None:
    """
    A generator whose IDs could not be used is a ``PolicyError`` when built (S10).
    """
    with pytest.raises(PolicyError, match="mint"):
        session_spec(mint=lambda: made)


@pytest.mark.parametrize("made", ["日本", "a\r\nSet-Cookie: x=1", "", None])
def test_defect_4_20_a_generator_that_turns_bad_fails_no_request(made: Any) -> None:
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


def test_defect_4_20_a_parse_passes_the_same_check() -> None:
    """
    What a ``parse`` makes of a header is checked like a value of the wire (R7).
    """

    def parse(line: str) -> str:
        return line + "\r\nSet-Cookie: x=1"

    policy = Policy(session=session_spec(sources=[Header("X-Raw", parse=parse)]))
    app = asgi.SessionContextMiddleware(Starlette(routes=[Route("/", _ok)]), policy)
    start, _ = ask_asgi(app, http_scope([("X-Raw", "a")]))
    [session] = values_of(pairs_of(start), "X-Session-ID")
    assert FRESH.fullmatch(session)

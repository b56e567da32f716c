"""
An application that knows nothing of us behaves as before, whatever it does.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fastapi as fastapi_framework
import flask as flask_framework
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from drive import (
    STRANGER,
    Message,
    environ_of,
    http_scope,
    pairs_of,
    serve_asgi,
    values_of,
    websocket_scope,
)
from idlanyard import Policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations import fastapi, flask, starlette
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from integrations.apps.django_settings import OURS
from integrations.apps.seen import Boom

Line = tuple[str, str]
Outcome = tuple[list[Any], str]
POLICY = Policy(trusted_peers=[STRANGER])
ASKED = [("X-Session-ID", "s1"), ("X-User-ID", "bob"), ("Accept", "*/*")]
ECHOED = ("x-session-id", "x-user-id")
PRIVATE = ("cache-control", "private")


@dataclass(frozen=True)
class Behaviour:
    """
    The behaviour of an application in a request.

    Attributes:
        status: of the response.
        headers: its own, besides those that the framework adds.
        chunks: the body, in one piece or as a stream.
        streamed: which of the two.
        fails: whether it raises instead, or in the middle of the stream.
        subprotocol: what it accepts a WebSocket with.
    """

    status: int
    headers: list[Line]
    chunks: list[bytes]
    streamed: bool
    fails: bool
    subprotocol: str | None


NAMES = st.one_of(
    st.text(string.ascii_letters + "-", min_size=1, max_size=12).map(lambda tail: f"X-{tail}a"),
    st.sampled_from(["ETag", "X-Session-ID", "x-session-id", "X-User-ID", "Set-Cookie", "vary"]),
)
VALUES = st.text(string.ascii_letters + string.digits + " ;=,/", min_size=1, max_size=20).map(
    lambda text: f"v{text}v"
)
BEHAVIOURS = st.builds(
    Behaviour,
    status=st.sampled_from([200, 201, 204, 206, 302, 304, 400, 404, 418, 500, 599]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    chunks=st.lists(st.binary(min_size=1, max_size=30), max_size=4),
    streamed=st.booleans(),
    fails=st.booleans(),
    subprotocol=st.sampled_from([None, "chat"]),
)

now: list[Behaviour] = []


def parts() -> Iterator[bytes]:
    yield from now[0].chunks
    if now[0].fails:
        raise Boom("as it was")


async def async_parts() -> AsyncIterator[bytes]:
    for part in parts():
        yield part


def raw_lines() -> list[tuple[bytes, bytes]]:
    return [(n.lower().encode(), v.encode()) for n, v in now[0].headers]


async def raw_asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        accept: Message = {"type": "websocket.accept", "subprotocol": now[0].subprotocol}
        await send(accept | ({"headers": raw_lines()} if now[0].streamed else {}))
        for part in parts():
            await send({"type": "websocket.send", "bytes": part})
        await send({"type": "websocket.close", "code": 1000})
        return
    start: Message = {"type": "http.response.start", "status": now[0].status}
    await send(start | ({"headers": raw_lines()} if now[0].headers else {}))
    for part in parts():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def raw_wsgi(environ: Any, start_response: Any) -> Any:
    write = start_response(f"{now[0].status} Such", now[0].headers)
    if now[0].streamed:
        return parts()
    write(b"written")
    return list(parts())


async def starlette_view(request: Any) -> Response:
    response: Response
    if now[0].streamed:
        response = StreamingResponse(async_parts(), now[0].status)
    else:
        response = Response(b"".join(parts()), now[0].status)
    response.raw_headers += raw_lines()
    return response


def flask_view() -> flask_framework.Response:
    body: Any = parts() if now[0].streamed else b"".join(parts())
    return flask_framework.Response(body, now[0].status, now[0].headers)


def django_view(request: Any) -> Any:
    kind = StreamingHttpResponse if now[0].streamed else HttpResponse
    body: Any = parts() if now[0].streamed else b"".join(parts())
    return kind(body, status=now[0].status, headers=dict(now[0].headers))


async def django_async_view(request: Any) -> Any:
    if not now[0].streamed:
        return django_view(request)
    return StreamingHttpResponse(async_parts(), status=now[0].status, headers=dict(now[0].headers))


class Sync:
    """
    The sync view at every path.
    """

    urlpatterns = (path("", django_view),)


class Async:
    """
    The async view at every path.
    """

    urlpatterns = (path("", django_async_view),)


def starlette_apps() -> tuple[Any, Any]:
    bare, ours = (Starlette(routes=[Route("/", starlette_view)]) for _ in range(2))
    starlette.install(ours, POLICY)
    return bare, ours


def fastapi_apps() -> tuple[Any, Any]:
    bare, ours = (fastapi_framework.FastAPI() for _ in range(2))
    for app in (bare, ours):
        app.add_route("/", starlette_view)
    fastapi.install(ours, POLICY)
    return bare, ours


def flask_apps() -> tuple[Any, Any]:
    bare, ours = (flask_framework.Flask(__name__) for _ in range(2))
    for app in (bare, ours):
        app.add_url_rule("/", view_func=flask_view)
        app.logger.disabled = True
    flask.IDLanyard(ours, POLICY)
    return bare, ours


def django_apps(routes: type, make: Callable[[], Any]) -> tuple[Any, Any]:
    settings.ROOT_URLCONF = routes
    settings.IDLANYARD = POLICY
    settings.MIDDLEWARE = []
    bare = make()
    settings.MIDDLEWARE = [OURS]
    return bare, make()


APPS: dict[str, tuple[str, Callable[[], tuple[Any, Any]]]] = {
    "asgi": ("asgi", lambda: (raw_asgi, ASGIMiddleware(raw_asgi, POLICY))),
    "wsgi": ("wsgi", lambda: (raw_wsgi, WSGIMiddleware(raw_wsgi, POLICY))),
    "starlette": ("asgi", starlette_apps),
    "fastapi": ("asgi", fastapi_apps),
    "flask": ("wsgi", flask_apps),
    "django": ("wsgi", lambda: django_apps(Sync, get_wsgi_application)),
    "django-async": ("asgi", lambda: django_apps(Async, get_asgi_application)),
}


def unechoed(lines: list[Line]) -> list[Line]:
    """
    Return header lines without the echo, and without what keeps caches from storing it.
    """
    lines = [line for line in lines if line[0].lower() not in ECHOED]
    return [(name, value) for name, value in lines if (name.lower(), value) != PRIVATE]


def outcome_asgi(app: Any, scope: Message) -> Outcome:
    sent: list[Any] = []

    kind = "websocket.connect" if scope["type"] == "websocket" else "http.request"
    incoming = iter([{"type": kind, "body": b"", "more_body": False}])

    async def receive() -> Any:
        for message in incoming:
            return message
        # The client stays: nothing more comes while the application answers.
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        headers = unechoed(pairs_of(message))
        sent.append({k: v for k, v in message.items() if k != "headers"} | {"h": headers})

    async def serve() -> None:
        await app(scope, receive, send)

    return sent, raised(lambda: asyncio.run(serve()))


def outcome_wsgi(app: Any) -> Outcome:
    sent: list[Any] = []

    def start_response(status: str, headers: list[Line], exc_info: Any = None) -> Any:
        sent.append((status, unechoed(headers)))
        return sent.append

    def serve() -> None:
        body = app(environ_of(ASKED), start_response)
        try:
            sent.extend(body)
        finally:
            if hasattr(body, "close"):
                body.close()

    return sent, raised(serve)


def raised(serve: Callable[[], None]) -> str:
    """
    Return what a server would log, or nothing.
    """
    try:
        serve()
    except BaseException as error:
        notes = getattr(error, "__notes__", [])
        return f"{type(error).__name__}{error.args}{notes}"
    return ""


def outcome(protocol: str, app: Any, *, websocket: bool = False) -> Outcome:
    if protocol == "wsgi":
        return outcome_wsgi(app)
    return outcome_asgi(app, websocket_scope(ASKED) if websocket else http_scope(ASKED))


@pytest.mark.parametrize("framework", APPS)
def test_an_application_behaves_as_before(framework: str) -> None:
    """
    R9, R14: status, body in its parts, and headers without the echo, in order and case, are
    those of the same application without us, and so is what it raises.
    """
    protocol, make = APPS[framework]
    bare, ours = make()

    @given(behaviour=BEHAVIOURS)
    def compare(behaviour: Behaviour) -> None:
        now[:] = [behaviour]
        before = outcome(protocol, bare)
        assert outcome(protocol, ours) == before
        assert before != ([], "")

    compare()


@given(behaviour=BEHAVIOURS)
def test_a_websocket_behaves_as_before(behaviour: Behaviour) -> None:
    """
    R9: subprotocol, headers, messages and exceptions of a WebSocket are as without us.
    """
    now[:] = [behaviour]
    ours = ASGIMiddleware(raw_asgi, POLICY)
    before = outcome("asgi", raw_asgi, websocket=True)
    assert outcome("asgi", ours, websocket=True) == before


def test_the_echo_is_what_was_left_out() -> None:
    """
    R9: what the comparison leaves out is the echo, and it is there.
    """
    now[:] = [Behaviour(200, [("X-Session-ID", "other")], [b"a"], False, False, None)]
    sent = asyncio.run(serve_asgi(ASGIMiddleware(raw_asgi, POLICY), http_scope(ASKED)))
    assert values_of(pairs_of(sent[0]), "X-Session-ID") == ["s1"]

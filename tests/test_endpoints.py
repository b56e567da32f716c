"""
IDs of a request in endpoints, background work, streams and hooks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from idlanyard import (
    Policy,
    SessionContext,
    context,
    get_session_context,
    get_session_id,
    session_context,
)
from idlanyard.asgi import SessionContextMiddleware

BLANK = SessionContext()


def respond(app: Any, *headers: tuple[bytes, bytes], policy: Policy | None = None) -> Any:
    """
    Send one POST, of which caches keep nothing, through the middleware around *app*; return
    the response's headers.
    """
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    asyncio.run(_call(SessionContextMiddleware(app, policy or Policy()), scope, send))
    return dict(sent[0]["headers"]) if sent else None


async def _call(app: Any, scope: Any, send: Any) -> None:
    await app(scope, None, send)


async def ok(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer 200 with no header.
    """
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_the_switch_binds_nothing_and_code_still_works() -> None:
    """
    With enabled=False nothing is bound or echoed, and explicit values still work.
    """
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_context())
        with session_context("explicit"):
            seen.append(get_session_id())
        await ok(scope, receive, send)

    echoed = respond(app, (b"x-session-id", b"s"), policy=Policy(enabled=False))
    assert (seen, echoed) == ([BLANK, "explicit"], {})


def test_websocket_handlers_see_the_id() -> None:
    """
    A WebSocket handler reads the session, and its handshake carries it.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_id())
        await send({"type": "websocket.accept"})

    async def send(message: Any) -> None:
        seen.append(dict(message["headers"]))

    scope = {"type": "websocket", "path": "/", "headers": [(b"x-session-id", b"s1")]}
    asyncio.run(_call(SessionContextMiddleware(app, Policy()), scope, send))
    assert seen == ["s1", {b"x-session-id": b"s1"}]


def test_the_variable_is_reset_after_the_request() -> None:
    """
    After the request nothing is bound where it was served.
    """

    async def run() -> SessionContext:
        async def send(message: Any) -> None: ...

        scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s1")]}
        await SessionContextMiddleware(ok, Policy())(scope, None, send)
        return get_session_context()

    assert asyncio.run(run()) == BLANK


def test_background_work_restores_or_inherits() -> None:
    """
    Background work takes a given session, else the one it was started under.
    """

    async def background(session_id: str | None = None) -> str | None:
        with session_context(session_id):
            return get_session_id()

    async def run() -> tuple[str | None, str | None]:
        with session_context("around"):
            return await background("given"), await background()

    assert asyncio.run(run()) == ("given", "around")


def test_one_request_mints_once() -> None:
    """
    Inside a request no second session is ever minted, however many middlewares there are.
    """
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_id())
        await ok(scope, receive, send)

    headers = respond(SessionContextMiddleware(app, Policy()))
    assert [headers[b"x-session-id"].decode()] == seen


def fastapi_seen(path: str) -> tuple[Any, dict[str, str]]:
    """
    Ask a FastAPI application that tells its session from four places.
    """
    api = FastAPI()
    background: list[str | None] = []

    @api.get("/async")
    async def asynchronous() -> str | None:
        return get_session_id()

    @api.get("/sync")
    def synchronous() -> str | None:
        return get_session_id()

    @api.get("/background")
    def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: background.append(get_session_id()))
        return "later"

    @api.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(str(get_session_id()) for _ in range(2))

    client = TestClient(SessionContextMiddleware(api, Policy()))
    answer = client.get(path, headers={"X-Session-ID": "s1"})
    return background or answer.text, dict(answer.headers)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        pytest.param("/async", '"s1"', id="async endpoint"),
        pytest.param("/sync", '"s1"', id="sync endpoint"),
        pytest.param("/background", ["s1"], id="background task"),
        pytest.param("/stream", "s1s1", id="streaming body"),
    ],
)
def test_endpoints_tasks_and_streams_see_the_id(path: str, seen: object) -> None:
    """
    The session is seen in async and sync endpoints, background tasks and streams.
    """
    found, headers = fastapi_seen(path)
    assert (found, headers["x-session-id"]) == (seen, "s1")


def test_hooks_see_the_id() -> None:
    """
    A callback, sync or async, reads the session of who calls it.
    """

    async def hook() -> str:
        return context.get()

    async def emit(*hooks: Callable[[], Any]) -> list[Any]:
        answers = [each() for each in hooks]
        return [await one if asyncio.iscoroutine(one) else one for one in answers]

    async def run() -> list[Any]:
        with session_context("s"):
            return await emit(context.get, hook)

    assert asyncio.run(run()) == ["s", "s"]


@pytest.mark.parametrize("session", ["Session_001", "session_001", "a/b", "crm_user_12345"])
def test_an_id_comes_back_byte_for_byte(session: str) -> None:
    """
    A valid ID is echoed as it came, its case kept.
    """
    assert respond(ok, (b"x-session-id", session.encode())) == {b"x-session-id": session.encode()}


@pytest.mark.parametrize(
    "session", ["   ", "x" * 10_000, "a\r\nb", "\xe9"], ids=["spaces", "long", "break", "accent"]
)
def test_what_is_no_id_is_not_accepted(session: str) -> None:
    """
    Spaces, 10,000 characters, line breaks and accents are not taken for an ID.
    """
    echoed = respond(ok, (b"x-session-id", session.encode("latin-1")))
    assert len(echoed[b"x-session-id"]) == 32


def test_what_the_framework_answers_is_left_as_it_is() -> None:
    """
    A route that does not exist keeps the framework's own 404, kept from caches.
    """
    api = FastAPI()
    bare = TestClient(api).get("/nowhere")
    wrapped = TestClient(SessionContextMiddleware(api, Policy())).get("/nowhere")
    assert (wrapped.status_code, wrapped.json()) == (bare.status_code, bare.json())
    names = [name for name, _ in wrapped.headers.multi_items()]
    added = ["x-session-id", "cache-control"]
    assert names == [name for name, _ in bare.headers.multi_items()] + added

"""
The contract's routes on Starlette.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from idlanyard import Policy, get_session_id, identify
from idlanyard.integrations.starlette import install
from integrations.apps.seen import (
    AsyncGate,
    Boom,
    ids,
    note_background,
    seen,
    three_async,
    without_end_async,
)

WAITING = AsyncGate()


async def read(request: Request) -> Response:
    return JSONResponse(seen(request.headers.items()))


def login(request: Request) -> Response:
    identify(user_id="alice")
    return JSONResponse(ids())


async def wrong(request: Request) -> Response:
    raise HTTPException(409)


async def boom(request: Request) -> Response:
    raise Boom("as it was")


async def own(request: Request) -> Response:
    return PlainTextResponse("own", headers={"X-Session-ID": "app-set"})


async def stream(request: Request) -> Response:
    return StreamingResponse(three_async())


async def endless(request: Request) -> Response:
    return StreamingResponse(without_end_async())


async def background(request: Request) -> Response:
    return PlainTextResponse("ok", background=BackgroundTask(note_background))


async def wait(request: Request) -> Response:
    first = get_session_id()
    await WAITING.wait(500)
    return PlainTextResponse(f"{first} {get_session_id()}")


async def talk(socket: WebSocket) -> None:
    await socket.accept(subprotocol="chat" if "chat" in socket.scope["subprotocols"] else None)
    await socket.send_json(ids())
    await socket.close()


async def deny(socket: WebSocket) -> None:
    await socket.send_denial_response(PlainTextResponse("not you", 403))


def handle(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"handled {get_session_id()}", 500)


ROUTES = [
    Route("/ids", read),
    Route("/login", login),
    Route("/wrong", wrong),
    Route("/boom", boom),
    Route("/own", own),
    Route("/stream", stream),
    Route("/endless", endless),
    Route("/background", background),
    Route("/wait", wait),
    WebSocketRoute("/ws", talk),
    WebSocketRoute("/ws-denied", deny),
]


def bare(handler: bool = False, middle: Sequence[Callable[..., Any]] = ()) -> Starlette:
    """
    Return the application that knows nothing of IDs.
    """
    handlers: Any = {Exception: handle} if handler else {}
    app = Starlette(routes=ROUTES, exception_handlers=handlers)
    for wrap in reversed(middle):
        app.add_middleware(wrap)
    return app


def build(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[Callable[..., Any]] = (),
) -> Starlette:
    """
    Return a fresh application that has the IDs.

    Args:
        policy: the rules.
        handler: whether it has a handler of its own for any ``Exception``.
        middle: ASGI middlewares between ours and the application, outermost first.
    """
    app = bare(handler, middle)
    install(app, policy)
    return app

"""
The contract's routes on FastAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from idlanyard import Policy, get_session_id, identify
from idlanyard.integrations.fastapi import install
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


VIEWS = APIRouter()


@VIEWS.get("/ids")
async def read(request: Request) -> dict[str, Any]:
    return seen(request.headers.items())


def log_in() -> None:
    identify(user_id="alice")


@VIEWS.get("/login", dependencies=[Depends(log_in)])
async def login() -> dict[str, Any]:
    return ids()


@VIEWS.get("/wrong")
async def wrong() -> None:
    raise HTTPException(409)


@VIEWS.get("/boom")
async def boom() -> None:
    raise Boom("as it was")


@VIEWS.get("/own")
def own() -> Response:
    return PlainTextResponse("own", headers={"X-Session-ID": "app-set"})


@VIEWS.get("/stream")
async def stream() -> Response:
    return StreamingResponse(three_async())


@VIEWS.get("/endless")
async def endless() -> Response:
    return StreamingResponse(without_end_async())


@VIEWS.get("/background", response_class=PlainTextResponse)
async def background(tasks: BackgroundTasks) -> str:
    tasks.add_task(note_background)
    return "ok"


@VIEWS.get("/wait", response_class=PlainTextResponse)
async def wait() -> str:
    first = get_session_id()
    await WAITING.wait(500)
    return f"{first} {get_session_id()}"


@VIEWS.websocket("/ws")
async def talk(socket: WebSocket) -> None:
    await socket.accept(subprotocol="chat" if "chat" in socket.scope["subprotocols"] else None)
    await socket.send_json(ids())
    await socket.close()


@VIEWS.websocket("/ws-denied")
async def deny(socket: WebSocket) -> None:
    raise HTTPException(403)


def handle(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"handled {get_session_id()}", 500)


def bare(handler: bool = False, middle: Sequence[Callable[..., Any]] = ()) -> FastAPI:
    """
    Return the application that knows nothing of IDs.
    """
    handlers: Any = {Exception: handle} if handler else {}
    app = FastAPI(exception_handlers=handlers)
    app.include_router(VIEWS)
    for wrap in reversed(middle):
        app.add_middleware(wrap)
    return app


def build(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[Callable[..., Any]] = (),
) -> FastAPI:
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

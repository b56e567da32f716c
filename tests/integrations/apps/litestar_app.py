"""
The contract's routes on Litestar.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, WebSocket, get, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.response import Stream

from idlanyard import get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware
from integrations.apps.seen import (
    AsyncGate,
    Boom,
    building,
    ids,
    note_background_async,
    seen,
    three_async,
    without_end_async,
)

WAITING = AsyncGate()


@get("/ids")
async def read(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return seen(request.headers.items())


@get("/login", sync_to_thread=True)
def login() -> dict[str, Any]:
    identify(user_id="alice")
    return ids()


@get("/wrong")
async def wrong() -> None:
    raise HTTPException(status_code=409)


@get("/boom")
async def boom() -> None:
    raise Boom("as it was")


@get("/own", media_type="text/plain")
async def own() -> Response[str]:
    return Response("own", headers={"X-Session-ID": "app-set"})


@get("/stream")
async def stream() -> Stream:
    return Stream(three_async(), media_type="text/plain")


@get("/endless")
async def endless() -> Stream:
    return Stream(without_end_async(), media_type="text/plain")


@get("/background", media_type="text/plain")
async def background() -> Response[str]:
    return Response("ok", background=BackgroundTask(note_background_async))


@get("/wait", media_type="text/plain")
async def wait() -> str:
    first = get_session_id()
    await WAITING.wait(500)
    return f"{first} {get_session_id()}"


@websocket("/ws")
async def talk(socket: WebSocket[Any, Any, Any]) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocols="chat" if "chat" in offered else None)
    await socket.send_json(ids())
    await socket.close()


@websocket("/ws-denied")
async def deny(socket: WebSocket[Any, Any, Any]) -> None:
    raise PermissionDeniedException("not you")


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    return Response(f"handled {get_session_id()}", status_code=500, media_type="text/plain")


VIEWS = [read, login, wrong, boom, own, stream, endless, background, wait, talk, deny]


def bare(handler: bool = False) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    return Litestar(VIEWS, exception_handlers={Exception: handle} if handler else {})


build = building(bare, SessionContextMiddleware)

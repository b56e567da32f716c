"""
Starlette: ``install`` on the application, a stream whose parts have the session of
the request, a WebSocket, and work after the response.

    uvicorn --app-dir examples --no-proxy-headers starlette_app:app
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from idlanyard import get_session_id
from idlanyard.integrations.starlette import install

log = logging.getLogger("uvicorn.error")


def clean_up() -> None:
    log.info("cleaned up after %s", get_session_id())


async def hello(request: Request) -> Response:
    context = request.state.session_context
    return JSONResponse(context.as_dict(), background=BackgroundTask(clean_up))


async def parts() -> AsyncIterator[str]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n"
        await asyncio.sleep(0)


async def stream(request: Request) -> Response:
    return StreamingResponse(parts(), media_type="text/plain")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(f"hello, {get_session_id()}")
    await socket.close()


async def boom(request: Request) -> Response:
    raise RuntimeError("nobody handles this")


app = Starlette(
    routes=[
        Route("/", hello),
        Route("/stream", stream),
        Route("/boom", boom),
        WebSocketRoute("/ws", talk),
    ]
)
install(app)

"""
The contract's routes on Falcon's ASGI side.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi
from falcon.asgi import Request, Response, SSEvent, WebSocket

from idlanyard import carry, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware
from integrations.apps.seen import (
    JOURNAL,
    AsyncGate,
    Boom,
    building,
    ids,
    note_background_async,
    seen,
    three_async,
)

WAITING = AsyncGate()


class Read:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = seen(req.headers.items())


def log_in() -> None:
    identify(user_id="alice")


class Login:
    async def on_get(self, req: Request, resp: Response) -> None:
        await falcon.sync_to_async(carry(log_in))
        resp.media = ids()


class Wrong:
    async def on_get(self, req: Request, resp: Response) -> None:
        raise falcon.HTTPConflict


class Bang:
    async def on_get(self, req: Request, resp: Response) -> None:
        raise Boom("as it was")


class Own:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.set_header("X-Session-ID", "app-set")
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "own"


async def without_end() -> AsyncIterator[SSEvent]:
    try:
        for number in itertools.count():
            yield SSEvent(text=f"{number} {get_session_id()}")
            await asyncio.sleep(0)
    finally:
        JOURNAL.note("left", get_session_id())


class Stream:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = three_async()


class Endless:
    """
    As events, since only these end when the client leaves: no ASGI server has
    to say so in ``send``, and Falcon asks ``receive`` for events alone.
    """

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.sse = without_end()


class Background:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.schedule(note_background_async)
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "ok"


class Wait:
    async def on_get(self, req: Request, resp: Response) -> None:
        first = get_session_id()
        await WAITING.wait(500)
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"{first} {get_session_id()}"


class Talk:
    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        await ws.accept("chat" if "chat" in ws.subprotocols else None)
        await ws.send_text(json.dumps(ids()))
        await ws.close()


class Denied:
    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        raise falcon.HTTPForbidden


async def handle(
    req: Request,
    resp: Response | None,
    error: Exception,
    params: dict[str, Any],
    ws: WebSocket | None = None,
) -> None:
    if resp is not None:
        resp.status = falcon.HTTP_500
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"handled {get_session_id()}"


ROUTES: dict[str, object] = {
    "/ids": Read(),
    "/login": Login(),
    "/wrong": Wrong(),
    "/boom": Bang(),
    "/own": Own(),
    "/stream": Stream(),
    "/endless": Endless(),
    "/background": Background(),
    "/wait": Wait(),
    "/ws": Talk(),
    "/ws-denied": Denied(),
}


def bare(handler: bool = False) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    api = falcon.asgi.App()
    for path, resource in ROUTES.items():
        api.add_route(path, resource)
    if handler:
        api.add_error_handler(Exception, handle)
    return api


build = building(bare, SessionContextMiddleware)

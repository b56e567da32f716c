"""
The contract's routes on Litestar.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from litestar import Litestar, Request, Response, WebSocket, get, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.response import Stream

from apps.seen import JOURNAL, AsyncGate, Boom, ids, seen
from idlanyard import Policy, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware

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


async def three() -> AsyncIterator[str]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n"


async def without_end() -> AsyncIterator[str]:
    try:
        for number in itertools.count():
            yield f"{number} {get_session_id()}\n"
            await asyncio.sleep(0)
    finally:
        JOURNAL.note("left", get_session_id())


@get("/stream")
async def stream() -> Stream:
    return Stream(three(), media_type="text/plain")


@get("/endless")
async def endless() -> Stream:
    return Stream(without_end(), media_type="text/plain")


async def note_background() -> None:
    JOURNAL.note("background", ids()["ids"])


@get("/background", media_type="text/plain")
async def background() -> Response[str]:
    return Response("ok", background=BackgroundTask(note_background))


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


def bare(handler: bool = False, middle: Sequence[Callable[..., Any]] = ()) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    app: Any = Litestar(VIEWS, exception_handlers={Exception: handle} if handler else {})
    for wrap in reversed(middle):
        app = wrap(app)
    return app


def build(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[Callable[..., Any]] = (),
) -> SessionContextMiddleware:
    """
    Return a fresh application that has the IDs.

    Args:
        policy: the rules.
        handler: whether it has a handler of its own for any ``Exception``.
        middle: ASGI middlewares between ours and the application, outermost first.
    """
    return SessionContextMiddleware(bare(handler, middle), policy)

"""
The contract's routes on Quart.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from quart import Blueprint, Quart, abort, current_app, request, websocket

from idlanyard import Policy, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware
from integrations.apps.seen import (
    AsyncGate,
    Boom,
    ids,
    note_background_async,
    seen,
    three_async,
    without_end_async,
    wrap_app,
)

WAITING = AsyncGate()
VIEWS = Blueprint("views", __name__)
TEXT = {"Content-Type": "text/plain"}


@VIEWS.get("/ids")
async def read() -> dict[str, Any]:
    return seen(request.headers.items())


@VIEWS.get("/login")
def login() -> dict[str, Any]:
    identify(user_id="alice")
    return ids()


@VIEWS.get("/wrong")
async def wrong() -> str:
    abort(409)


@VIEWS.get("/boom")
async def boom() -> str:
    raise Boom("as it was")


@VIEWS.get("/own")
async def own() -> tuple[str, dict[str, str]]:
    return "own", TEXT | {"X-Session-ID": "app-set"}


@VIEWS.get("/stream")
async def stream() -> tuple[AsyncIterator[bytes], dict[str, str]]:
    return three_async(), TEXT


@VIEWS.get("/endless")
async def endless() -> tuple[AsyncIterator[bytes], dict[str, str]]:
    return without_end_async(), TEXT


@VIEWS.get("/background")
async def background() -> tuple[str, dict[str, str]]:
    current_app.add_background_task(note_background_async)
    return "ok", TEXT


@VIEWS.get("/wait")
async def wait() -> tuple[str, dict[str, str]]:
    first = get_session_id()
    await WAITING.wait(500)
    return f"{first} {get_session_id()}", TEXT


@VIEWS.websocket("/ws")
async def talk() -> None:
    offered = websocket.requested_subprotocols
    await websocket.accept(subprotocol="chat" if "chat" in offered else None)
    await websocket.send(json.dumps(ids()))


@VIEWS.websocket("/ws-denied")
async def deny() -> None:
    abort(403)


async def handle(error: Exception) -> tuple[str, int, dict[str, str]]:
    return f"handled {get_session_id()}", 500, TEXT


def bare(handler: bool = False, middle: Sequence[Callable[..., Any]] = ()) -> Quart:
    """
    Return the application that knows nothing of IDs.
    """
    app = Quart(__name__)
    app.register_blueprint(VIEWS)
    # What the tests want to go wrong need not be printed.
    app.logger.disabled = True
    if handler:
        app.register_error_handler(Exception, handle)
    app.asgi_app = wrap_app(app.asgi_app, middle)  # type: ignore[method-assign]
    return app


def build(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[Callable[..., Any]] = (),
) -> Quart:
    """
    Return a fresh application that has the IDs.

    Args:
        policy: the rules.
        handler: whether it has a handler of its own for any ``Exception``.
        middle: ASGI middlewares between ours and the application, outermost first.
    """
    app = bare(handler, middle)
    app.asgi_app = SessionContextMiddleware(app.asgi_app, policy)  # type: ignore[method-assign]
    return app

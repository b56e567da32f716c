"""
The contract's routes on Bottle.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from bottle import Bottle, HTTPError, abort, request, response

from idlanyard import carry, get_session_id, identify
from idlanyard.wsgi import SessionContextMiddleware
from integrations.apps.seen import (
    Boom,
    Gate,
    building,
    ids,
    note_background,
    seen,
    three,
    without_end,
)

WAITING = Gate()
VIEWS = Bottle()


@VIEWS.get("/ids")
def read() -> dict[str, Any]:
    return seen(request.headers.items())


@VIEWS.get("/login")
def login() -> dict[str, Any]:
    identify(user_id="alice")
    return ids()


@VIEWS.get("/wrong")
def wrong() -> None:
    abort(409)


@VIEWS.get("/boom")
def boom() -> None:
    raise Boom("as it was")


@VIEWS.get("/own")
def own() -> str:
    response.content_type = "text/plain"
    response.set_header("X-Session-ID", "app-set")
    return "own"


@VIEWS.get("/stream")
def stream() -> Iterator[bytes]:
    response.content_type = "text/plain; charset=utf-8"
    return three()


@VIEWS.get("/endless")
def endless() -> Iterator[bytes]:
    response.content_type = "text/plain; charset=utf-8"
    return without_end()


@VIEWS.get("/background")
def background() -> str:
    threading.Thread(target=carry(note_background)).start()
    return "ok"


@VIEWS.get("/wait")
def wait() -> str:
    first = get_session_id()
    WAITING.wait(500)
    return f"{first} {get_session_id()}"


def handle(error: HTTPError) -> str:
    return f"handled {get_session_id()}"


def bare(handler: bool = False) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    site = Bottle()
    site.merge(VIEWS)
    if handler:
        site.error(500)(handle)
    return site


build = building(bare, SessionContextMiddleware)

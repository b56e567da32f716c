"""
The contract's routes on Bottle.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bottle import Bottle, HTTPError, abort, request, response

from apps.seen import JOURNAL, Boom, Gate, ids, seen
from idlanyard import Policy, carry, get_session_id, identify
from idlanyard.wsgi import SessionContextMiddleware

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


def three() -> Iterator[str]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n"


def without_end() -> Iterator[str]:
    try:
        for number in itertools.count():
            yield f"{number} {get_session_id()}\n"
    finally:
        JOURNAL.note("left", get_session_id())


@VIEWS.get("/stream")
def stream() -> Iterator[str]:
    response.content_type = "text/plain; charset=utf-8"
    return three()


@VIEWS.get("/endless")
def endless() -> Iterator[str]:
    response.content_type = "text/plain; charset=utf-8"
    return without_end()


def note_background() -> None:
    JOURNAL.note("background", ids()["ids"])


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


def bare(handler: bool = False, middle: Sequence[Callable[..., Any]] = ()) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    site = Bottle()
    site.merge(VIEWS)
    if handler:
        site.error(500)(handle)
    app: Any = site
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
        middle: WSGI middlewares between ours and the application, outermost first.
    """
    return SessionContextMiddleware(bare(handler, middle), policy)

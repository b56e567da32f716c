"""
The contract's routes on Flask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, abort, request, stream_with_context

from idlanyard import Policy, carry, get_session_id, identify
from idlanyard.integrations.flask import IDLanyard
from integrations.apps.seen import (
    Boom,
    Gate,
    ids,
    note_background,
    seen,
    three,
    without_end,
    wrap_app,
)

WAITING = Gate()
VIEWS = Blueprint("views", __name__)


@VIEWS.get("/ids")
def read() -> dict[str, Any]:
    return seen(request.headers.items())


@VIEWS.get("/login")
def login() -> dict[str, Any]:
    identify(user_id="alice")
    return ids()


@VIEWS.get("/wrong")
def wrong() -> str:
    abort(409)


@VIEWS.get("/boom")
def boom() -> str:
    raise Boom("as it was")


@VIEWS.get("/own")
def own() -> tuple[str, dict[str, str]]:
    return "own", {"X-Session-ID": "app-set"}


@VIEWS.get("/stream")
def stream() -> Response:
    return Response(stream_with_context(three()))


@VIEWS.get("/endless")
def endless() -> Response:
    return Response(stream_with_context(without_end()))


@VIEWS.get("/background")
def background() -> str:
    threading.Thread(target=carry(note_background)).start()
    return "ok"


@VIEWS.get("/wait")
def wait() -> str:
    first = get_session_id()
    WAITING.wait(500)
    return f"{first} {get_session_id()}"


def handle(error: Exception) -> tuple[str, int]:
    return f"handled {get_session_id()}", 500


def bare(handler: bool = False, middle: Sequence[Callable[..., Any]] = ()) -> Flask:
    """
    Return the application that knows nothing of IDs.
    """
    app = Flask(__name__)
    app.register_blueprint(VIEWS)
    # What the tests want to go wrong need not be printed.
    app.logger.disabled = True
    if handler:
        app.register_error_handler(Exception, handle)
    app.wsgi_app = wrap_app(app.wsgi_app, middle)  # type: ignore[method-assign]
    return app


def build(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[Callable[..., Any]] = (),
) -> Flask:
    """
    Return a fresh application that has the IDs.

    Args:
        policy: the rules.
        handler: whether it has a handler of its own for any ``Exception``.
        middle: WSGI middlewares between ours and the application, outermost first.
    """
    app = bare(handler, middle)
    IDLanyard(app, policy)
    return app

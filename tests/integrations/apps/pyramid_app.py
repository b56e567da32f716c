"""
The contract's routes on Pyramid.
"""

from __future__ import annotations

import threading
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPConflict
from pyramid.request import Request
from pyramid.response import Response

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


def read(request: Request) -> Response:
    return Response(json_body=seen(request.headers.items()))


def login(request: Request) -> Response:
    identify(user_id="alice")
    return Response(json_body=ids())


def wrong(request: Request) -> Response:
    raise HTTPConflict


def boom(request: Request) -> Response:
    raise Boom("as it was")


def own(request: Request) -> Response:
    response = Response("own", content_type="text/plain")
    response.headers["X-Session-ID"] = "app-set"
    return response


def stream(request: Request) -> Response:
    return Response(app_iter=three(), content_type="text/plain")


def endless(request: Request) -> Response:
    return Response(app_iter=without_end(), content_type="text/plain")


def background(request: Request) -> Response:
    threading.Thread(target=carry(note_background)).start()
    return Response("ok", content_type="text/plain")


def wait(request: Request) -> Response:
    first = get_session_id()
    WAITING.wait(500)
    return Response(f"{first} {get_session_id()}", content_type="text/plain")


def handle(error: Exception, request: Request) -> Response:
    return Response(f"handled {get_session_id()}", status=500, content_type="text/plain")


VIEWS = {
    "ids": read,
    "login": login,
    "wrong": wrong,
    "boom": boom,
    "own": own,
    "stream": stream,
    "endless": endless,
    "background": background,
    "wait": wait,
}


def bare(handler: bool = False) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    with Configurator() as config:
        for name, view in VIEWS.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name)
        if handler:
            config.add_exception_view(handle, context=Exception)
        return config.make_wsgi_app()


build = building(bare, SessionContextMiddleware)

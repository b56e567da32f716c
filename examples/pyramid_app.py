"""
Pyramid: the middleware around what ``make_wsgi_app`` returns.

    python examples/pyramid_app.py 8000
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from waitress import serve

from idlanyard import get_session_context, get_session_id, identify, require
from idlanyard.wsgi import SessionContextMiddleware


def hello(request: Request) -> dict[str, str]:
    return get_session_context().as_dict()


def me(request: Request) -> dict[str, str]:
    identify(user_id="alice")  # a login would say this
    return {"user": require("user_id")}


def count() -> Iterator[bytes]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n".encode()


def stream(request: Request) -> Response:
    return Response(app_iter=count(), content_type="text/plain")


with Configurator() as config:
    for name, path, view in [("hello", "/", hello), ("me", "/me", me)]:
        config.add_route(name, path)
        config.add_view(view, route_name=name, renderer="json")
    config.add_route("stream", "/stream")
    config.add_view(stream, route_name="stream")
    app = SessionContextMiddleware(config.make_wsgi_app())

if __name__ == "__main__":
    serve(app, listen=f"127.0.0.1:{sys.argv[1]}")

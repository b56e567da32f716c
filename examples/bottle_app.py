"""
Bottle: the middleware around the whole application.

    python examples/bottle_app.py 8000
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bottle import Bottle, response
from waitress import serve

from idlanyard import get_session_context, get_session_id, identify, require
from idlanyard.wsgi import SessionContextMiddleware

site = Bottle()


@site.get("/")
def hello() -> dict[str, str]:
    return get_session_context().as_dict()


@site.get("/me")
def me() -> dict[str, str]:
    identify(user_id="alice")  # a login would say this
    return {"user": require("user_id")}


@site.get("/stream")
def stream() -> Iterator[str]:
    response.content_type = "text/plain; charset=utf-8"
    for number in range(3):
        yield f"{number} {get_session_id()}\n"


app = SessionContextMiddleware(site)

if __name__ == "__main__":
    serve(app, listen=f"127.0.0.1:{sys.argv[1]}")

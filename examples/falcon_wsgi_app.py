"""
Falcon's WSGI side: the middleware around the whole application.

    python examples/falcon_wsgi_app.py 8000
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import falcon
from waitress import serve

from idlanyard import get_session_context, get_session_id, identify, require
from idlanyard.wsgi import SessionContextMiddleware


def count() -> Iterator[bytes]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n".encode()


class Hello:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = get_session_context().as_dict()


class Me:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        identify(user_id="alice")  # a login would say this
        resp.media = {"user": require("user_id")}


class Stream:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = count()


api = falcon.App()
api.add_route("/", Hello())
api.add_route("/me", Me())
api.add_route("/stream", Stream())

app = SessionContextMiddleware(api)

if __name__ == "__main__":
    serve(app, listen=f"127.0.0.1:{sys.argv[1]}")

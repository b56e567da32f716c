"""
Falcon's ASGI side: the middleware around the whole application.

    uvicorn --app-dir examples --no-proxy-headers falcon_asgi_app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import falcon
import falcon.asgi

from idlanyard import carry, get_session_context, get_session_id, identify, require
from idlanyard.asgi import SessionContextMiddleware


def log_in() -> None:
    """
    Identify a user as a login would, in a worker thread.
    """
    identify(user_id="alice")


async def count() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n".encode()


class Hello:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.media = get_session_context().as_dict()


class Me:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        # Falcon runs the function in a thread without the request's context: carry takes it there.
        await falcon.sync_to_async(carry(log_in))
        resp.media = {"user": require("user_id")}


class Stream:
    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = count()


api = falcon.asgi.App()
api.add_route("/", Hello())
api.add_route("/me", Me())
api.add_route("/stream", Stream())

app = SessionContextMiddleware(api)

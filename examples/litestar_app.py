"""
Litestar: the middleware around the whole application, so that a 404 of its
router has the IDs as well.

    uvicorn --app-dir examples --no-proxy-headers litestar_app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from litestar import Litestar, get
from litestar.response import Stream

from idlanyard import get_session_context, get_session_id, identify, require
from idlanyard.asgi import SessionContextMiddleware


@get("/")
async def hello() -> dict[str, str]:
    return get_session_context().as_dict()


@get("/me", sync_to_thread=True)
def me() -> dict[str, str]:
    identify(user_id="alice")  # a login would say this; we are in a worker thread
    return {"user": require("user_id")}


async def count() -> AsyncIterator[str]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n"


@get("/stream")
async def stream() -> Stream:
    return Stream(count(), media_type="text/plain")


app = SessionContextMiddleware(Litestar([hello, me, stream]))

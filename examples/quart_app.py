"""
Quart: the middleware around ``asgi_app``, so that ``quart run`` and
``app.test_client()`` go through it as well.

    uvicorn --app-dir examples --no-proxy-headers quart_app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from quart import Quart

from idlanyard import get_session_context, get_session_id, identify, require
from idlanyard.asgi import SessionContextMiddleware

app = Quart(__name__)
app.asgi_app = SessionContextMiddleware(app.asgi_app)  # type: ignore[method-assign]


@app.get("/")
async def hello() -> dict[str, str]:
    return get_session_context().as_dict()


@app.get("/me")
def me() -> dict[str, str]:
    identify(user_id="alice")  # a login would say this; we are in a worker thread
    return {"user": require("user_id")}


async def count() -> AsyncIterator[str]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n"


@app.get("/stream")
async def stream() -> tuple[AsyncIterator[str], dict[str, str]]:
    return count(), {"Content-Type": "text/plain"}

"""
Wrapping the applications of others. Never run: mypy and pyright read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import make_server

import fastapi
import flask
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from idlanyard import Policy, asgi, wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

flask_app = flask.Flask("app")
flask_app.wsgi_app = wsgi.SessionContextMiddleware(flask_app.wsgi_app)  # type: ignore[method-assign]


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """
    A WSGI application as the standard library types it.
    """
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]


wrapped: WSGIApplication = wsgi.SessionContextMiddleware(plain, Policy())
make_server("127.0.0.1", 0, wrapped)
wsgi.SessionContextMiddleware(plain, policy=None)

fastapi_app = asgi.SessionContextMiddleware(fastapi.FastAPI(), policy=Policy())
uvicorn.run(fastapi_app)
TestClient(fastapi_app)
starlette_app = Starlette(middleware=[Middleware(asgi.SessionContextMiddleware, policy=Policy())])
fastapi.FastAPI().add_middleware(asgi.SessionContextMiddleware, policy=Policy())


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """
    An ASGI application by hand.
    """
    await send({"type": "http.response.start", "status": 204})


asgi.SessionContextMiddleware(asgi.SessionContextMiddleware(bare))
asgi.SessionContextMiddleware(bare, "policy")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
wsgi.SessionContextMiddleware(bare)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

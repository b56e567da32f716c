"""
The applications that ``end_to_end.py`` has servers load, each chosen by a variable.

A hello world that no cache may store: bare, in the middleware, in the least
code that is right, in peers that carry one ID, and in the three-ID recipe that
services write by hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from floor import asgi_floor, wsgi_floor
from lanes import PEER, PEERS, correlate

from idlanyard import Policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

CHOICE = "BENCHMARK_CANDIDATE"
# The address that nginx connects from. With that of the clients, 127.0.0.1, the peer would
# also stand in X-Forwarded-For, and no sender would be believed.
PROXY = "127.0.0.2"
HEADERS = ("X-Session-ID", "X-User-ID", "X-Tenant-ID")
VARIABLES = [ContextVar[str | None](header) for header in HEADERS]
BODY = b"Hello, world!"
RESPONSE = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(BODY))),
    ("Cache-Control", "no-store"),
)
RAW_RESPONSE = tuple((name.lower().encode(), value.encode()) for name, value in RESPONSE)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*RAW_RESPONSE]})
    await send({"type": "http.response.body", "body": BODY})


def wsgi_hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*RESPONSE])
    return [BODY]


def starlette_context(app: Any) -> Any:
    """
    starlette-context's raw middleware with one plugin, for the session.
    """
    from starlette_context.middleware import RawContextMiddleware
    from starlette_context.plugins.base import PluginUUIDBase

    class SessionPlugin(PluginUUIDBase):
        key = "X-Session-ID"

    return RawContextMiddleware(app, plugins=(SessionPlugin(),))


def recipe(app: Any) -> Any:
    """
    The recipe on Starlette's headers: three IDs, a ContextVar for each, all echoed.
    """
    from starlette.datastructures import Headers, MutableHeaders

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        ids = {header: headers.get(header) for header in HEADERS}
        ids["X-Session-ID"] = ids["X-Session-ID"] or uuid4().hex

        async def send_echoed(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for header, value in ids.items():
                    if value is not None:
                        answer[header] = value
            await send(message)

        tokens = [variable.set(ids[variable.name]) for variable in VARIABLES]
        try:
            await app(scope, receive, send_echoed)
        finally:
            for variable, token in zip(VARIABLES, tokens, strict=True):
                variable.reset(token)

    return middleware


def wsgi_recipe(app: Any) -> Any:
    """
    The same for WSGI, which leaves the IDs bound: the body is iterated after the call.
    """
    keys = {header: "HTTP_" + header.upper().replace("-", "_") for header in HEADERS}

    def middleware(environ: Any, start_response: Any) -> Any:
        ids = {header: environ.get(key) for header, key in keys.items()}
        ids["X-Session-ID"] = ids["X-Session-ID"] or uuid4().hex

        def start_echoed(status: str, headers: Any, exc_info: Any = None) -> Any:
            echo = [(header, value) for header, value in ids.items() if value is not None]
            return start_response(status, headers + echo, exc_info)

        for variable in VARIABLES:
            variable.set(ids[variable.name])
        return app(environ, start_echoed)

    return middleware


TRUSTING = Policy(trusted_peers=[PROXY])
ASGI: dict[str, Callable[[Any], Any]] = {
    "bare": lambda app: app,
    "floor": asgi_floor,
    "idlanyard": lambda app: ASGIMiddleware(app, TRUSTING),
    PEER: lambda app: correlate(app, "X-Session-ID"),
    PEERS: lambda app: correlate(app, *HEADERS),
    "starlette-context": starlette_context,
    "recipe": recipe,
}
WSGI: dict[str, Callable[[Any], Any]] = {
    "bare": lambda app: app,
    "floor": wsgi_floor,
    "idlanyard": lambda app: WSGIMiddleware(app, TRUSTING),
    "recipe": wsgi_recipe,
}


def __getattr__(name: str) -> Any:
    if name == "asgi":
        return ASGI[os.environ[CHOICE]](hello)
    if name == "wsgi":
        return WSGI[os.environ[CHOICE]](wsgi_hello)
    raise AttributeError(name)

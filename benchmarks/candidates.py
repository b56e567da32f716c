"""
What is measured: the middleware, the least code that is right, and the peers.

Each candidate is built around its own copy of the application, since code
objects share the interpreter's inline caches.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from typing import Any

from floor import FITS_TEXT, HELD, Holder, asgi_floor
from lanes import TRUSTING, correlate

from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware


def copied(function: Any) -> Any:
    """
    Return a function with a code object of its own.
    """
    code = function.__code__.replace(co_name=function.__name__ + "_copy")
    return types.FunctionType(code, function.__globals__)


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"2")],
        }
    )
    for _ in range(scope["chunks"] - 1):
        await send({"type": "http.response.body", "body": b"hi", "more_body": True})
    await send({"type": "http.response.body", "body": b"hi"})


def wsgi_app(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    chunks = environ["chunks"]
    return [b"hi"] if chunks == 0 else (b"hi" for _ in range(chunks))


class WSGIFloor:
    """
    The floor for WSGI bodies of any kind; it holds its binding across their yields.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        session = environ.get("HTTP_X_SESSION_ID")
        if session is None or not FITS_TEXT(session):
            session = os.urandom(16).hex()
        echo = [("X-Session-ID", session)]
        user = environ.get("HTTP_X_USER_ID")
        if user is not None and FITS_TEXT(user):
            echo.append(("X-User-ID", user))
        tenant = environ.get("HTTP_X_TENANT_ID")
        if tenant is not None and FITS_TEXT(tenant):
            echo.append(("X-Tenant-ID", tenant))
        held = Holder()
        held.session, held.user, held.tenant = session, user, tenant
        token = HELD.set(held)

        def start_echoed(status: str, headers: Any, exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *echo])

        try:
            body = self.app(environ, start_echoed)
        except BaseException:
            HELD.reset(token)
            raise
        if type(body) is list:
            HELD.reset(token)
            return body
        return self.streamed(body, token)

    def streamed(self, body: Any, token: Any) -> Any:
        try:
            yield from body
        finally:
            HELD.reset(token)


def starlette_context(app: Any) -> Any:
    """
    starlette-context's raw middleware with one plugin.
    """
    from starlette_context.middleware import RawContextMiddleware
    from starlette_context.plugins import RequestIdPlugin

    return RawContextMiddleware(app, plugins=(RequestIdPlugin(),))


def base_http(app: Any) -> Any:
    """
    The recipe on Starlette's BaseHTTPMiddleware.
    """
    from starlette.middleware.base import BaseHTTPMiddleware

    async def dispatch(request: Any, call_next: Any) -> Any:
        session = request.headers.get("x-session-id") or os.urandom(16).hex()
        token = HELD.set(session)
        try:
            response = await call_next(request)
        finally:
            HELD.reset(token)
        response.headers["x-session-id"] = session
        return response

    return BaseHTTPMiddleware(app, dispatch)


ASGI: dict[str, Callable[[Any], Any]] = {
    "bare": lambda app: app,
    "floor": asgi_floor,
    "idlanyard": lambda app: ASGIMiddleware(app, TRUSTING),
}
ASGI_PEERS: dict[str, Callable[[Any], Any]] = {
    "asgi-correlation-id": lambda app: correlate(app, "X-Session-ID"),
    "starlette-context": starlette_context,
    "BaseHTTPMiddleware": base_http,
}
WSGI: dict[str, Callable[[Any], Any]] = {
    "bare": lambda app: app,
    "floor": WSGIFloor,
    "idlanyard": lambda app: WSGIMiddleware(app, TRUSTING),
}

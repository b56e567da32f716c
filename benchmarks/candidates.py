"""
What is measured: the middleware, the least code that is right, and the peers.

Each candidate is built around its own copy of the application, since code
objects share the interpreter's inline caches.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from idlanyard import Policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

FITS = re.compile(rb"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}").fullmatch
FITS_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}").fullmatch
NAMES = frozenset([b"x-session-id", b"x-user-id", b"x-tenant-id"])
HELD: ContextVar[Any] = ContextVar("floor", default=None)
TRUSTED = "10.0.0.5"
TRUSTING = Policy(trusted_peers=["10.0.0.0/8"])


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


class PassThrough:
    """
    An ASGI middleware that does nothing.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Holder:
    """
    The floor's three IDs.
    """

    __slots__ = ("session", "tenant", "user")

    session: str
    tenant: str | None
    user: str | None


class Floor:
    """
    The least ASGI code that is right: scan, check, mint, bind, echo; no trust rules.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        session = user = tenant = None
        for name, value in scope["headers"]:
            if name in NAMES and FITS(value):
                if name == b"x-session-id":
                    session = value
                elif name == b"x-user-id":
                    user = value
                else:
                    tenant = value
        if session is None:
            session = os.urandom(16).hex().encode()
        echo = [(b"x-session-id", session)]
        if user is not None:
            echo.append((b"x-user-id", user))
        if tenant is not None:
            echo.append((b"x-tenant-id", tenant))
        held = Holder()
        held.session = session.decode()
        held.user = user and user.decode()
        held.tenant = tenant and tenant.decode()
        token = HELD.set(held)

        def send_echoed(message: Any) -> Any:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *echo]}
            return send(message)

        try:
            await self.app(scope, receive, send_echoed)
        finally:
            HELD.reset(token)


class WSGIFloor:
    """
    The same for WSGI; it holds its binding across the body's yields.
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


def correlation(header: str) -> Callable[[Any], Any]:
    """
    asgi-correlation-id for one header.
    """

    def make(app: Any) -> Any:
        from asgi_correlation_id import CorrelationIdMiddleware

        return CorrelationIdMiddleware(app, header_name=header)

    return make


def correlation_stacked(app: Any) -> Any:
    """
    asgi-correlation-id three times, for three IDs.
    """
    for header in ("X-Tenant-ID", "X-User-ID", "X-Session-ID"):
        app = correlation(header)(app)
    return app


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
    "pass-through": PassThrough,
    "floor": Floor,
    "idlanyard": lambda app: ASGIMiddleware(app, TRUSTING),
}
ASGI_PEERS: dict[str, Callable[[Any], Any]] = {
    "asgi-correlation-id": correlation("X-Session-ID"),
    "asgi-correlation-id x 3": correlation_stacked,
    "starlette-context": starlette_context,
    "BaseHTTPMiddleware": base_http,
}
WSGI: dict[str, Callable[[Any], Any]] = {
    "bare": lambda app: app,
    "floor": WSGIFloor,
    "idlanyard": lambda app: WSGIMiddleware(app, TRUSTING),
}

"""
The least code that is right: scan, check, mint, bind, echo; no trust rules.

Each lane of a benchmark loads a copy of this file of its own (see ``lanes.py``).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from os import urandom
from typing import Any

FITS = re.compile(rb"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}").fullmatch
FITS_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}").fullmatch
NAMES = frozenset([b"x-session-id", b"x-user-id", b"x-tenant-id"])
HELD: ContextVar[Any] = ContextVar("floor", default=None)


class Holder:
    """
    The floor's three IDs.
    """

    __slots__ = ("session", "tenant", "user")

    session: str
    tenant: str | None
    user: str | None


def asgi_floor(app: Any) -> Any:
    """
    Return the floor around an ASGI application.
    """

    # One function, since each call inside would be a cost that is not needed.
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
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
            session = urandom(16).hex().encode()
        held = Holder()
        held.session = session.decode()
        held.user = held.tenant = None
        echo = [(b"x-session-id", session)]
        if user is not None:
            held.user = user.decode()
            echo.append((b"x-user-id", user))
        if tenant is not None:
            held.tenant = tenant.decode()
            echo.append((b"x-tenant-id", tenant))

        def send_echoed(message: Any) -> Any:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *echo]}
            return send(message)

        token = HELD.set(held)
        try:
            await app(scope, receive, send_echoed)
        finally:
            HELD.reset(token)

    return middleware


def wsgi_floor(app: Any) -> Any:
    """
    Return the floor around a WSGI application whose bodies are lists.
    """

    def middleware(environ: Any, start_response: Any) -> Any:
        session = environ.get("HTTP_X_SESSION_ID")
        if session is None or not FITS_TEXT(session):
            session = urandom(16).hex()
        held = Holder()
        held.session = session
        echo = [("X-Session-ID", session)]
        user = environ.get("HTTP_X_USER_ID")
        if user is not None and FITS_TEXT(user):
            echo.append(("X-User-ID", user))
        else:
            user = None
        tenant = environ.get("HTTP_X_TENANT_ID")
        if tenant is not None and FITS_TEXT(tenant):
            echo.append(("X-Tenant-ID", tenant))
        else:
            tenant = None
        held.user, held.tenant = user, tenant

        def start_echoed(status: Any, headers: Any, exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *echo], exc_info)

        token = HELD.set(held)
        try:
            return app(environ, start_echoed)
        finally:
            HELD.reset(token)

    return middleware


class WSGIFloor:
    """
    The floor for WSGI bodies of any kind; it holds its binding across their yields.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        session = environ.get("HTTP_X_SESSION_ID")
        if session is None or not FITS_TEXT(session):
            session = urandom(16).hex()
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

"""
The HTTP API of a registry as a WSGI application, on werkzeug.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    LengthRequired,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_content_length, get_input_stream

from idlanyard._peers import Everyone
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._http._conversation import converse
from idlanyard.registry._http._event_loop import EventLoopThread
from idlanyard.registry._http._session_request import READS_BODY, routes_at
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, Reply, SessionsHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["SessionsApp", "wsgi_app"]

_LENGTH: Final = re.compile("[0-9]{0,18}")


def wsgi_app(
    registry: SessionRegistry | AsyncSessionRegistry,
    *,
    on_input: OnInput | None = None,
    authorize: Authorize | Everyone | None = None,
    max_body: int = 65_536,
) -> SessionsApp:
    """
    Return the API as an application: served as it is, or mounted.

    Its routes are ``POST /session/create``, ``GET``, ``PATCH`` and ``DELETE
    /session/{id}``, and ``POST /session/{id}/input`` where there is an
    ``on_input``. Whatever is none of them has werkzeug's own answer.

    Args:
        registry: the sessions. An ``AsyncSessionRegistry`` is used on an
            event loop in a thread of the application's own; use it nowhere
            else, and ``close`` the application in the end.
        on_input: ``on_input(record, body)`` returns the reply to an input, as
            JSON has it; async functions run on that loop. The session is
            bound meanwhile.
        authorize: gets a ``SessionRequest`` and returns ``True`` for callers
            who may, or for a create a ``Grant``; plain or async. ``EVERYONE``
            spells out that nobody is checked.
        max_body: the most bytes of a body; more are answered 413.

    Raises:
        TypeError: ``authorize`` is missing, or one of them is something else.
        PolicyError: ``max_body`` is no number of bytes.
    """
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    return SessionsApp(handler, registry)


class SessionsApp:
    """
    The application that ``wsgi_app`` returns.
    """

    __slots__ = ("_handler", "_loop", "_registry")

    def __init__(
        self, handler: SessionsHandler, registry: SessionRegistry | AsyncSessionRegistry
    ) -> None:
        self._handler = handler
        self._registry = registry
        self._loop = EventLoopThread()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request.
        """
        try:
            reply = self._reply_to(environ)
        except HTTPException as error:
            return error(environ, start_response)
        response = Response(reply.body, reply.status, list(reply.headers))
        return response(environ, start_response)

    def close(self) -> None:
        """
        End the event loop, where async code has needed one, and on it an ``AsyncSessionRegistry``.

        A ``SessionRegistry`` stays open: it is its opener's. Twice is harmless.
        """
        try:
            if self._loop.is_running and isinstance(self._registry, AsyncSessionRegistry):
                self._loop.wait_for(self._registry.close())
        finally:
            self._loop.close()

    def _reply_to(self, environ: WSGIEnvironment) -> Reply:
        routes = routes_at(_path_of(environ), takes_input=self._handler.takes_input)
        if not routes:
            raise NotFound
        found = routes.get(environ["REQUEST_METHOD"])
        if found is None:
            raise MethodNotAllowed(sorted(routes))
        action, session_id = found
        reads_body = action in READS_BODY
        body = _body_of(environ, self._handler.max_body) if reads_body else b""
        conversation = self._handler.handle(action, session_id, _headers_of(environ), body)
        return converse(conversation, self._loop.wait_for)


def _path_of(environ: WSGIEnvironment) -> str:
    """
    Return the path as it was sent; where it is no text, there is no such route.
    """
    try:
        return str(environ.get("PATH_INFO", "").encode("latin-1").decode())
    except UnicodeError:
        raise NotFound from None


def _body_of(environ: WSGIEnvironment, most: int) -> bytes | None:
    """
    Return the body, or ``None`` where it has more than *most* bytes.

    Raises:
        LengthRequired: the server hands over chunks, and does not say where they end.
        BadRequest: its length is no number.
        ClientDisconnected: the body ends before it is all there.
    """
    if not _LENGTH.fullmatch(environ.get("CONTENT_LENGTH", "")):
        raise BadRequest
    length = get_content_length(environ)
    if "HTTP_TRANSFER_ENCODING" in environ and "wsgi.input_terminated" not in environ:
        raise LengthRequired
    try:
        # One more byte is read, to tell a body that fits from one that does not.
        body = get_input_stream(environ, max_content_length=most + 1).read()
    except RequestEntityTooLarge:
        return None
    if len(body) > most:
        return None
    if length is not None and len(body) < length:
        raise ClientDisconnected
    return bytes(body)


def _headers_of(environ: WSGIEnvironment) -> dict[str, str]:
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return headers

"""
Routes and bodies of the faces on werkzeug.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    LengthRequired,
    MethodNotAllowed,
    RequestEntityTooLarge,
)
from werkzeug.wrappers import Request
from werkzeug.wsgi import get_content_length

from idlanyard.registry._http._drive import drive_request
from idlanyard.registry._http._environ import headers_of, length_fault, read_past
from idlanyard.registry._http._handler import SessionsHandler
from idlanyard.registry._http._replies import Reply
from idlanyard.registry._http._routes import Matched

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def reply_to(
    handler: SessionsHandler,
    routes: Mapping[str, Matched],
    environ: WSGIEnvironment,
    request: Request | None = None,
) -> Reply:
    """
    Return the reply to a request with a path of the API.

    Args:
        handler: decides about the request.
        routes: the routes that match the path, by their methods.
        environ: the server's environ.
        request: the framework's request, for ``authorize``; left out, that
            gets the environ.

    Raises:
        MethodNotAllowed: no route of the path has the request's method.
        HTTPException: see ``body_of``.
    """
    found = routes.get(environ["REQUEST_METHOD"])
    if found is None:
        raise MethodNotAllowed(sorted(routes))
    route, session_id = found
    body = body_of(environ, handler.max_body, request) if route.has_body else b""
    handling = handler.handle(route.action, session_id, headers_of(environ), body)
    return drive_request(handling, environ if request is None else request)


def body_of(environ: WSGIEnvironment, most: int, request: Request | None = None) -> bytes | None:
    """
    Return the body, or ``None`` if it has more than *most* bytes.

    Args:
        environ: the server's environ.
        most: the most bytes that are read.
        request: the framework's request, which may have read the body
            already; left out, nothing has.

    Raises:
        LengthRequired: the body comes in chunks, and the server does not mark their end.
        BadRequest: the length is no number, or a chunk is broken.
        ClientDisconnected: the body ends early.
    """
    fault = length_fault(environ)
    if fault is not None:
        raise {400: BadRequest, 411: LengthRequired}[fault]
    length = get_content_length(environ)
    if length is not None and length > most:
        return None
    request = request or Request(environ, populate_request=False)
    try:
        # The stream is empty if the application has read the body; the request then has it.
        body = read_past(request.stream, most) or request.get_data()
    except RequestEntityTooLarge:
        return None
    except HTTPException:
        raise
    except Exception:
        # Servers raise errors of their own for broken chunks, such as gunicorn 27 its
        # ParseException. A framework would answer them 500.
        raise BadRequest from None
    if len(body) > most:
        return None
    if length is not None and len(body) < length:
        raise ClientDisconnected
    return body

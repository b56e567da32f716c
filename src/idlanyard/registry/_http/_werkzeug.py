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

from idlanyard.registry._http._conversation import converse
from idlanyard.registry._http._environ import headers_of, length_fault, read_past
from idlanyard.registry._http._session_request import READS_BODY, Action
from idlanyard.registry.http import Reply, SessionsHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def reply_to(
    handler: SessionsHandler,
    routes: Mapping[str, tuple[Action, str | None]],
    environ: WSGIEnvironment,
    request: Request | None = None,
) -> Reply:
    """
    Return the reply to a request that has a path of the API.

    Args:
        handler: decides about the request.
        routes: the action and session of each method at that path.
        environ: the server's.
        request: the framework's, for ``authorize``; left out, it gets the environ.

    Raises:
        MethodNotAllowed: the path has no such method.
        HTTPException: as ``body_of``.
    """
    found = routes.get(environ["REQUEST_METHOD"])
    if found is None:
        raise MethodNotAllowed(sorted(routes))
    action, session_id = found
    body = body_of(environ, handler.max_body, request) if action in READS_BODY else b""
    conversation = handler.handle(action, session_id, headers_of(environ), body)
    return converse(conversation, environ if request is None else request)


def body_of(environ: WSGIEnvironment, most: int, request: Request | None = None) -> bytes | None:
    """
    Return the body, or ``None`` where it has more than *most* bytes.

    Args:
        environ: the server's.
        most: how many bytes are read.
        request: the framework's, which may have read the body already; left
            out, nobody has.

    Raises:
        LengthRequired: the server hands over chunks, and does not say where they end.
        BadRequest: its length is no number.
        ClientDisconnected: the body ends before it is all there.
    """
    fault = length_fault(environ)
    if fault is not None:
        raise {400: BadRequest, 411: LengthRequired}[fault]
    length = get_content_length(environ)
    if length is not None and length > most:
        return None
    request = request or Request(environ, populate_request=False)
    try:
        # A body that somebody has read before is kept in the request.
        body = read_past(request.stream, most) or request.get_data()
    except RequestEntityTooLarge:
        return None
    except HTTPException:
        raise
    except Exception:
        # Servers raise errors of their own for chunks that are none, such as gunicorn 27
        # its ParseException, of which a framework would make a 500.
        raise BadRequest from None
    if len(body) > most:
        return None
    if length is not None and len(body) < length:
        raise ClientDisconnected
    return body

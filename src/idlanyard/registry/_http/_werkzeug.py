"""
What the faces on werkzeug share: bodies up to a limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    LengthRequired,
    RequestEntityTooLarge,
)
from werkzeug.wrappers import Request
from werkzeug.wsgi import get_content_length

from idlanyard.registry._http._environ import length_fault, read_past

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


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

"""
The HTTP API of a registry as a WSGI application, on werkzeug.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response

from idlanyard._policy.peers import Everyone
from idlanyard.registry._http._conversation import check_waits
from idlanyard.registry._http._environ import path_of
from idlanyard.registry._http._session_request import routes_at
from idlanyard.registry._http._werkzeug import reply_to
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, Reply, SessionsHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["SessionsApp", "wsgi_app"]


def wsgi_app(
    registry: SessionRegistry,
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
        registry: the sessions.
        on_input: ``on_input(record, body)`` returns the reply to an input, as
            JSON has it; a plain function. The session is bound meanwhile.
        authorize: gets a ``SessionRequest`` and returns ``True`` for callers
            who may, or for a create a ``Grant``; a plain function.
            ``EVERYONE`` spells out that nobody is checked.
        max_body: the most bytes of a body; more are answered 413.

    Raises:
        TypeError: ``authorize`` is missing, one of them is something else, or
            has to be awaited, as an ``AsyncSessionRegistry`` has.
        PolicyError: ``max_body`` is no number of bytes.
    """
    check_waits(registry, on_input, authorize)
    return SessionsApp(
        SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    )


class SessionsApp:
    """
    The application that ``wsgi_app`` returns.
    """

    __slots__ = ("_handler",)

    def __init__(self, handler: SessionsHandler) -> None:
        self._handler = handler

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

    def _reply_to(self, environ: WSGIEnvironment) -> Reply:
        path = path_of(environ)
        routes = {} if path is None else routes_at(path, takes_input=self._handler.takes_input)
        if not routes:
            raise NotFound
        return reply_to(self._handler, routes, environ)

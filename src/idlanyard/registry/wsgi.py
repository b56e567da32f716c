"""
The HTTP API of a registry as a WSGI application, on werkzeug.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response

from idlanyard._policy.peers import Everyone
from idlanyard.registry._http._drive import check_sync
from idlanyard.registry._http._environ import path_of
from idlanyard.registry._http._routes import match_routes
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
    Return the HTTP API as an application, to be served as it is or mounted.

    Routes and options are those of ``SessionsHandler``. Other paths and
    methods have werkzeug's own answers.

    Args:
        registry: the registry.
        on_input: answers input to a session; a plain function.
        authorize: decides about each request; a plain function.
        max_body: the most bytes of a body.

    Raises:
        TypeError: ``authorize`` is missing, an option has a wrong type, or is
            async, as an ``AsyncSessionRegistry`` is.
        PolicyError: ``max_body`` is no number of bytes.
    """
    check_sync(registry, on_input, authorize)
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
        routes = {} if path is None else match_routes(path, takes_input=self._handler.takes_input)
        if not routes:
            raise NotFound
        return reply_to(self._handler, routes, environ)

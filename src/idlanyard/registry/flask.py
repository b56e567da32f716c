"""
The HTTP API of a registry as a Flask blueprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from idlanyard._policy.peers import Everyone
from idlanyard.registry._http._drive import check_sync
from idlanyard.registry._http._environ import path_of
from idlanyard.registry._http._routes import Matched, match_routes
from idlanyard.registry._http._werkzeug import reply_to
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, SessionsHandler

if TYPE_CHECKING:
    from flask.blueprints import BlueprintSetupState

__all__ = ["sessions_blueprint"]

_CONVERTER: Final = "idlanyard_rest"
# All methods, so that a 405 names those of the path; Flask would name those of the rule.
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


def sessions_blueprint(
    registry: SessionRegistry,
    *,
    on_input: OnInput | None = None,
    authorize: Authorize | Everyone | None = None,
    max_body: int = 65_536,
) -> Blueprint:
    """
    Return the HTTP API as a blueprint, for ``app.register_blueprint``.

    Routes and options are those of ``SessionsHandler``. Other paths and
    methods have Flask's own answers. Both functions run inside Flask's
    request context, after the application's ``before_request`` functions.

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
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)

    def session(rest: str) -> Response:
        routes = _match_routes(handler, rest)
        if request.method == "OPTIONS":
            return _options_response(routes)
        reply = reply_to(handler, routes, request.environ, request)
        return Response(reply.body, reply.status, list(reply.headers))

    blueprint = Blueprint("sessions", __name__)
    blueprint.record(_add_converter)
    blueprint.add_url_rule(
        f"/session/<{_CONVERTER}:rest>",
        view_func=session,
        methods=_METHODS,
        provide_automatic_options=False,
        merge_slashes=False,
    )
    return blueprint


class _Rest(BaseConverter):
    """
    The rest of the path, with slashes at either end.
    """

    part_isolating = False
    regex = r"[\s\S]+"


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters.setdefault(_CONVERTER, _Rest)


def _match_routes(handler: SessionsHandler, rest: str) -> dict[str, Matched]:
    # Flask writes U+FFFD for bytes that are not UTF-8; only the server's path has them.
    is_text = path_of(request.environ) is not None
    routes = match_routes(f"/session/{rest}", takes_input=handler.takes_input) if is_text else {}
    if not routes:
        raise NotFound
    return routes


def _options_response(routes: dict[str, Matched]) -> Response:
    """
    Return Flask's own response to OPTIONS, to which CORS extensions add their headers.
    """
    response = current_app.make_default_options_response()
    response.headers["Allow"] = ", ".join(sorted([*routes, "OPTIONS"]))
    return response

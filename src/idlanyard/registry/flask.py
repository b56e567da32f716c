"""
The HTTP API of a registry as a Flask blueprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from idlanyard._policy.peers import Everyone
from idlanyard.registry._http._conversation import check_waits
from idlanyard.registry._http._environ import path_of
from idlanyard.registry._http._session_request import routes_at
from idlanyard.registry._http._werkzeug import reply_to
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, SessionsHandler

if TYPE_CHECKING:
    from flask.blueprints import BlueprintSetupState

__all__ = ["sessions_blueprint"]

_CONVERTER: Final = "idlanyard_rest"
# All of them, so that the answer to one that is no route names those that are.
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


def sessions_blueprint(
    registry: SessionRegistry,
    *,
    on_input: OnInput | None = None,
    authorize: Authorize | Everyone | None = None,
    max_body: int = 65_536,
) -> Blueprint:
    """
    Return the API as a blueprint, for ``app.register_blueprint``.

    Its routes are ``POST /session/create``, ``GET``, ``PATCH`` and ``DELETE
    /session/{id}``, and ``POST /session/{id}/input`` where there is an
    ``on_input``. Whatever is none of them has Flask's own answer. Both
    functions run inside Flask's request context, behind the application's
    ``before_request`` functions.

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
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)

    def session(rest: str) -> Response:
        routes = _routes(handler, rest)
        if request.method == "OPTIONS":
            return _options(routes)
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
    Everything to the end of the path, slashes first and last too.
    """

    part_isolating = False
    regex = r"[\s\S]+"


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters.setdefault(_CONVERTER, _Rest)


def _routes(handler: SessionsHandler, rest: str) -> dict[str, Any]:
    # Flask writes U+FFFD for bytes that are no text; the server's path tells them apart.
    is_text = path_of(request.environ) is not None
    routes = routes_at(f"/session/{rest}", takes_input=handler.takes_input) if is_text else {}
    if not routes:
        raise NotFound
    return routes


def _options(routes: dict[str, Any]) -> Response:
    """
    Return Flask's own answer, which extensions for other sites (CORS) add to.
    """
    response = current_app.make_default_options_response()
    response.headers["Allow"] = ", ".join(sorted([*routes, "OPTIONS"]))
    return response

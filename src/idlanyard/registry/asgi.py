"""
The HTTP API of a registry as an ASGI application, on Starlette.
"""

from __future__ import annotations

from typing import Any

from starlette.routing import Match, Route, Router

from idlanyard._policy.peers import Everyone
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._http._starlette import endpoints_of, match_whole_id, refuse_method
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, SessionsHandler

__all__ = ["asgi_app"]


def asgi_app(
    registry: SessionRegistry | AsyncSessionRegistry,
    *,
    on_input: OnInput | None = None,
    authorize: Authorize | Everyone | None = None,
    max_body: int = 65_536,
) -> Router:
    """
    Return the HTTP API as an application, to be served as it is or mounted.

    Routes and options are those of ``SessionsHandler``. Other paths and
    methods have Starlette's own answers. Verbs of a ``SessionRegistry`` and
    plain functions run in worker threads of the face's own, 40 at most for
    each kind; async functions are awaited.

    Args:
        registry: the registry.
        on_input: answers input to a session; plain or async.
        authorize: decides about each request; plain or async.
        max_body: the most bytes of a body.

    Raises:
        TypeError: ``authorize`` is missing, or an option has a wrong type.
        PolicyError: ``max_body`` is no number of bytes.
    """
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    return Router(
        [
            _WholeID(route.path, endpoint, methods=[route.method], name=route.action)
            for route, endpoint in endpoints_of(handler)
        ]
    )


class _WholeID(Route):
    """
    A route for session IDs exactly as they were sent, without HEAD, which Starlette would add.
    """

    def __init__(self, *args: Any, methods: list[str], **options: Any) -> None:
        super().__init__(*args, methods=methods, **options)
        self.methods = set(methods)

    def matches(self, scope: Any) -> tuple[Match, Any]:
        return match_whole_id(scope, *super().matches(scope))

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        methods = self.methods or set()
        if scope["method"] in methods:
            await super().handle(scope, receive, send)
        else:
            await refuse_method(scope, receive, send, methods)

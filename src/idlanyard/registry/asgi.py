"""
The HTTP API of a registry as an ASGI application, on Starlette.
"""

from __future__ import annotations

from typing import Any

from starlette.routing import Match, Route, Router

from idlanyard._policy.peers import Everyone
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._http._starlette import planned, refuse_method, whole
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
    Return the API as an application: served as it is, or mounted.

    Its routes are ``POST /session/create``, ``GET``, ``PATCH`` and ``DELETE
    /session/{id}``, and ``POST /session/{id}/input`` where there is an
    ``on_input``. Whatever is none of them has Starlette's own answer.

    Args:
        registry: the sessions. The verbs of a ``SessionRegistry`` run in
            threads of the face's own, 40 at most; the wait for one counts
            towards the registry's timeout.
        on_input: ``on_input(record, body)`` returns the reply to an input, as
            JSON has it; plain functions run in other threads of the face's
            own, async ones are awaited. The session is bound meanwhile.
        authorize: gets a ``SessionRequest`` and returns ``True`` for callers
            who may, or for a create a ``Grant``; plain or async. ``EVERYONE``
            spells out that nobody is checked.
        max_body: the most bytes of a body; more are answered 413.

    Raises:
        TypeError: ``authorize`` is missing, or one of them is something else.
        PolicyError: ``max_body`` is no number of bytes.
    """
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    return Router(
        [
            _WholeID(route.path, endpoint, methods=[route.method], name=route.action)
            for route, endpoint in planned(handler)
        ]
    )


class _WholeID(Route):
    """
    A route that takes session IDs as they were sent, and no HEAD.
    """

    def __init__(self, *args: Any, methods: list[str], **options: Any) -> None:
        super().__init__(*args, methods=methods, **options)
        self.methods = set(methods)

    def matches(self, scope: Any) -> tuple[Match, Any]:
        return whole(scope, *super().matches(scope))

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        methods = self.methods or set()
        if scope["method"] in methods:
            await super().handle(scope, receive, send)
        else:
            await refuse_method(scope, receive, send, methods)

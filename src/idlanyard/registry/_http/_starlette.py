"""
Endpoints of the faces on Starlette: session IDs exactly as sent, bodies up to a limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match

from idlanyard.registry._http._drive import drive_request_async
from idlanyard.registry._http._environ import is_text
from idlanyard.registry._http._handler import SessionsHandler
from idlanyard.registry._http._routes import METHODS_OF_ANY_ID, ROUTES, Route
from idlanyard.registry._http._threads import FunctionThreads, VerbThreads

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def endpoints_of(handler: SessionsHandler) -> Iterator[tuple[Route, Endpoint]]:
    """
    Yield the routes of a handler, each with its endpoint, in the order of matching.
    """
    verbs, functions = VerbThreads(handler.registry), FunctionThreads()
    for route in ROUTES:
        if route.action != "input" or handler.takes_input:
            yield route, _endpoint_of(handler, route, verbs, functions)


def _endpoint_of(
    handler: SessionsHandler, route: Route, verbs: VerbThreads, functions: FunctionThreads
) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        # Before the body: a server may append to its list of headers while the body is read.
        headers = _headers_of(request)
        try:
            body = await _body_of(request, handler.max_body) if route.has_body else b""
        except ClientDisconnect:
            # The client is gone, and nobody receives this.
            return Response(status_code=400)
        session_id = request.path_params.get("session_id")
        handling = handler.handle(route.action, session_id, headers, body)
        reply = await drive_request_async(
            handling, request, run_verb=verbs.run, run_function=functions.run
        )
        return Response(reply.body, reply.status, dict(reply.headers))

    return endpoint


def match_whole_id(scope: Any, match: Match, found: Any) -> tuple[Match, Any]:
    """
    Return the match of a route, or none if its session ID is not the one that was sent.

    Starlette's pattern also matches an empty ID, and a path with a line end
    behind it; a server may have written U+FFFD for bytes that are not UTF-8.

    Args:
        scope: the request's scope.
        match: the match of the route's pattern.
        found: its path parameters.
    """
    if match is Match.NONE or found["path_params"].get("session_id") == "":
        return Match.NONE, {}
    path: str = scope["path"]
    if path.endswith("\n") or not is_text(
        path, scope.get("raw_path"), broken="\N{REPLACEMENT CHARACTER}"
    ):
        return Match.NONE, {}
    return match, found


async def refuse_method(scope: Any, receive: Any, send: Any, methods: Iterable[str]) -> None:
    """
    Answer 405 as Starlette does, with all methods of the path rather than one route's.

    Args:
        scope: the request's scope.
        receive: ASGI's ``receive``.
        send: ASGI's ``send``.
        methods: the methods of the first route that matches the path.
    """
    headers = {"Allow": ", ".join(sorted(METHODS_OF_ANY_ID.union(methods)))}
    if "app" in scope:
        raise HTTPException(405, headers=headers)
    await PlainTextResponse("Method Not Allowed", 405, headers)(scope, receive, send)


async def _body_of(request: Request, most: int) -> bytes | None:
    """
    Return the body, or ``None`` if it has more than *most* bytes.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            return None
    return bytes(body)


def _headers_of(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers

"""
What the faces on Starlette share: whole IDs out of paths, bodies up to a limit, replies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match

from idlanyard.registry._http._conversation import converse_async
from idlanyard.registry._http._environ import is_text
from idlanyard.registry._http._session_request import READS_BODY, Action
from idlanyard.registry._http._threads import FunctionThreads, VerbThreads
from idlanyard.registry.http import SessionsHandler

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Planned(NamedTuple):
    """
    A route that a face is to have.

    Attributes:
        action: what it is for.
        method: which requests it takes.
        path: the pattern of their paths.
    """

    action: Action
    method: str
    path: str


# The first that matches has the request: the last three match any path of the others.
_PLANNED: Final = (
    Planned("create", "POST", "/session/create"),
    Planned("input", "POST", "/session/{session_id:path}/input"),
    Planned("read", "GET", "/session/{session_id:path}"),
    Planned("update", "PATCH", "/session/{session_id:path}"),
    Planned("end", "DELETE", "/session/{session_id:path}"),
)
_OF_ANY_ID: Final = frozenset({"GET", "PATCH", "DELETE"})


def planned(handler: SessionsHandler) -> Iterator[tuple[Planned, Endpoint]]:
    """
    Go through the routes that a handler has, in the order in which they are asked.
    """
    verbs, functions = VerbThreads(handler.registry), FunctionThreads()
    for route in _PLANNED:
        if route.action != "input" or handler.takes_input:
            yield route, _endpoint_of(handler, route.action, verbs, functions)


def _endpoint_of(
    handler: SessionsHandler, action: Action, verbs: VerbThreads, functions: FunctionThreads
) -> Endpoint:
    reads_body = action in READS_BODY

    async def endpoint(request: Request) -> Response:
        # Before the body: a server may go on writing into its list while that is read.
        headers = _headers_of(request)
        try:
            body = await _body_of(request, handler.max_body) if reads_body else b""
        except ClientDisconnect:
            # Half a body is none, and nobody is there to hear it.
            return Response(status_code=400)
        session_id = request.path_params.get("session_id")
        conversation = handler.handle(action, session_id, headers, body)
        reply = await converse_async(
            conversation, request, run_verb=verbs.run, run_function=functions.run
        )
        return Response(reply.body, reply.status, dict(reply.headers))

    return endpoint


def whole(scope: Any, match: Match, found: Any) -> tuple[Match, Any]:
    """
    Return what a route has matched, unless its session ID is not the one that was sent.

    A pattern also matches nothing, and a path with a line end behind it; a
    server may have put U+FFFD for bytes that are no text.
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
    Answer 405 as Starlette does, with all the methods of the path and not only a route's own.

    Args:
        scope: the request's.
        receive: as in ASGI.
        send: as in ASGI.
        methods: those of the route that matches the path first.
    """
    headers = {"Allow": ", ".join(sorted(_OF_ANY_ID.union(methods)))}
    if "app" in scope:
        raise HTTPException(405, headers=headers)
    await PlainTextResponse("Method Not Allowed", 405, headers)(scope, receive, send)


async def _body_of(request: Request, most: int) -> bytes | None:
    """
    Return the body, or ``None`` once it has more than *most* bytes.
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

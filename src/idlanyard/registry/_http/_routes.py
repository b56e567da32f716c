"""
The routes of the HTTP API, in one table for all faces. Pure.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias

Action: TypeAlias = Literal["create", "read", "update", "end", "input"]
"""
The action that a request asks for, as ``authorize`` is told.
"""

_ID: Final = "{session_id:path}"


class Route(NamedTuple):
    """
    A route of the API.

    Attributes:
        action: the action that its requests ask for.
        method: the method of its requests.
        path: the pattern of their paths, as Starlette writes it.
        has_body: whether the body of a request is read.
    """

    action: Action
    method: str
    path: str
    has_body: bool


# Starlette takes the first that matches, and the last three match any path of the others.
ROUTES: Final = (
    Route("create", "POST", "/session/create", has_body=True),
    Route("input", "POST", f"/session/{_ID}/input", has_body=True),
    Route("read", "GET", f"/session/{_ID}", has_body=False),
    Route("update", "PATCH", f"/session/{_ID}", has_body=True),
    Route("end", "DELETE", f"/session/{_ID}", has_body=False),
)
METHODS_OF_ANY_ID: Final = frozenset(
    route.method for route in ROUTES if route.path == f"/session/{_ID}"
)
_PATTERNS: Final = tuple(
    (route, re.compile(route.path.replace(_ID, "(?P<session_id>[^\n]+)"))) for route in ROUTES
)


class Matched(NamedTuple):
    """
    A route that matches a path.

    Attributes:
        route: the route.
        session_id: the session ID in the path; ``None`` for ``"create"``.
    """

    route: Route
    session_id: str | None


def match_routes(path: str, *, takes_input: bool) -> dict[str, Matched]:
    """
    Return the routes that match a path, by their methods; empty if none do.

    Everything behind ``/session/`` is an ID where it is read, updated or
    ended, whatever it looks like.

    Args:
        path: decoded, and relative to where the API is mounted.
        takes_input: whether there is a route for input.
    """
    found: dict[str, Matched] = {}
    for route, pattern in _PATTERNS:
        match = pattern.fullmatch(path)
        if match is not None and (takes_input or route.action != "input"):
            found.setdefault(route.method, Matched(route, match.groupdict().get("session_id")))
    return found

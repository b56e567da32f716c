"""
An MCP server over Streamable HTTP. Its tool answers with the IDs of the request
that calls it, and not of the one that opened the MCP session.

    uvicorn --app-dir examples --no-proxy-headers mcp_app:app
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver import Context, MCPServer

from idlanyard import Policy, carry, get_session_context
from idlanyard.asgi import SessionContextMiddleware

P = ParamSpec("P")
R = TypeVar("R")
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

server = MCPServer("whoami")


def reachable(mcp: ASGIApp) -> ASGIApp:
    """
    Put ``carry``, bound to each request, into the ``scope`` where tools find it.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["carry"] = carry(carry)
        await mcp(scope, receive, send)

    return app


def of_request(context: Context, fn: Callable[P, R]) -> Callable[P, R]:
    """
    Return *fn*, run with the IDs of the request that this call came with.
    """
    request = context.request_context.request
    if request is None:
        raise RuntimeError("this call came without an HTTP request")
    carried: Callable[P, R] = request.scope["carry"](fn)
    return carried


@server.tool()
def whoami(context: Context) -> dict[str, str]:
    """
    Return the IDs of the request.
    """
    return of_request(context, get_session_context)().as_dict()


app = SessionContextMiddleware(
    reachable(server.streamable_http_app()), Policy(trusted_peers=["127.0.0.1"])
)

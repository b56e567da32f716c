"""
The two applications of the demo, one for each protocol: they answer with the IDs that they see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from idlanyard import Policy, get_session_context, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

TRUSTING_PATH: Final = "/trusting"
TRUSTING: Final = Policy(trusted_peers=["127.0.0.1"])
CLOSED: Final = Policy()
PARTS: Final = 3


class Boom(Exception):
    """
    An error that no code of the applications handles.
    """


def describe_binding(header: str | None) -> bytes:
    """
    Return as JSON the current IDs with their provenances, and the user header as it arrived.
    """
    context = get_session_context()
    ids = {name: [value, context.provenance(name)] for name, value in context.as_dict().items()}
    return json.dumps({"ids": ids, "raw": header}).encode()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """
    Serve the paths of the demo over ASGI.
    """
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": describe_binding(None).decode()})
        await send({"type": "websocket.close", "code": 1000})
        return
    path = scope["path"].removeprefix(TRUSTING_PATH)
    if path == "/boom":
        raise Boom
    if path == "/late":
        identify(user_id="found-out")
    status = 404 if path == "/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    if path == "/stream":
        for _ in range(PARTS):
            part = f"{get_session_id()}\n".encode()
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    header = dict(scope["headers"]).get(b"x-user-id")
    await send(
        {
            "type": "http.response.body",
            "body": describe_binding(header and header.decode("latin-1")),
        }
    )


def wsgi_app(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """
    Serve the paths of the demo over WSGI.
    """
    path = environ["PATH_INFO"].removeprefix(TRUSTING_PATH)
    if path == "/boom":
        raise Boom
    if path == "/late":
        identify(user_id="found-out")
    start_response("404 Not Found" if path == "/missing" else "200 OK", [])
    if path == "/stream":
        return (f"{get_session_id()}\n".encode() for _ in range(PARTS))
    return [describe_binding(environ.get("HTTP_X_USER_ID"))]


def make_asgi_app() -> Any:
    """
    Return the ASGI application, which trusts this machine on some paths only.
    """
    trusting, closed = ASGIMiddleware(asgi_app, TRUSTING), ASGIMiddleware(asgi_app, CLOSED)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        trusts = scope.get("path", "").startswith(TRUSTING_PATH)
        await (trusting if trusts else closed)(scope, receive, send)

    return app


def make_wsgi_app() -> Any:
    """
    Return the WSGI application, which trusts this machine on some paths only.
    """
    trusting, closed = WSGIMiddleware(wsgi_app, TRUSTING), WSGIMiddleware(wsgi_app, CLOSED)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        trusts = environ["PATH_INFO"].startswith(TRUSTING_PATH)
        return (trusting if trusts else closed)(environ, start_response)

    return app

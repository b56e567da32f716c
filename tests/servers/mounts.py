"""
The applications that the servers serve: they say what they see, under several policies.
"""

from __future__ import annotations

import json
from typing import Any

from idlanyard import IDSpec, Policy, get_session_context, user_spec
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

SECRET = "a secret of more than thirty-two bytes"
POLICIES = {
    "closed": Policy(),
    "trusting": Policy(trusted_peers=["127.0.0.1"]),
    "careless": Policy(trusted_peers=["127.0.0.1"], unsafe_server_ok=True),
    "secret": Policy(shared_secret=("X-Proxy-Secret", SECRET)),
    "demanding": Policy(user=user_spec(required=True)),
    "device": Policy(
        trusted_peers=["127.0.0.1"],
        extra=[IDSpec(name="device_id", header="X-Device-ID", accept="proven")],
    ),
    "unix": Policy(trusted_peers=["unix"]),
    "assumed": Policy(trusted_peers=["unix"], assume_unix=True),
}


class Boom(Exception):
    """
    An exception that no code handles.
    """


def seen(headers: dict[str, str]) -> bytes:
    """
    Return as JSON what is bound and which of our headers the application sees.
    """
    context = get_session_context()
    ids = context.as_dict()
    how = {name: context.provenance(name) for name in ids}
    ours = {n: v for n, v in headers.items() if n.replace("_", "-").startswith("x-")}
    return json.dumps({"ids": ids, "how": how, "headers": ours}).encode()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        return
    if scope["path"].endswith("/boom"):
        raise Boom
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    body = seen(headers)
    lines = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def wsgi_app(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"].endswith("/boom"):
        raise Boom
    headers = {
        key[5:].lower().replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    body = seen(headers)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    # An iterator, so that the body is made after the call has returned.
    return iter([body])


ASGI = {name: ASGIMiddleware(asgi_app, policy) for name, policy in POLICIES.items()}
WSGI = {name: WSGIMiddleware(wsgi_app, policy) for name, policy in POLICIES.items()}


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """
    Serve each path's first segment under the policy of its name.
    """
    if scope["type"] in ("http", "websocket"):
        await ASGI[scope["path"].split("/")[1]](scope, receive, send)


def wsgi(environ: Any, start_response: Any) -> Any:
    """
    The same over WSGI.
    """
    return WSGI[environ["PATH_INFO"].split("/")[1]](environ, start_response)

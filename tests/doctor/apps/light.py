"""
Applications without a framework, which start fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from idlanyard import Policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

POLICY = Policy(trusted_peers=["10.0.0.5"])


def bare(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK" if environ["PATH_INFO"] == "/" else "404 Not Found", [])
    return [b"done"]


async def bare_asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    status = 200 if scope["path"] == "/" else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


asgi = ASGIMiddleware(bare_asgi, POLICY)
wsgi = WSGIMiddleware(bare, POLICY)

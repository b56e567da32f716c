"""
The application that is attacked, under one policy for each first segment of the path.
"""

from __future__ import annotations

from typing import Any

from idlanyard import Policy, session_spec, tenant_spec, user_spec
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from servers.mounts import SECRET, asgi_app, wsgi_app

PROXY = ["127.0.0.1"]


def is_claimed(value: str, request: Any) -> bool:
    """
    Return whether the tenant is the one of the login.
    """
    return bool(request.headers.get("X-Login-Tenant") == value)


POLICIES = {
    "closed": Policy(),
    "nobody": Policy(trusted_peers=[]),
    "elsewhere": Policy(trusted_peers=["10.0.0.0/8"]),
    "trusting": Policy(trusted_peers=PROXY),
    "mapped": Policy(trusted_peers=["::ffff:127.0.0.1"]),
    "fallback": Policy(
        trusted_peers=PROXY, user=user_spec(sources=["X-User-ID", "X-Auth-Request-User"])
    ),
    "demanding": Policy(
        shared_secret=("X-Proxy-Secret", SECRET),
        session=session_spec(on_invalid="reject"),
        user=user_spec(required=True),
    ),
    "matching": Policy(trusted_peers=PROXY, tenant=tenant_spec(must_match=is_claimed)),
    "excluding": Policy(trusted_peers=PROXY, exclude=["/excluding/health"]),
    "exposing": Policy(expose=True),
}
ASGI = {name: ASGIMiddleware(asgi_app, policy) for name, policy in POLICIES.items()}
WSGI = {name: WSGIMiddleware(wsgi_app, policy) for name, policy in POLICIES.items()}


def _first_segment(path: str) -> str:
    """
    Return the policy of a path; any path has one.
    """
    name = path.split("/")[1] if path.startswith("/") else ""
    return name if name in POLICIES else "demanding"


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """
    Serve each path under the policy of its first segment.
    """
    if scope["type"] in ("http", "websocket"):
        await ASGI[_first_segment(scope["path"])](scope, receive, send)


def wsgi(environ: Any, start_response: Any) -> Any:
    """
    The same over WSGI.
    """
    return WSGI[_first_segment(environ["PATH_INFO"])](environ, start_response)

"""
The application that is attacked, under one policy for each first segment of the path.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assertions.minting import AUDIENCE, ISSUER, pem_of
from idlanyard import Header, Policy, get_session_id, session_spec, tenant_spec, user_spec
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.certificates import forwarded_certificate
from idlanyard.signing import Assertion
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from servers.mounts import SECRET, asgi_app, wsgi_app

PROXY = ["127.0.0.1"]
# The same key in the tests and in the servers, which are other processes.
ISSUERS_KEY = Ed25519PrivateKey.from_private_bytes(b"a key of thirty-two bytes, no ID")
BEARER = Assertion.bearer(
    issuer=ISSUER, audience=AUDIENCE, algorithm="EdDSA", keys=pem_of(ISSUERS_KEY)
)


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
    "meshed": Policy(
        trusted_peers=PROXY,
        user=user_spec(
            sources=[Header("X-Forwarded-Client-Cert", parse=forwarded_certificate("URI"))]
        ),
    ),
    "appended": Policy(
        trusted_peers=PROXY,
        user=user_spec(
            sources=[
                Header("X-Forwarded-Client-Cert", parse=forwarded_certificate("URI", last=True))
            ]
        ),
    ),
    "bearing": Policy(user=user_spec(sources=[BEARER.claim("sub")])),
    "matching": Policy(trusted_peers=PROXY, tenant=tenant_spec(must_match=is_claimed)),
    "excluding": Policy(trusted_peers=PROXY, exclude=["/excluding/health"]),
    "exposing": Policy(expose=True),
}
# The sessions of the streams that have ended, as they were known there at the end.
ENDED: list[str] = []


def tell() -> bytes:
    """
    Return as JSON the process, and the sessions whose streams have ended in it.
    """
    return json.dumps({"process": os.getpid(), "ended": ENDED}).encode()


async def asgi_stream(scope: Any, receive: Any, send: Any) -> None:
    """
    Say the session over and over until the client is gone.
    """
    await receive()
    gone = asyncio.ensure_future(receive())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while not gone.done():
            line = f"{get_session_id()}\n".encode()
            await send({"type": "http.response.body", "body": line, "more_body": True})
            await asyncio.wait([gone], timeout=0.001)
    finally:
        gone.cancel()
        ENDED.append(str(get_session_id()))


def wsgi_stream(environ: Any, start_response: Any) -> Iterator[bytes]:
    """
    The same over WSGI, where a client that is gone is noticed when something is sent.
    """
    start_response("200 OK", [])
    try:
        while True:
            yield f"{get_session_id()}\n".encode() * 1000
    finally:
        ENDED.append(str(get_session_id()))


async def asgi_tell(scope: Any, receive: Any, send: Any) -> None:
    body = tell()
    lines = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def wsgi_tell(environ: Any, start_response: Any) -> list[bytes]:
    body = tell()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


ASGI = {name: ASGIMiddleware(asgi_app, policy) for name, policy in POLICIES.items()}
ASGI |= {"streaming": ASGIMiddleware(asgi_stream), "telling": ASGIMiddleware(asgi_tell)}
WSGI = {name: WSGIMiddleware(wsgi_app, policy) for name, policy in POLICIES.items()}
WSGI |= {"streaming": WSGIMiddleware(wsgi_stream), "telling": WSGIMiddleware(wsgi_tell)}


def _first_segment(path: str) -> str:
    """
    Return the policy of a path; any path has one.
    """
    name = path.split("/")[1] if path.startswith("/") else ""
    return name if name in ASGI else "demanding"


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

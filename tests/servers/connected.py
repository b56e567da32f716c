"""
An application that tells what a request finds on a connection that others have used.

``/upload`` reads a body too large for a server's buffer, answers, and goes on
until the next request has come; every answer says what was bound, in a span and
in a log line outside the middleware, before the request itself was looked at.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from idlanyard import Policy, get_session_context
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.logging import install
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor

PATIENCE = 1.0
LINES: list[tuple[str, str | None]] = []


class _Collector(logging.Handler):
    """
    Keeps each record's text and user.
    """

    def emit(self, record: logging.LogRecord) -> None:
        LINES.append((record.getMessage(), record.user_id))  # type: ignore[attr-defined]


install()
LOG = logging.getLogger("connected")
LOG.setLevel(logging.INFO)
for name in ("connected", "uvicorn.error"):
    logging.getLogger(name).addHandler(_Collector())
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SessionContextSpanProcessor())
TRACER = PROVIDER.get_tracer("connected")


class State:
    """
    The events that one upload waits for.
    """

    followed: asyncio.Event | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/upload":
        await _upload(receive, send)
    elif scope["path"] == "/lines":
        await _answer(send, LINES)
    else:
        if State.followed is not None:
            State.followed.set()
        context = get_session_context()
        headers = {n.decode(): v.decode() for n, v in scope["headers"] if n.startswith(b"x-")}
        user, how = context.user_id, context.provenance("user_id")
        await _answer(send, [user, how, headers.get("x-user-id"), scope["state"]["outside"]])


async def _upload(receive: Any, send: Any) -> None:
    State.followed = asyncio.Event()
    # Meanwhile the server reads more than it keeps, and pauses.
    for _ in range(200):
        await asyncio.sleep(0)
    while (await receive()).get("more_body"):
        pass
    await _answer(send, [get_session_context().user_id])
    # As a background task does: the call goes on after the response.
    try:
        await asyncio.wait_for(State.followed.wait(), PATIENCE)
    except TimeoutError:
        pass


async def _answer(send: Any, content: object) -> None:
    body = json.dumps(content).encode()
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": body})


MIDDLEWARE = SessionContextMiddleware(app, Policy(trusted_peers=["127.0.0.1"]))


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """
    Serve a request as an instrumentation does that stands outside the middleware.
    """
    if scope["type"] != "http":
        return
    with TRACER.start_as_current_span("server") as span:
        LOG.info("begun %s", scope["path"])
        assert isinstance(span, ReadableSpan)
        outside = [get_session_context().as_dict(), dict(span.attributes or {}), LINES[-1][1]]
        scope["state"] = {"outside": outside}
        await MIDDLEWARE(scope, receive, send)

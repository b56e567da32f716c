"""
Drives an application through one request, as a server would, with no server.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from idlanyard import Policy, use_policy

STRANGER = "203.0.113.9"
PROXY = "10.0.0.5"

Line = tuple[str, str]
Message = dict[str, Any]


def http_scope(lines: Iterable[Line] = (), *, peer: str | None = STRANGER, **more: Any) -> Message:
    """
    Return an ASGI scope whose header lines are *lines*, as a server spells them.
    """
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": b"",
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in lines],
        "client": None if peer is None else (peer, 50000),
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }
    return scope | more


def websocket_scope(lines: Iterable[Line] = (), **more: Any) -> Message:
    """
    Return the scope of a WebSocket handshake.
    """
    return http_scope(lines, type="websocket", scheme="ws", subprotocols=[], **more)


async def serve_asgi(app: Any, scope: Message, *incoming: Message) -> list[Message]:
    """
    Serve one connection and return what the application sent.
    """
    first = {"type": "websocket.connect"}
    if scope["type"] == "http":
        first = {"type": "http.request", "body": b"", "more_body": False}  # type: ignore[dict-item]
    last = {"type": scope["type"] + ".disconnect"}
    waiting = iter([first, *incoming])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(waiting, last)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def ask_asgi(app: Any, scope: Message, *incoming: Message) -> list[Message]:
    """
    Serve one connection in an event loop of its own.
    """
    return asyncio.run(serve_asgi(app, scope, *incoming))


def ask_asgi_at_once(app: Any, scope: Message) -> list[Message]:
    """
    Serve one connection of an application that never waits, without an event loop.
    """
    call = serve_asgi(app, scope)
    try:
        call.send(None)
    except StopIteration as stop:
        sent: list[Message] = stop.value
        return sent
    raise AssertionError("the application waits for something")


def pairs_of(message: Message) -> list[Line]:
    """
    Return the header pairs of a message as text.
    """
    return [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]


def values_of(pairs: Iterable[Line], name: str) -> list[str]:
    """
    Return every value of a header, by its name in any case.
    """
    return [value for key, value in pairs if key.lower() == name.lower()]


def environ_of(lines: Iterable[Line] = (), *, peer: str | None = STRANGER, **more: Any) -> Message:
    """
    Return the environ that a server which joins repeated lines makes of *lines*.
    """
    environ: Message = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if peer is not None:
        environ["REMOTE_ADDR"] = peer
    for name, value in lines:
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ | more


class Response(NamedTuple):
    """
    The answer of a WSGI application.

    Attributes:
        status: as in ``"200 OK"``.
        headers: the pairs of the last ``start_response``.
        body: everything that was written and yielded.
    """

    status: str
    headers: list[Line]
    body: bytes


class Server:
    """
    The server's side of one WSGI request.

    Attributes:
        starts: the arguments of every ``start_response``.
        written: what went through the legacy ``write``.
    """

    def __init__(self) -> None:
        self.starts: list[tuple[str, list[Line]]] = []
        self.written: list[bytes] = []

    def start_response(
        self, status: str, headers: list[Line], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """
        Note the response's head and return ``write``.
        """
        if self.starts and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        self.starts.append((status, headers))
        return self.written.append


def ask_wsgi(app: Any, environ: Message) -> Response:
    """
    Serve one request to its end, body closed.
    """
    server = Server()
    body = app(environ, server.start_response)
    try:
        chunks = list(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    status, headers = server.starts[-1]
    return Response(status, headers, b"".join([*server.written, *chunks]))


@contextmanager
def using(**options: Any) -> Iterator[None]:
    """
    Use a policy meanwhile, outside of requests.
    """
    undo = use_policy(Policy(**options))
    try:
        yield
    finally:
        undo()

"""
Requests to an ASGI application in this process, without a server.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from idlanyard._doctor._context import list_left
from idlanyard._doctor._observations import IN_PROCESS, Exchange, Lines, Probe
from idlanyard._doctor._target import CannotRun, describe_error

CLIENT: Final = "203.0.113.9"
"""
The peer of every request in process: an address of the documentation, so a stranger.
"""

_BODY: Final = b"{}"
_ENOUGH: Final = 50


class Connection:
    """
    The server's side of one request.

    Args:
        probe: the request.
        host: the host that it is for.
        state: the state that the application's lifespan has made.
    """

    def __init__(self, probe: Probe, host: str, state: dict[str, Any]) -> None:
        self.probe = probe
        self.status = 0
        self.headers: Lines = []
        self.parts = 0
        self.over = asyncio.Event()
        self._received = 0
        # The list of the server, which it may go on writing into.
        self._lines = [(b"host", host.encode("latin-1")), *_encode(probe.headers)]
        self.scope = _make_scope(probe, self._lines, dict(state))

    async def receive(self) -> dict[str, Any]:
        """
        Return the next message of the client.
        """
        self._received += 1
        if self._received == 1:
            self._lines += _encode(self.probe.trailers)
            if self.probe.websocket:
                return {"type": "websocket.connect"}
            body = _BODY if self.probe.trailers else b""
            return {"type": "http.request", "body": body, "more_body": False}
        if self.probe.websocket:
            self.over.set()
            return {"type": "websocket.disconnect", "code": 1000, "reason": ""}
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """
        Keep the status and the headers of the response.
        """
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = int(message["status"])
        elif kind == "websocket.accept":
            self.status = 101
        if kind.endswith((".start", ".accept")):
            self.headers = _decode(message.get("headers") or ())
        if kind.endswith(".body"):
            self.parts += 1
            if self.parts >= _ENOUGH or not message.get("more_body"):
                self.over.set()


def _make_scope(probe: Probe, lines: list[tuple[bytes, bytes]], state: Any) -> dict[str, Any]:
    path, _, query = probe.path.partition("?")
    scope: dict[str, Any] = {
        "type": "websocket" if probe.websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws" if probe.websocket else "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": lines,
        "client": (CLIENT, 50_000),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        "state": state,
    }
    kind: dict[str, Any] = {"subprotocols": []} if probe.websocket else {"method": probe.method}
    return scope | kind


async def drive_asgi(
    app: Any, probe: Probe, *, host: str, limit: float, state: dict[str, Any]
) -> Exchange:
    """
    Send one request to the application and return what came back.

    Args:
        app: the application.
        probe: the request.
        host: the host that it is for.
        limit: the most seconds that it may take.
        state: the state that the application's lifespan has made.
    """
    connection = Connection(probe, host, state)
    context = contextvars.copy_context()
    task = asyncio.create_task(_call_application(app, connection), context=context)
    await asyncio.wait({task}, timeout=limit)
    is_late = not task.done() and not connection.status
    fault = f"no response within {limit:g} seconds" if is_late else ""
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
    elif error := task.exception():
        fault = describe_error(error)
    # Under ASGI each request has a task, so that only what is bound by us is left to anybody.
    left = [name for name in list_left(context, "") if task.done()]
    return Exchange(
        lane=IN_PROCESS,
        probe=probe,
        status=connection.status,
        headers=connection.headers,
        parts=connection.parts,
        fault=fault,
        received=_decode(connection.scope.get("headers") or ()),
        left=left,
        is_late=is_late,
    )


async def _call_application(app: Any, connection: Connection) -> None:
    await app(connection.scope, connection.receive, connection.send)


@asynccontextmanager
async def run_lifespan(app: Any, limit: float) -> AsyncGenerator[dict[str, Any], None]:
    """
    Start the application meanwhile, as a server does; the state that it makes is yielded.

    Raises:
        CannotRun: the application says that it failed to start, or does not answer.
    """
    state: dict[str, Any] = {}
    started, ending = asyncio.Event(), asyncio.Event()
    failed: list[str] = []
    kinds = iter(["startup", "shutdown"])

    async def receive() -> dict[str, Any]:
        kind = next(kinds)
        if kind == "shutdown":
            await ending.wait()
        return {"type": f"lifespan.{kind}"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "lifespan.startup.failed":
            failed.append(str(message.get("message", "")))
        started.set()

    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.create_task(app(scope, receive, send))
    await asyncio.wait(
        {task, asyncio.create_task(started.wait())}, timeout=limit, return_when="FIRST_COMPLETED"
    )
    if failed or not (started.is_set() or task.done()):
        task.cancel()
        raise CannotRun(_explain_start(failed, limit))
    try:
        yield state
    finally:
        ending.set()
        await asyncio.wait({task}, timeout=limit)
        task.cancel()


def _explain_start(failed: list[str], limit: float) -> str:
    if not failed:
        return (
            f"the application's lifespan did not start within {limit:g} seconds: start what it "
            f"waits for, or raise --timeout"
        )
    # Starlette sends a whole traceback.
    lines = [line.strip() for line in failed[0].splitlines() if line.strip()]
    said = lines[-1] if lines else "no reason given"
    return f"the application's lifespan failed: {said}: start what it needs, such as its database"


def _encode(lines: Lines) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in lines]


def _decode(lines: Any) -> Lines:
    return [
        (bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in lines
    ]

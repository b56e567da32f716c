"""
The application as a server starts it, and a path of ours that shows how the server passes requests.
"""

from __future__ import annotations

import contextvars
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from idlanyard._doctor._context import list_left
from idlanyard._doctor._options import VARIABLE, load_options
from idlanyard._doctor._probes import PREFIX
from idlanyard._doctor._target import load_target

SERVER: Final = "server"
"""
The last part of the path that shows how the server passes a request.
"""

LAST_SESSION: Final = "X-Idlanyard-Doctor-Last"
"""
The header that names the session ID of the request before on the same connection.
"""

_JSON: Final = "application/json"


class ASGIEntry:
    """
    An ASGI application, with the path of ours in front.
    """

    def __init__(self, app: Any, path: str) -> None:
        self.app = app
        self._path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve one connection.
        """
        if scope.get("path") != self._path or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context = contextvars.copy_context()
        while (await receive()).get("more_body"):
            pass
        lines = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        client: Any = scope.get("client")
        body = _describe(dict(lines), client[0] if client else None, context)
        headers = [(b"content-type", _JSON.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class WSGIEntry:
    """
    A WSGI application, with the path of ours in front.
    """

    def __init__(self, app: Any, path: str) -> None:
        self.app = app
        self._path = path

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """
        Serve one request.
        """
        if environ.get("PATH_INFO") != self._path:
            body: Iterable[bytes] = self.app(environ, start_response)
            return body
        context = contextvars.copy_context()
        headers = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        described = _describe(headers, environ.get("REMOTE_ADDR"), context)
        start_response("200 OK", [("Content-Type", _JSON), ("Content-Length", str(len(described)))])
        return [described]


def _describe(headers: Mapping[str, str], peer: object, context: contextvars.Context) -> bytes:
    """
    Return as JSON how the server passed a request.
    """
    left = list_left(context, headers.get(LAST_SESSION.lower(), ""))
    return json.dumps({"headers": dict(headers), "peer": str(peer), "left": left}).encode()


def make_entry(text: str) -> ASGIEntry | WSGIEntry:
    """
    Return the application that the options name, with the path of ours in front.
    """
    options = load_options(text)
    target = load_target(options.target, options.kind)
    entry = ASGIEntry if target.kind == "asgi" else WSGIEntry
    return entry(target.app, f"{PREFIX}{options.token}/{SERVER}")


if VARIABLE in os.environ:
    application = make_entry(os.environ[VARIABLE])

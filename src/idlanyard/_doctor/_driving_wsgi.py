"""
Requests to a WSGI application in this process, without a server.
"""

from __future__ import annotations

import contextvars
import io
import sys
import threading
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from idlanyard._doctor._context import list_left
from idlanyard._doctor._driving_asgi import CLIENT
from idlanyard._doctor._observations import IN_PROCESS, Exchange, Lines, Probe
from idlanyard._doctor._target import describe_error

_ENOUGH: Final = 50


class _Response:
    """
    The response of one request, as far as it has come.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: Lines = []
        self.parts = 0
        self.fault = ""
        self.is_over = False

    def start(self, status: str, headers: Lines, exc_info: Any = None) -> Callable[[bytes], None]:  # noqa: ARG002
        """
        Keep the status and the headers: ``start_response``.
        """
        self.status = int(status.partition(" ")[0])
        self.headers = [(str(name), str(value)) for name, value in headers]
        return self._write

    def _write(self, _: bytes) -> None:
        self.parts += 1

    def read(self, app: Any, environ: dict[str, Any]) -> None:
        """
        Call the application and read the body.
        """
        try:
            body = app(environ, self.start)
            try:
                for _ in islice(body, _ENOUGH):
                    self.parts += 1
            finally:
                close = getattr(body, "close", None)
                if close is not None:
                    close()
        except (Exception, SystemExit) as error:
            self.fault = describe_error(error)
        self.is_over = True


def drive_wsgi(app: Any, probe: Probe, *, host: str, limit: float) -> Exchange:
    """
    Send one request to the application and return what came back.

    Args:
        app: the application.
        probe: the request.
        host: the host that it is for.
        limit: the most seconds that it may take.
    """
    environ, response = make_environ(probe, host), _Response()
    context = contextvars.Context()
    # A thread that hangs cannot be ended: as a daemon it ends with the process.
    thread = threading.Thread(target=context.run, args=(response.read, app, environ), daemon=True)
    thread.start()
    thread.join(limit)
    is_late = not response.is_over and not response.status
    if is_late:
        response.fault = f"no response within {limit:g} seconds"
    return Exchange(
        lane=IN_PROCESS,
        probe=probe,
        status=response.status,
        headers=response.headers,
        parts=response.parts,
        fault=response.fault,
        received=_list_headers(environ),
        is_late=is_late,
        left=list_left(context, probe.session) if response.is_over else [],
    )


def make_environ(probe: Probe, host: str) -> dict[str, Any]:
    """
    Return the ``environ`` of a request.
    """
    path, _, query = probe.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": probe.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": CLIENT,
        "HTTP_HOST": host,
        "CONTENT_LENGTH": "0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in probe.headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def _list_headers(environ: dict[str, Any]) -> Lines:
    return [
        (key.removeprefix("HTTP_").replace("_", "-"), str(value))
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]

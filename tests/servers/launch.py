"""
Starts real servers on free loopback ports or unix sockets.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ports import free_port

TESTS = Path(__file__).parents[1]
ASGI = "servers.mounts:asgi"
WSGI = "servers.mounts:wsgi"
DEADLINE = 30.0
UWSGI = "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"
WSGIREF = """
from servers import mounts
from wsgiref.simple_server import make_server
make_server("127.0.0.1", {port}, mounts.wsgi).serve_forever()
"""
WERKZEUG = """
from servers import mounts
from werkzeug.serving import run_simple
run_simple("127.0.0.1", {port}, mounts.wsgi, threaded=True)
"""
UWSGI_OPTIONS = ("--module", WSGI, "--need-app", "--buffer-size", "65535")
LISTEN = ("--host", "127.0.0.1", "--port", "{port}")


@dataclass(frozen=True)
class Server:
    """
    One server and how it is started.

    Attributes:
        name: as in test names.
        command: its words; ``{port}`` and ``{path}`` are filled in.
        protocol: ``"asgi"`` or ``"wsgi"``.
        unix: the words that make it listen on a unix socket instead.
        conflates: whether an alias of a header may stand for it there (S3).
        last_wins: whether the last of several lines is all that it hands over.
        websockets: whether it speaks WebSocket, and sends the headers of an accept.
        unix_trust: the policies under which its unix socket is believed.
    """

    name: str
    command: tuple[str, ...]
    protocol: str
    unix: tuple[str, ...] = ()
    conflates: bool = False
    last_wins: bool = False
    websockets: bool = False
    unix_trust: tuple[str, ...] = field(default=("unix", "assumed"))


def _uvicorn(name: str, *options: str, websockets: bool = True) -> Server:
    start = (
        "-m",
        "uvicorn",
        ASGI,
        "--no-proxy-headers",
        "--lifespan",
        "off",
        *options,
    )
    return Server(
        name,
        (*start, *LISTEN),
        "asgi",
        unix=(*start, "--uds", "{path}"),
        websockets=websockets,
    )


def _gunicorn(name: str, app: str, *options: str) -> Server:
    start = ("-m", "gunicorn", f"servers.mounts:{app}", "--no-control-socket", *options)
    return Server(
        name,
        (*start, "-b", "127.0.0.1:{port}"),
        app,
        unix=(*start, "-b", "unix:{path}"),
    )


SERVERS = [
    _uvicorn("uvicorn-h11", "--http", "h11", "--ws", "wsproto"),
    _uvicorn("uvicorn-httptools", "--http", "httptools", "--ws", "websockets-sansio"),
    Server(
        "hypercorn",
        ("-m", "hypercorn", ASGI, "-b", "127.0.0.1:{port}"),
        "asgi",
        unix=("-m", "hypercorn", ASGI, "-b", "unix:{path}"),
        websockets=True,
        unix_trust=("assumed",),
    ),
    Server(
        "granian-asgi",
        ("-m", "granian", "--interface", "asgi", ASGI, *LISTEN),
        "asgi",
    ),
    Server("daphne", ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", ASGI), "asgi"),
    _gunicorn("gunicorn-asgi", "asgi", "-k", "asgi"),
    _gunicorn("gunicorn-sync", "wsgi", "-k", "sync"),
    _gunicorn("gunicorn-gthread", "wsgi", "-k", "gthread", "--threads", "4"),
    Server("waitress", ("-m", "waitress", "--listen=127.0.0.1:{port}", WSGI), "wsgi"),
    Server(
        "cheroot",
        ("-m", "cheroot", "--bind", "127.0.0.1:{port}", WSGI),
        "wsgi",
        conflates=True,
        last_wins=True,
    ),
    Server(
        "uwsgi",
        (
            "-c",
            UWSGI,
            "--http-socket",
            "127.0.0.1:{port}",
            *UWSGI_OPTIONS,
        ),
        "wsgi",
        conflates=True,
    ),
    Server("werkzeug", ("-c", WERKZEUG), "wsgi"),
    Server("wsgiref", ("-c", WSGIREF), "wsgi", conflates=True),
    Server(
        "granian-wsgi",
        ("-m", "granian", "--interface", "wsgi", WSGI, *LISTEN),
        "wsgi",
        conflates=True,
        last_wins=True,
    ),
]

Address = tuple[str, int] | str


@dataclass
class Running:
    """
    A server that answers.

    Attributes:
        server: which it is.
        address: host and port, or the path of its socket.
        output: where its output goes.
    """

    server: Server
    address: Address
    output: Path

    def connect(self) -> socket.socket:
        """
        Return a new connection.
        """
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(10)
        try:
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection


@contextmanager
def running(server: Server, *, unix: bool = False) -> Iterator[Running]:
    """
    Start a server and stop it afterwards; yielded once it takes connections.
    """
    with tempfile.TemporaryDirectory() as folder:
        port, path = free_port(), f"{folder}/socket"
        words = [
            word.replace("{port}", str(port)).replace("{path}", path)
            for word in (server.unix if unix else server.command)
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        )
        output = Path(folder, "output")
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=folder, env=environment, stdout=log, stderr=log
            )
        up = Running(server, path if unix else ("127.0.0.1", port), output)
        try:
            wait(process, up)
            yield up
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait(process: subprocess.Popen[bytes], up: Running) -> None:
    """
    Return once a server takes connections.

    Raises:
        AssertionError: it ended, or takes too long; with all that it printed.
    """
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            up.connect().close()
            return
        except OSError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            text = up.output.read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"{up.server.name} did not start:\n{text}") from None

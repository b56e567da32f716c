"""
The servers that the doctor starts: how each is found, started and stopped.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import random
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from idlanyard._doctor._asking import HOST
from idlanyard._doctor._options import VARIABLE, Options, dump_options
from idlanyard._doctor._target import CannotRun

NONE: Final = "none"

_APPLICATION: Final = "idlanyard._doctor._entry:application"
_WERKZEUG: Final = (
    "from idlanyard._doctor import _entry; from werkzeug.serving import run_simple; "
    "run_simple('{host}', {port}, _entry.application, threaded=True)"
)
# Below the ports that systems give to connections, so that none takes it in the meantime.
_FIRST_PORT: Final = 20_000
_LAST_PORT: Final = 29_999
_PATIENCE: Final = 10
_LAST_LINES: Final = 8
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
# gunicorn 25 is the first with this option, and writes a socket into the home directory without.
_CONTROLLED: Final = 25


class Server(NamedTuple):
    """
    A server and how it is started.

    Attributes:
        name: its name, which is also that of its package.
        kinds: ``"asgi"``, ``"wsgi"`` or both.
        words: the command line after the interpreter.
    """

    name: str
    kinds: tuple[str, ...]
    words: tuple[str, ...]


SERVERS: Final = (
    Server(
        "uvicorn",
        ("asgi",),
        ("-m", "uvicorn", _APPLICATION, "--host", "{host}", "--port", "{port}"),
    ),
    Server(
        "gunicorn",
        ("wsgi", "asgi"),
        ("-m", "gunicorn", _APPLICATION, "-b", "{host}:{port}", "--access-logfile", "-"),
    ),
    Server(
        "hypercorn",
        ("asgi",),
        ("-m", "hypercorn", _APPLICATION, "-b", "{host}:{port}", "--access-logfile", "-"),
    ),
    Server("waitress", ("wsgi",), ("-m", "waitress", "--listen={host}:{port}", _APPLICATION)),
    Server(
        "granian",
        ("asgi", "wsgi"),
        (
            "-m",
            "granian",
            "--interface",
            "{kind}",
            "--host",
            "{host}",
            "--port",
            "{port}",
            "--access-log",
            _APPLICATION,
        ),
    ),
    Server("werkzeug", ("wsgi",), ("-c", _WERKZEUG)),
)
NAMES: Final = (*(server.name for server in SERVERS), NONE)


def find_server(kind: str, name: str | None) -> Server | None:
    """
    Return the server to start: the one that is named, or the first that is installed.

    Raises:
        CannotRun: the server that is named is not installed, or speaks another protocol.
    """
    if name == NONE:
        return None
    fitting = [server for server in SERVERS if kind in server.kinds]
    if name is None:
        return next((server for server in fitting if _is_installed(server)), None)
    server = next((server for server in fitting if server.name == name), None)
    if server is None:
        names = ", ".join(one.name for one in fitting)
        raise CannotRun(
            f"{name} serves no {kind.upper()} application: write --server with one of {names}"
        )
    if not _is_installed(server):
        raise CannotRun(f"{name} is not installed: pip install {name}, or leave --server out")
    return server


def _is_installed(server: Server) -> bool:
    # gunicorn can be installed on Windows, and not be started.
    needed = (server.name, "fcntl") if server.name == "gunicorn" else (server.name,)
    return all(importlib.util.find_spec(name) is not None for name in needed)


def write_command(server: Server, kind: str, port: int, more: str) -> list[str]:
    """
    Return the command line that starts a server.
    """
    filled = [word.format(host=HOST, port=port, kind=kind) for word in server.words]
    if server.name == "gunicorn":
        version = importlib.metadata.version(server.name).split(".")[0]
        filled += ["--no-control-socket"] if int(version) >= _CONTROLLED else []
        filled += ["-k", "asgi"] if kind == "asgi" else []
    return [sys.executable, *filled, *shlex.split(more)]


def find_port() -> int:
    """
    Return a port that nothing listens on.
    """
    choose = random.SystemRandom()
    ports = iter(lambda: choose.randint(_FIRST_PORT, _LAST_PORT), 0)
    return next(filter(is_free, ports))


def is_free(port: int) -> bool:
    """
    Return whether nothing listens on a port.
    """
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


class Running:
    """
    A server that was started.

    Attributes:
        server: the server.
        port: its port.
        output: the lines that the server and the application have written,
            once it is stopped.
    """

    def __init__(
        self, server: Server, port: int, process: subprocess.Popen[bytes], output: Path
    ) -> None:
        self.server = server
        self.port = port
        self.output: list[str] = []
        self._process = process
        self._file = output

    def _read_output(self) -> list[str]:
        text = self._file.read_text(encoding="utf-8", errors="replace")
        # Werkzeug colours its lines also where no terminal is.
        return _COLOURS.sub("", text).splitlines()

    def wait(self, timeout: float) -> None:
        """
        Return once the server takes connections.

        Raises:
            CannotRun: it has ended, or takes no connection in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                socket.create_connection((HOST, self.port), timeout=timeout).close()
                return
            except OSError:
                try:
                    self._process.wait(0.05)
                except subprocess.TimeoutExpired:
                    if time.monotonic() < deadline:
                        continue
            lines = "\n  ".join(self._read_output()[-_LAST_LINES:])
            raise CannotRun(
                f"{self.server.name} did not start: leave the server out with --server none, or "
                f"mend what it says:\n  {lines}"
            ) from None

    def stop(self, patience: float = _PATIENCE) -> None:
        """
        Stop the server, by force if it is not gone after so many seconds.
        """
        self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.output = self._read_output()


@contextmanager
def run_server(
    server: Server, kind: str, options: Options, *, port: int | None, more: str
) -> Generator[Running, None, None]:
    """
    Serve the application meanwhile.

    Args:
        server: the server.
        kind: ``"asgi"`` or ``"wsgi"``.
        options: the options of the command.
        port: the port, or ``None`` for any.
        more: further words for the server's command line.

    Raises:
        CannotRun: the server does not start.
    """
    port = find_port() if port is None else port
    with _open_output() as output:
        with output.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - no shell reads these words
                write_command(server, kind, port, more),
                env=os.environ | {VARIABLE: dump_options(options), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        running = Running(server, port, process, output)
        try:
            # An application may take long to start, and it starts for the second time here.
            running.wait(options.timeout * 3)
            yield running
        finally:
            running.stop()


@contextmanager
def _open_output() -> Generator[Path, None, None]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "output")

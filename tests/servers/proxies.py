"""
Starts the proxies and servers of docs/proxies.md, as the page configures them.

Nothing of a configuration is changed but its addresses, the secret's file and
the files that a proxy writes.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ports import free_port
from servers.caches import binary
from servers.launch import DEADLINE, Address, Running, Server, wait
from servers.raw import ask

PAGE = Path(__file__).parents[2].joinpath("docs", "proxies.md").read_text(encoding="utf-8")
SECRET = "a-secret-of-32-characters-or-more"
ALICE = base64.b64encode(b"alice:wonderland").decode()
PYTHON_PROGRAMS = {"waitress-serve": "waitress"}
NGINX = """
user root; daemon off; error_log stderr; pid {folder}/pid; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""
CADDY = "{{\n    admin off\n    auto_https off\n}}\n{site}"
HAPROXY = (
    "defaults\n    timeout client 20s\n    timeout connect 20s\n    timeout server 20s\n{site}"
)

# Traefik asks its makers for a newer version otherwise.
TRAEFIK = "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
SEAM = "\n# the next file\n"


def blocks(language: str, below: str = "") -> list[str]:
    """
    Return the page's blocks in a language, below a title if one is given.
    """
    text = PAGE.partition(f"\n## {below}\n")[2].partition("\n## ")[0] if below else PAGE
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def starts(title: str) -> list[str]:
    """
    Return the lines of the page that start a server, below a title.
    """
    (block,) = blocks("bash", f"Start the server: {title}")
    return block.splitlines()[1:]


def variables(title: str) -> dict[str, str]:
    """
    Return what the page sets in the environment before a server is started.
    """
    (block,) = blocks("bash", f"Start the server: {title}")
    words = shlex.split(block.splitlines()[0])
    name, _, value = words[1].partition("=")
    return {name: value.replace("$PROXY_SECRET", SECRET).replace("10.0.0.5", "127.0.0.1")}


@dataclass
class Seen(Running):
    """
    A server as it is reached from one address of the loopback network.

    Attributes:
        source: the address.
    """

    source: str = "127.0.0.2"

    def connect(self) -> socket.socket:
        """
        Return a new connection from there.
        """
        assert isinstance(self.address, tuple)
        return socket.create_connection(self.address, 10, (self.source, 0))


class _Login(BaseHTTPRequestHandler):
    """
    The login service: it knows alice, and lets everybody else pass without a name.
    """

    def do_GET(self) -> None:
        self.send_response(200)
        known = self.headers["Authorization"] == f"Basic {ALICE}"
        self.send_header("X-User-ID", "alice" if known else "")
        self.send_header("X-Tenant-ID", "acme" if known else "")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """
    Serve requests by a handler of the standard library; yield the port.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def start_process(
    name: str, words: list[str], address: Address, folder: Path, variables: dict[str, str]
) -> Iterator[Running]:
    """
    Start a program in a folder, and kill it and its children afterwards.
    """
    output = folder / f"{name}.output"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"} | variables
    with output.open("wb") as log:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    up = Running(Server(name, tuple(words), "http"), address, output)
    try:
        wait(process, up)
        yield up
    finally:
        # Some servers wait long for connections that nobody uses any more.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def service(start: str, environ: dict[str, str], folder: Path) -> Iterator[Running]:
    """
    Start one of the page's two services by a line of the page.

    Args:
        start: the line; its addresses become free ones of the loopback.
        environ: what is set in the environment.
        folder: an empty one.
    """
    for code in blocks("python")[:2]:
        first, _, rest = code.partition("\n")
        folder.joinpath(first.removeprefix("# ")).write_text(rest, encoding="utf-8")
    port, path = free_port(), folder / "socket"
    line = start.replace("10.0.0.7", "127.0.0.1").replace("8000", str(port))
    line = line.replace("10.0.0.5", "127.0.0.1").replace("/run/service/socket", str(path))
    program, *options = shlex.split(line)
    words = [sys.executable, "-m", PYTHON_PROGRAMS.get(program, program), *options]
    if program == "gunicorn":
        words.insert(3, "--no-control-socket")
    address = str(path) if str(path) in line else ("127.0.0.1", port)
    with start_process(program, words, address, folder, environ) as up:
        yield up


def _configured(name: str, port: int, login: int, behind: Address) -> str:
    """
    Return the page's configuration of a proxy, with addresses of the loopback.
    """
    program = PROXIES[name]
    text = SEAM.join(program.blocks())
    assert program.bind in text
    text = text.replace(program.bind, program.bind_there.replace("PORT", str(port)))
    text = text.replace("10.0.0.8:9000", f"127.0.0.1:{login}")
    text = text.replace("address: 10.0.0.8, port_value: 9000", _of_envoy(login))
    if isinstance(behind, tuple):
        text = text.replace("10.0.0.7:8000", f"127.0.0.1:{behind[1]}")
        return text.replace("address: 10.0.0.7, port_value: 8000", _of_envoy(behind[1]))
    (lines,) = blocks("text", "Start the server: on a unix socket")
    by_socket = dict(re.findall(r"(\w+): +(.*)\n", lines))[name]
    old = re.search(r"\S[^\n]*10\.0\.0\.7(?:, port_value)?:[ ]?8000[^\n]*", text)
    assert old is not None
    return text.replace(old[0], by_socket.replace("/run/service/socket", behind))


def _of_envoy(port: int) -> str:
    return f"address: 127.0.0.1, port_value: {port}"


def _nginx(site: str, folder: Path) -> list[str]:
    file = folder / "nginx.conf"
    site, _, secret = site.partition(SEAM)
    file.write_text(NGINX.format(folder=folder, site=site), encoding="utf-8")
    assert SECRET in secret
    folder.joinpath("proxy_secret.conf").write_text(secret, encoding="utf-8")
    return [binary("nginx"), "-p", str(folder), "-c", str(file)]


def _caddy(site: str, folder: Path) -> list[str]:
    file = folder / "Caddyfile"
    file.write_text(CADDY.format(site=site), encoding="utf-8")
    return [binary("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]


def _haproxy(site: str, folder: Path) -> list[str]:
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(site=site), encoding="utf-8")
    return [binary("haproxy"), "-f", str(file)]


def _envoy(site: str, folder: Path) -> list[str]:
    file = folder / "envoy.yaml"
    file.write_text(site, encoding="utf-8")
    return [binary("envoy"), "-c", str(file), "--disable-hot-restart", "--concurrency", "1"]


def _traefik(site: str, folder: Path) -> list[str]:
    start, _, service = site.partition(SEAM)
    file = folder / "traefik.yaml"
    file.write_text(start + TRAEFIK, encoding="utf-8")
    folder.joinpath("service.yaml").write_text(service, encoding="utf-8")
    return [binary("traefik"), f"--configFile={file}"]


@dataclass(frozen=True)
class Program:
    """
    A proxy that the page configures.

    Attributes:
        title: the title of its section.
        language: the language of its blocks.
        bind: where it listens on the page.
        bind_there: where it listens in the test.
        write: writes the files and returns the words that start it.
        everywhere: whether it is tried with every line that starts a server.
    """

    title: str
    language: str
    bind: str
    bind_there: str
    write: Callable[[str, Path], list[str]]
    everywhere: bool = True

    def blocks(self) -> list[str]:
        """
        Return the files of its section.
        """
        return blocks(self.language, self.title)


PROXIES = {
    "nginx": Program("nginx", "nginx", "listen 80;", "listen 127.0.0.1:PORT;", _nginx),
    "caddy": Program(
        "Caddy", "caddyfile", "http://:80 {", "http://:PORT {\n\tbind 127.0.0.1", _caddy
    ),
    "haproxy": Program("HAProxy", "haproxy", "bind :80", "bind 127.0.0.1:PORT", _haproxy),
    "envoy": Program(
        "Envoy",
        "yaml",
        "address: 0.0.0.0, port_value: 80}",
        "address: 127.0.0.1, port_value: PORT}",
        _envoy,
        everywhere=False,
    ),
    "traefik": Program("Traefik", "yaml", '":80"', '"127.0.0.1:PORT"', _traefik, everywhere=False),
}


@contextmanager
def proxy(name: str, behind: Running, folder: Path) -> Iterator[Running]:
    """
    Start a proxy in front of a service, as the page configures it.
    """
    with ExitStack() as stack:
        port, login = free_port(), stack.enter_context(serving(_Login))
        words = PROXIES[name].write(_configured(name, port, login, behind.address), folder)
        variables = {"PROXY_SECRET": SECRET, "HOME": str(folder)}
        address = ("127.0.0.1", port)
        up = stack.enter_context(start_process(name, words, address, folder, variables))
        deadline = time.monotonic() + DEADLINE
        # Traefik 3.7 listens before it has read its files, and answers 404 until then.
        seen = Seen(up.server, up.address, up.output)
        while name == "traefik" and ask(seen, "/").status == 404:
            assert time.monotonic() < deadline, up.output.read_text(encoding="utf-8")
        yield up

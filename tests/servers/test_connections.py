"""
A request on a connection that others have used is its own: user, header, echo,
span and log line.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from ports import free_port
from servers.launch import LISTEN, Running, Server, running

BODY = b"x" * 300_000
ALICE = {"X-Session-ID": "chat-42", "X-User-ID": "alice"}
BOB = {"X-Session-ID": "chat-42", "X-User-ID": "bob"}
NOTHING_OUTSIDE: list[Any] = [{}, {}, None]
BOBS = ["bob", "peer", "bob", NOTHING_OUTSIDE]

APP = "servers.connected:asgi"


def _uvicorn(http_parser: str, loop: str) -> Server:
    words = ("-m", "uvicorn", APP, "--no-proxy-headers", "--lifespan", "off")
    options = ("--http", http_parser, "--loop", loop)
    return Server(f"uvicorn-{http_parser}-{loop}", (*words, *options, *LISTEN), "asgi")


SERVERS = [
    *[_uvicorn(parser, loop) for parser in ("h11", "httptools") for loop in ("asyncio", "uvloop")],
    Server("daphne", ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", APP), "asgi"),
    Server("hypercorn", ("-m", "hypercorn", APP, "-b", "127.0.0.1:{port}"), "asgi"),
    Server("granian", ("-m", "granian", "--interface", "asgi", APP, *LISTEN), "asgi"),
    Server(
        "gunicorn-asgi",
        (
            *("-m", "gunicorn", APP, "--no-control-socket", "-k", "asgi"),
            *("-b", "127.0.0.1:{port}"),
        ),
        "asgi",
    ),
]
UVICORNS = [server for server in SERVERS if server.name.startswith("uvicorn")]


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.name)
def up(request: pytest.FixtureRequest) -> Iterator[Running]:
    """
    One server, started for real, once for all the tests that it serves.
    """
    with running(request.param) as started:
        yield started


@dataclass
class Response:
    """
    The answer to one request of a connection.

    Attributes:
        content: the JSON body.
        session: the echo.
    """

    content: Any
    session: str | None


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Any, body: Any = None
) -> Response:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return Response(json.loads(response.read()), response.getheader("X-Session-ID"))


@contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def _port(running_server: Running) -> int:
    assert isinstance(running_server.address, tuple)
    return running_server.address[1]


def test_the_request_after_a_large_body_is_its_own(up: Running) -> None:
    """
    S28: bob's request after alice's upload, its call still open, is bob's, span and line too.
    """
    with _connected(_port(up)) as connection:
        assert _ask(connection, "POST", "/upload", ALICE, BODY).content == ["alice"]
        for _ in range(2):
            answer = _ask(connection, "GET", "/who", BOB)
            assert (answer.content, answer.session) == (BOBS, "chat-42")
        nobody = _ask(connection, "GET", "/who", {})
        assert nobody.content == [None, None, None, NOTHING_OUTSIDE]
        assert nobody.session not in (None, "chat-42")


def _request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = {"Host": "x", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _read(responses: IO[bytes]) -> Any:
    """
    Return the JSON body of the next response of a connection.
    """
    length = 0
    while (line := responses.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return json.loads(responses.read(length))


def test_a_pipelined_request_is_its_own(up: Running) -> None:
    """
    S28: of two requests that are sent at once the second is not part of the first.
    """
    with up.connect() as connection, connection.makefile("rb") as responses:
        connection.sendall(_request("POST", "/upload", ALICE, BODY) + _request("GET", "/who", BOB))
        assert [_read(responses), _read(responses)] == [["alice"], BOBS]


@pytest.mark.parametrize("server", UVICORNS, ids=lambda server: server.name)
def test_a_servers_line_about_later_bytes_names_nobody(server: Server) -> None:
    """
    S28: a line that the server writes about a connection after alice's upload is not alice's.
    """
    with running(server) as up:
        with up.connect() as connection, connection.makefile("rb") as responses:
            connection.sendall(_request("POST", "/upload", ALICE, BODY))
            assert _read(responses) == ["alice"]
            connection.sendall(b"\x00nonsense\r\n\r\n")
            # Until the server closes the connection.
            responses.read()
        with _connected(_port(up)) as another:
            lines = _ask(another, "GET", "/lines", {}).content
    about = [user for text, user in lines if "Invalid HTTP request" in text]
    assert about == [None]


NGINX = """
daemon off; error_log stderr; pid {folder}/pid; worker_processes 1;
events {{ }}
http {{
    access_log off; client_body_buffer_size 1m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream service {{ server 127.0.0.1:{service}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-User-ID $arg_user;
        }}
    }}
}}
"""


@contextmanager
def _nginx(service: int, folder: Path) -> Iterator[int]:
    """
    Run nginx in front of a service, with one upstream connection that it keeps.
    """
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, service=service, port=port), encoding="utf-8")
    process = subprocess.Popen([binary, "-c", str(file), "-p", str(folder)])
    try:
        for _ in range(100):
            try:
                with _connected(port) as connection:
                    _ask(connection, "GET", "/who", {})
                break
            except ConnectionRefusedError:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("server", UVICORNS, ids=lambda server: server.name)
def test_requests_through_one_kept_upstream_connection_are_their_own(
    server: Server, tmp_path: Path
) -> None:
    """
    S1, S28: behind nginx with a kept-alive upstream each request is whose the proxy says.
    """
    session = {"X-Session-ID": "chat-42", "X-User-ID": "mallory"}
    with running(server) as up, _nginx(_port(up), tmp_path) as port:
        for user in ("bob", "carol"):
            with _connected(port) as one:
                upload = _ask(one, "POST", "/upload?user=alice", session, BODY)
            with _connected(port) as other:
                who = _ask(other, "GET", f"/who?user={user}", session)
            assert upload.content == ["alice"]
            assert who.content == [user, "peer", user, NOTHING_OUTSIDE]
            assert who.session == "chat-42"

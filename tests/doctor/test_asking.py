"""
Requests over connections, servers and their command lines, each without a server.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from doctor.observing import options_for
from idlanyard._doctor._asking import Reply, send_probe, write_request
from idlanyard._doctor._entry import LAST_SESSION, ASGIEntry, make_entry
from idlanyard._doctor._observations import Probe
from idlanyard._doctor._options import dump_options
from idlanyard._doctor._over_server import read_json
from idlanyard._doctor._servers import (
    SERVERS,
    Running,
    find_port,
    find_server,
    is_free,
    write_command,
)
from idlanyard._doctor._target import CannotRun
from ports import free_port

PROBE = Probe(label="read", path="/a?b=1", headers=[("X-Session-ID", "s1")])
UVICORN, GUNICORN = (server for server in SERVERS if server.name in ("uvicorn", "gunicorn"))


def answered(*parts: bytes, is_closed: bool = True) -> Reply:
    """
    Return the reply that is read from these bytes.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.1)
        theirs.sendall(b"".join(parts))
        if is_closed:
            theirs.shutdown(socket.SHUT_WR)
        return send_probe(ours, PROBE, "localhost", is_last=False)


@pytest.mark.parametrize(
    ("parts", "is_closed", "status", "body", "fault"),
    [
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nyes"], True, 200, b"yes", "", id="a response"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nno end"], False, 200, b"", "", id="no end"),
        pytest.param([b""], True, 0, b"", "RemoteDisconnected", id="nothing"),
        pytest.param([b""], False, 0, b"", "TimeoutError", id="nothing in time"),
        pytest.param([b"rubbish\r\n\r\n"], True, 0, b"", "BadStatusLine", id="rubbish"),
    ],
)
def test_replies(parts: list[bytes], is_closed: bool, status: int, body: bytes, fault: str) -> None:
    """
    A response is read as far as it comes, and an error is words.
    """
    reply = answered(*parts, is_closed=is_closed)
    assert (reply.status, reply.body) == (status, body)
    assert reply.fault.startswith(fault)
    assert bool(reply.fault) == bool(fault)


def test_a_body_that_is_no_json_is_an_empty_mapping() -> None:
    """
    An application that answers on the path of ours is not believed.
    """
    assert read_json(Reply(200, [], b"<html>", "")) == {}
    assert read_json(Reply(200, [], b'["x"]', "")) == {}


def test_trailers_follow_a_chunked_body() -> None:
    """
    Header lines after the body are written as the protocol has them.
    """
    probe = Probe(label="trailer", method="POST", path="/", trailers=[("X-User-ID", "u")])
    text = write_request(probe, "localhost", is_last=True)
    assert text.endswith(b"2\r\n{}\r\n0\r\nX-User-ID: u\r\n\r\n")
    assert b"Connection: close\r\n" in text


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_each_command_line_names_the_port(server: object) -> None:
    """
    The address, the application and further words are in every command line.
    """
    assert isinstance(server, type(UVICORN))
    for kind in server.kinds:
        words = write_command(server, kind, 12345, "--log-config 'my log.json'")
        assert words[0] == sys.executable
        assert "12345" in " ".join(words)
        assert words[-2:] == ["--log-config", "my log.json"]
        assert ("asgi" in words) == (kind == "asgi" and server.name in ("gunicorn", "granian"))


def test_servers_are_found_by_protocol() -> None:
    """
    Left out, a server that is installed is taken; one that is not is named in a sentence.
    """
    assert find_server("asgi", "none") is None
    assert find_server("asgi", None) == UVICORN
    assert find_server("wsgi", "gunicorn") == GUNICORN
    sys.modules["waitress"], there = None, sys.modules.get("waitress")  # type: ignore[assignment]
    try:
        with pytest.raises(CannotRun, match="waitress is not installed: pip install waitress"):
            find_server("wsgi", "waitress")
    finally:
        del sys.modules["waitress"]
        if there is not None:
            sys.modules["waitress"] = there


def test_a_port_in_use_is_not_free() -> None:
    """
    A port that something listens on is not chosen, and one that is chosen is free.
    """
    assert is_free(find_port())
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert not is_free(port)


def test_a_server_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """
    A server that ignores the signal to end is ended by force; its lines are kept uncoloured.
    """
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('\\x1b[31mup\\x1b[0m', flush=True); signal.pause()"
    )
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=file)
    while b"up" not in output.read_bytes():
        assert process.poll() is None
    running = Running(UVICORN, 1, process, output)
    running.stop(patience=0.1)
    assert (process.returncode, running.output) == (-signal.SIGKILL, ["up"])


def test_a_server_that_takes_no_connection_is_given_up(tmp_path: Path) -> None:
    """
    A server that is alive and does not listen in time cannot be used.
    """
    output = tmp_path / "output"
    output.write_text("still loading", encoding="utf-8")
    with socket.socket() as held:
        # Held, so that nobody listens there meanwhile.
        held.bind(("127.0.0.1", 0))
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        running = Running(UVICORN, held.getsockname()[1], process, output)
        try:
            with pytest.raises(CannotRun, match="uvicorn did not start"):
                running.wait(0.2)
        finally:
            process.kill()
            process.communicate()


def test_the_entry_reads_a_whole_body() -> None:
    """
    The path of ours answers when the body is over, as trailers come with its end.
    """
    entry = make_entry(dump_options(options_for("doctor.apps.light:asgi")))
    messages = iter([{"more_body": True}, {"more_body": False}])
    sent: list[object] = []

    async def receive() -> object:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/idlanyard-doctor-0123/server",
        "headers": [(LAST_SESSION.lower().encode(), b"s1")],
    }
    assert isinstance(entry, ASGIEntry)
    asyncio.run(entry(scope, receive, send))
    assert (len(sent), next(messages, None)) == (2, None)

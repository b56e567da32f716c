"""
Many requests at once, clients that vanish, and servers that are killed: nobody becomes another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from attacks.test_raw_requests import SERVERS
from idlanyard import Policy, get_session_id, get_user_id, identify
from idlanyard.asgi import SessionContextMiddleware
from servers.launch import DEADLINE, Running, running
from servers.raw import ask

AT_ONCE = 10_000
STREAMS = 12


def test_ten_thousand_requests_at_once_keep_apart() -> None:
    """
    S28: of 10,000 requests that are all open at once, each reads its own IDs before and after.
    """
    wrong: list[str] = []

    async def run() -> None:
        barrier = asyncio.Barrier(AT_ONCE)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            number = scope["path"][1:]
            before = get_session_id(), get_user_id()
            await barrier.wait()
            identify(user_id=f"late-{number}")
            await barrier.wait()
            after = get_session_id(), get_user_id()
            if (before, after) != ((f"s{number}", number), (f"s{number}", f"late-{number}")):
                wrong.append(f"{number}: {before}, {after}")
            await send({"type": "http.response.start", "status": 200, "headers": []})

        served = SessionContextMiddleware(app, Policy(trusted_peers=["10.0.0.5"]))

        async def ask_one(number: str) -> None:
            lines = [(b"x-session-id", b"s" + number.encode()), (b"x-user-id", number.encode())]
            scope = {"type": "http", "method": "GET", "path": f"/{number}", "headers": lines}

            async def send(message: Any) -> None:
                if (b"x-session-id", lines[0][1]) not in message["headers"]:
                    wrong.append(f"{number}: {message}")

            await served(scope | {"client": ("10.0.0.5", 1)}, None, send)

        await asyncio.gather(*(ask_one(str(number)) for number in range(AT_ONCE)))

    asyncio.run(run())
    assert wrong == []


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.protocol)
def up(request: pytest.FixtureRequest) -> Iterator[Running]:
    """
    One server, for all the tests of this file.
    """
    with running(request.param) as started:
        yield started


@contextlib.contextmanager
def streaming(up: Running, session: str) -> Iterator[socket.socket]:
    """
    Open a stream and read the beginning of it, which says the session and no other.
    """
    with up.connect() as client:
        head = f"GET /streaming/ HTTP/1.1\r\nHost: x\r\nX-Session-ID: {session}\r\n\r\n"
        client.sendall(head.encode())
        received = b""
        while received.count(f"{session}\n".encode()) < 3:
            piece = client.recv(65536)
            assert piece, received
            received += piece
        body = received.partition(b"\r\n\r\n")[2].decode()
        said = {line for line in body.split() if line.startswith("s-")}
        # The last line of what has come may be cut.
        assert all(session.startswith(line) for line in said)
        yield client


def vanish(client: socket.socket) -> None:
    """
    Close a connection by a reset, as that of a client whose machine is gone.
    """
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_clients_that_vanish_leave_nobody_behind(up: Running) -> None:
    """
    S28: a stream whose client is gone ends with its own session, and the next request has another.
    """
    sessions = [f"s-{number:03}" for number in range(STREAMS)]
    for session in sessions:
        with streaming(up, session) as client:
            vanish(client)
        fresh = ask(up, "/closed/").json()["ids"]
        assert len(fresh["session_id"]) == 32
    deadline = time.monotonic() + DEADLINE
    while sorted(ask(up, "/telling/").json()["ended"]) != sessions:
        assert time.monotonic() < deadline, ask(up, "/telling/").body
    assert "idlanyard: " not in up.output.read_text(encoding="utf-8", errors="replace")


def test_a_process_that_is_killed_leaves_nobody_to_the_next() -> None:
    """
    S28: in the process that takes the place of one that was killed in the middle of a stream, no
    request has its session.
    """
    (gunicorn,) = [server for server in SERVERS if server.name == "gunicorn"]
    with running(gunicorn) as up, streaming(up, "s-killed") as client:
        process = ask(up, "/telling/").json()["process"]
        os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            while client.recv(1 << 20):
                pass
        deadline = time.monotonic() + DEADLINE
        while (answer := ask(up, "/telling/")).status != 200:
            assert time.monotonic() < deadline
        assert answer.json()["process"] != process
        assert answer.json()["ended"] == []
        assert len(ask(up, "/closed/").json()["ids"]["session_id"]) == 32

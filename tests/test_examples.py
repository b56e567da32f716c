"""
Every example is started for real, by the command at its top, and queried.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
DEADLINE = 30.0


def command_of(example: str, port: int) -> list[str]:
    """
    Return the command at the top of an example, on a free port, run by this Python.
    """
    text = EXAMPLES.joinpath(example).read_text(encoding="utf-8")
    found = re.search(r"^    (\S.*)$", text, re.MULTILINE)
    assert found is not None
    program, *words = shlex.split(found[1])
    words = [re.sub(r"\b8000\b", str(port), word) for word in words]
    if program == "python":
        return [sys.executable, *words]
    if program == "uvicorn":
        words += ["--port", str(port)]
    module = {"waitress-serve": "waitress"}.get(program, program)
    return [sys.executable, "-m", module, *words]


def free_port() -> int:
    """
    Return a port that nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quiet() -> dict[str, str]:
    """
    The environment without what would turn a server's own warnings into errors.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


@contextmanager
def running(example: str) -> Iterator[str]:
    """
    Start an example's server; its address is yielded once it answers.
    """
    port = free_port()
    process = subprocess.Popen(
        command_of(example, port),
        cwd=ROOT,
        env=quiet(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"{example} did not start: {process.communicate()[0]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def get(url: str, **headers: str) -> HTTPResponse:
    """
    Send one request; an error status is a response too.
    """
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        response: HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=lines), timeout=10
        )
    except urllib.error.HTTPError as error:
        return error  # type: ignore[return-value]
    return response


@pytest.mark.parametrize("example", ["asgi_app.py", "wsgi_app.py", "flask_app.py"])
def test_a_server_example_reads_and_echoes(example: str) -> None:
    """
    R5, R9: the example answers with the session it was sent, and strips a spoofed user.
    """
    with running(example) as address, get(address, X_Session_ID="s1", X_User_ID="root") as answer:
        assert answer.headers["X-Session-ID"] == "s1"
        assert answer.headers["X-User-ID"] is None
        assert json.load(answer) == {"session_id": "s1"}


def test_the_fastapi_example_believes_its_proxy_and_identifies() -> None:
    """
    R2, R6: user and tenant of the trusted proxy are believed, a 404 is echoed, a login named.
    """
    with running("fastapi_app.py") as address:
        with get(address, X_Session_ID="s1", X_User_ID="bob") as answer:
            assert json.load(answer) == {"session_id": "s1", "user_id": "bob"}
        with get(f"{address}/nowhere", X_Session_ID="s1") as answer:
            assert (answer.status, answer.headers["X-Session-ID"]) == (404, "s1")
        with get(f"{address}/me") as answer:
            assert json.load(answer) == {"user": "alice"}
            assert answer.headers["X-User-ID"] == "alice"


def test_the_starlette_example_streams_its_session() -> None:
    """
    R4: each part of the stream has the session.
    """
    with running("starlette_app.py") as address, get(address, X_Session_ID="s1") as answer:
        assert answer.read().decode() == "0 s1\n1 s1\n2 s1\n"


def test_the_script_sends_its_session() -> None:
    """
    S-A7: the script's session reaches the service, which echoes it.
    """
    with running("wsgi_app.py") as address:
        script = [sys.executable, str(EXAMPLES / "script.py"), address]
        result = subprocess.run(script, capture_output=True, text=True, check=True)
    sent, echoed = result.stdout.split()
    assert sent == echoed


def test_the_consumer_has_the_ids_of_who_asked() -> None:
    """
    R13: the job sees the IDs that the message carries, and nothing stays bound.
    """
    result = subprocess.run(
        command_of("consumer.py", 0), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == 'greet {"session_id": "chat-42", "user_id": "alice"}\nTrue\n'


def test_every_example_is_tested() -> None:
    """
    No example stands here without a test that starts it.
    """
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text] == []

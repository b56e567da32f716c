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
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

from idlanyard.signing import Signer
from ports import free_port

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
DEADLINE = 30.0
TEXTS = [page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md"))]
CURL = re.compile(
    r"^Or from outside, with (?P<examples>[^:]*):\n\n```bash\n(?P<curl>curl .*)\n```$", re.MULTILINE
)
CURLS = [found for text in TEXTS for found in CURL.finditer(text)]


def command_of(example: str, port: int) -> list[str]:
    """
    Return the command at the top of an example, on a free port, run by this Python.
    """
    text = EXAMPLES.joinpath(example).read_text(encoding="utf-8")
    found = re.search(r"^    (\S.*)$", text, re.MULTILINE)
    assert found is not None
    program, *words = shlex.split(found[1])
    if program == "uvicorn":
        words += ["--port", "8000"]
    return ported([program, *words], port)


def ported(command: list[str], port: int) -> list[str]:
    """
    Return a command on another port than 8000, run by this Python.
    """
    program, *words = (re.sub(r"\b8000\b", str(port), word) for word in command)
    if program == "python":
        return [sys.executable, *words]
    module = {"waitress-serve": "waitress"}.get(program, program)
    return [sys.executable, "-m", module, *words]


def quiet() -> dict[str, str]:
    """
    The environment without what would turn a server's own warnings into errors.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


@contextmanager
def running(
    example: str,
    command: list[str] | None = None,
    output: Path | None = None,
    **variables: str,
) -> Iterator[str]:
    """
    Start an example's server; its address is yielded once it answers.

    Args:
        example: its file.
        command: how to start it, where not by the command at its top.
        output: where what it prints goes.
        variables: what its environment has besides.
    """
    port = free_port()
    words = command_of(example, port) if command is None else ported(command, port)
    log = (output or Path(os.devnull)).open("wb")
    process = subprocess.Popen(words, cwd=ROOT, env=quiet() | variables, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"{example} did not start: run {' '.join(words)}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(DEADLINE)
        log.close()


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


@pytest.mark.parametrize(
    "example",
    [
        "asgi_app.py",
        "wsgi_app.py",
        "starlette_app.py",
        "flask_app.py",
        "litestar_app.py",
        "quart_app.py",
        "falcon_asgi_app.py",
        "falcon_wsgi_app.py",
        "bottle_app.py",
        "pyramid_app.py",
    ],
)
def test_a_server_example_reads_and_echoes(example: str) -> None:
    """
    R5, R9: the example answers with the session it was sent, strips a spoofed user, and its
    404 has the echo.
    """
    with running(example) as address:
        with get(address, X_Session_ID="s1", X_User_ID="root") as answer:
            assert answer.headers["X-Session-ID"] == "s1"
            assert answer.headers["X-User-ID"] is None
            assert json.load(answer) == {"session_id": "s1"}
        if example not in ("asgi_app.py", "wsgi_app.py"):
            with get(f"{address}/nowhere", X_Session_ID="s1") as answer:
                assert (answer.status, answer.headers["X-Session-ID"]) == (404, "s1")
        for line in CURLS:
            if example in line["examples"]:
                words = shlex.split(line["curl"].replace("http://127.0.0.1:8000", address))
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                assert re.search(r"^x-session-id: s1$", done.stdout, re.MULTILINE | re.IGNORECASE)


def test_every_line_of_curl_is_about_an_example() -> None:
    """
    The pages that call an example from outside name one that is called here.
    """
    named = [re.findall(r"examples/(\w+\.py)", line["examples"]) for line in CURLS]
    assert len(CURLS) == "".join(TEXTS).count("```bash\ncurl -i ") > 0
    assert {name for names in named for name in names} < {path.name for path in EXAMPLES.iterdir()}


@pytest.mark.parametrize("example", ["starlette_app.py", "litestar_app.py", "pyramid_app.py"])
def test_an_example_streams_its_session(example: str) -> None:
    """
    R4: each part of the stream has the session.
    """
    with running(example) as address, get(f"{address}/stream", X_Session_ID="s1") as answer:
        assert answer.read().decode() == "0 s1\n1 s1\n2 s1\n"


@pytest.mark.parametrize("example", ["litestar_app.py", "quart_app.py", "falcon_wsgi_app.py"])
def test_an_example_identifies(example: str) -> None:
    """
    R2: a login in a view names the user on its response.
    """
    with running(example) as address, get(f"{address}/me") as answer:
        assert json.load(answer) == {"user": "alice"}
        assert answer.headers["X-User-ID"] == "alice"


@pytest.mark.parametrize(
    "example", ["fastapi_app.py", "starlette_app.py", "flask_app.py", "django_app.py"]
)
def test_an_unhandled_error_has_the_session_on_the_response(example: str) -> None:
    """
    R9: the 500 that the framework writes has the echo; what it logs is its own.
    """
    with running(example) as address, get(f"{address}/boom", X_Session_ID="s1") as answer:
        assert (answer.status, answer.headers["X-Session-ID"]) == (500, "s1")


def test_the_fastapi_example_believes_its_proxy_and_identifies() -> None:
    """
    R2, R6: user and tenant of the trusted proxy are believed, and a login names its user.
    """
    with running("fastapi_app.py") as address:
        with get(address, X_Session_ID="s1", X_User_ID="bob") as answer:
            assert json.load(answer) == {"session_id": "s1", "user_id": "bob"}
        with get(f"{address}/me", Authorization="Bearer alice-s") as answer:
            assert json.load(answer) == {"user": "alice"}
            assert answer.headers["X-User-ID"] == "alice"
        with get(f"{address}/me", X_Session_ID="s1") as answer:
            assert (answer.status, answer.headers["X-Session-ID"]) == (401, "s1")


def test_the_flask_example_names_who_logs_in() -> None:
    """
    The response to a login has the user already, and so has what follows.
    """
    with running("flask_app.py") as address:
        with get(f"{address}/login/alice") as answer:
            assert answer.headers["X-User-ID"] == "alice"
            cookie = answer.headers["Set-Cookie"].split(";")[0]
        with get(address, Cookie=cookie) as answer:
            assert json.load(answer)["user_id"] == "alice"


def test_the_django_example_runs_under_its_own_server() -> None:
    """
    ``runserver`` believes the proxy, streams with the session, echoes a 404.
    """
    with running("django_app.py") as address:
        with get(address, X_Session_ID="s1", X_User_ID="bob") as answer:
            assert json.load(answer) == {"session_id": "s1", "user_id": "bob"}
            assert answer.headers.get_all("X-Session-ID") == ["s1"]
        with get(f"{address}/stream", X_Session_ID="s1") as answer:
            assert answer.read().decode() == "0 s1\n1 s1\n2 s1\n"
        with get(f"{address}/nowhere", X_Session_ID="s1") as answer:
            assert (answer.status, answer.headers["X-Session-ID"]) == (404, "s1")


FORMAT = "access=%({idlanyard.session_id}e)s,%({idlanyard.user_id}e)s"
UVICORN = ["uvicorn", "--app-dir", str(EXAMPLES), "--no-proxy-headers", "--port", "8000"]
GUNICORN = [
    "gunicorn",
    "--chdir",
    str(EXAMPLES),
    "--no-control-socket",
    "--access-logfile",
    "-",
    "--access-logformat",
    FORMAT,
    "-b",
    "127.0.0.1:8000",
]


@pytest.mark.parametrize(
    ("command", "logged"),
    [
        pytest.param([*GUNICORN, "django_app:application"], "access=s1,bob", id="gunicorn"),
        pytest.param(
            [*UVICORN, "--lifespan", "off", "django_app:asgi_application"], None, id="uvicorn"
        ),
    ],
)
def test_the_django_example_runs_under_other_servers(
    command: list[str], logged: str | None, tmp_path: Path
) -> None:
    """
    Gunicorn and uvicorn serve the same file; gunicorn's access line has the IDs.
    """
    output = tmp_path / "output"
    with (
        running("django_app.py", command, output) as address,
        get(address, X_Session_ID="s1", X_User_ID="bob") as answer,
    ):
        assert json.load(answer) == {"session_id": "s1", "user_id": "bob"}
        assert answer.headers.get_all("X-Session-ID") == ["s1"]
    assert logged is None or logged in output.read_text(encoding="utf-8")


def test_the_flask_example_has_the_ids_in_the_access_log(tmp_path: Path) -> None:
    """
    Under gunicorn the access line names who was identified in the view.
    """
    output = tmp_path / "output"
    command = [*GUNICORN, "flask_app:create_app()"]
    with (
        running("flask_app.py", command, output) as address,
        get(f"{address}/login/alice", X_Session_ID="s1") as answer,
    ):
        assert answer.headers["X-User-ID"] == "alice"
    assert "access=s1,alice" in output.read_text(encoding="utf-8")


def test_the_chat_takes_its_session_from_the_body() -> None:
    """
    Tenant and user come from the proxy, the session from the body; it is echoed, a
    conversation belongs to its user, and what is no ID is refused by the endpoint. Without one,
    or with an empty one, the middleware's ID is in force and names the conversation.
    """

    def say(address: str, session: object, user: str) -> tuple[int, str | None, object]:
        named = {} if session is ... else {"session_id": session}
        body = json.dumps({"text": "hi"} | named).encode()
        lines = {"Content-Type": "application/json", "X-User-ID": user, "X-Tenant-ID": "acme"}
        request = urllib.request.Request(f"{address}/chat", body, lines)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["X-Session-ID"], json.load(answer)["turns"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None, None

    with running("chat_body_session.py") as address:
        assert say(address, "chat-42", "alice") == (200, "chat-42", 1)
        assert say(address, "chat-42", "alice") == (200, "chat-42", 2)
        assert say(address, "chat-42", "bob") == (200, "chat-42", 1)
        for refused in ("no id", "x" * 300, "zo\u00eb", "\ud800", 7, True, ["s1"], {"id": "s1"}):
            assert say(address, refused, "alice")[0] == 422
        for absent in ("", None, ...):
            status, minted, turns = say(address, absent, "alice")
            assert (status, len(minted or ""), turns) == (200, 32, 1)
            assert say(address, minted, "alice") == (200, minted, 2)
        with get(f"{address}/chat") as answer:
            assert answer.status == 401


BAD_IDS: list[object] = ["conv 1", "a,b", "x" * 300, "Jos\u00e9", "\ud800", 42, True, ["s1"], {}]


def test_the_flask_chat_refuses_what_is_no_id() -> None:
    """
    The session is the body's, or the middleware's where the body has none; one that
    is no ID is answered 400, never 500, as is a body that is no such object.
    """

    def say(body: object, **lines: str) -> tuple[int, str | None, object]:
        named = {"X-User-ID": "alice", "X-Tenant-ID": "acme"} | lines
        named = {"Content-Type": "application/json"} | named
        request = urllib.request.Request(f"{address}/chat", json.dumps(body).encode(), named)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["X-Session-ID"], json.load(answer)["turns"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None, None

    hi = {"message": "hi"}
    with running("flask_body_app.py") as address:
        assert say(hi | {"session_id": "chat-42"}) == (200, "chat-42", 1)
        assert say(hi | {"session_id": "chat-42"}) == (200, "chat-42", 2)
        for bad in BAD_IDS:
            assert say(hi | {"session_id": bad})[0] == 400
        refused: list[object] = [{}, {"message": 7}, [], "hi", None]
        for body in refused:
            assert say(body)[0] == 400
        for absent in ({}, {"session_id": ""}, {"session_id": None}):
            status, minted, turns = say(hi | absent)
            assert (status, len(minted or ""), turns) == (200, 32, 1)
            assert say(hi | {"session_id": minted}) == (200, minted, 2)
        for line in ("Bob Smith", "Jos\u00e9", "a,b", "x" * 300, ""):
            assert say(hi, **{"X-User-ID": line})[0] == 401
            status, minted, _ = say(hi, **{"X-Session-ID": line})
            assert (status, len(minted or "")) == (200, 32)


def test_a_middleware_of_ones_own_takes_no_bad_session() -> None:
    """
    Seed C, 4: a client's value is the session where it is an ID, and counts as none where it is
    not; the background task has the session of its request.
    """
    sessions = []
    with running("session_middleware.py") as address:
        for value in ("s1", "a b", "a,b", "{x}", "Jos\u00e9", "x" * 300, "", "_", "s1\r\nx: y"):
            with get(f"{address}/?session={urllib.parse.quote(value)}") as answer:
                sessions.append(json.load(answer)["session_id"])
                assert answer.headers["X-Session-ID"] == sessions[-1]
        assert sessions[0] == "s1"
        assert {len(session) for session in sessions[1:]} == {32}
        for value in ("a b", "Jos\u00e9", "{x}"):
            with get(address, X_Session_ID=value) as answer:
                assert (answer.status, len(answer.headers["X-Session-ID"])) == (200, 32)
                sessions.append(answer.headers["X-Session-ID"])
        # Work goes on after its response, and may end after the next one's.
        done: list[str] = []
        for _ in range(1_000):
            with get(f"{address}/done") as answer:
                done = json.load(answer)
            if len(done) == len(sessions):
                break
        assert sorted(done) == sorted(sessions)


def test_the_workflow_is_its_conversations() -> None:
    """
    Seed B: every node of two workflows at once has its own session, and so has a stream that is
    read outside the block in which it was made, without leaving it with the reader.
    """
    result = subprocess.run(
        command_of("langgraph_workflow.py", 0),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.splitlines() == [
        "order 7 is on its way (session chat-1, user alice)",
        "order 8 is on its way (session chat-2, user bob)",
        "look_up ... True",
        "write order 9 is on its way (session chat-3, user carol) True",
    ]


def test_one_service_vouches_for_a_user_to_another() -> None:
    """
    S1, S23: the service that verifies believes the one that signs, for its own user and for
    nobody else; a third that has no key is refused, whatever it sends.
    """
    key = "a key that the gateway and the billing service know"
    with (
        running("verifying_service.py", SIGNING_KEYS=key) as billing,
        running("signing_gateway.py", SIGNING_KEYS=key, BILLING_URL=billing) as gateway,
        running("signing_gateway.py", SIGNING_KEYS=key[::-1], BILLING_URL=billing) as third,
    ):
        with get(f"{gateway}/invoices", Authorization="Bearer alice-s") as answer:
            ids = json.load(answer)
        assert (ids["user_id"], ids["user_is"]) == ("alice", "signed")
        for forged in ({}, {"X_User_ID": "alice"}, {"X_Signed_User_ID": "alice"}):
            for caller in (billing, gateway):
                with get(f"{caller}/invoices", **forged) as answer:
                    assert answer.status == 401
        with get(f"{third}/invoices", Authorization="Bearer alice-s") as answer:
            assert answer.status == 401
        for wrong in (
            Signer(keys=[key], audience=gateway).sign("user_id", "alice", billing),
            Signer(keys=[key[::-1]]).sign("user_id", "alice", billing),
        ):
            with get(f"{billing}/invoices", X_Signed_User_ID=wrong) as answer:
                assert answer.status == 401
        right = Signer(keys=[key]).sign("user_id", "bob", billing)
        with get(f"{billing}/invoices", X_Signed_User_ID=right) as answer:
            assert json.load(answer)["user_id"] == "bob"


def test_the_script_sends_its_session() -> None:
    """
    The script's session reaches the service, which echoes it.
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
    elsewhere = (ROOT / "tests").glob("*/test_*.py")
    tests = [Path(__file__), *elsewhere]
    text = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text] == []

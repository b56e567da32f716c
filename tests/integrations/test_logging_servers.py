"""
The lines that real servers write: access lines, tracebacks, and what they say of themselves.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers.launch import DEADLINE, LISTEN, Running, Server, running
from servers.raw import ask

TESTS = Path(__file__).parents[1]
ASGI = "integrations.apps.logging_apps:asgi"
WSGI = "integrations.apps.logging_apps:wsgi"
LINE = "line %(session_id)s %(user_id)s %(name)s %(message)s"
FORMATTER = "idlanyard.integrations.logging.SessionContextFormatter"
UVICORN_ACCESS = {
    "()": "uvicorn.logging.AccessFormatter",
    "fmt": "access %(session_id)s %(user_id)s %(request_line)s %(status_code)s",
}
WERKZEUG = """
from integrations.apps.logging_apps import wsgi
from werkzeug.serving import run_simple
run_simple("127.0.0.1", {port}, wsgi)
"""
WAITRESS = ("-m", "waitress", "--listen=127.0.0.1:{port}", WSGI)


def configuration(name: str, access: dict[str, Any]) -> dict[str, Any]:
    """
    The logging of a server, for ``logging.config.dictConfig``.
    """
    stream = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    loggers = [(f"{name}.error", "own"), (f"{name}.access", "access")]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "root": {"level": "INFO", "handlers": []},
        "formatters": {"own": {"class": FORMATTER, "format": LINE}, "access": access},
        "handlers": {which: stream | {"formatter": which} for which in ("own", "access")},
        "loggers": {
            logger: {"handlers": [which], "level": "INFO", "propagate": False, "qualname": logger}
            for logger, which in loggers
        },
    }


Serving = Callable[..., Any]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serving:
    """
    Starts a server that finds our applications and, as ``{config}``, its logging.
    """
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    @contextmanager
    def serve(name: str, *words: str, access: dict[str, Any] | None = None) -> Iterator[Running]:
        path = tmp_path / "logging.json"
        path.write_text(json.dumps(configuration(name, access or {"format": "%(message)s"})))
        command = tuple(word.replace("{config}", str(path)) for word in words)
        with running(Server(name, command, "")) as up:
            yield up

    return serve


def lines(up: Running, *expected: str) -> str:
    """
    Return the server's output, once each of the *expected* lines is in it.
    """
    deadline = time.monotonic() + DEADLINE
    while True:
        text = up.output.read_text(encoding="utf-8", errors="replace")
        missing = [line for line in expected if line not in text]
        if not missing:
            return text
        assert time.monotonic() < deadline, f"{missing} not in\n{text[:4000]}"
        ask(up, "/again")


def ask_both(up: Running) -> None:
    """
    Ask for what works, and for what breaks.
    """
    assert ask(up, "/", [("X-Session-ID", "s1")]).status == 200
    assert ask(up, "/boom", [("X-Session-ID", "s2")]).status in (0, 500)


def test_uvicorn(serving: Serving) -> None:
    """
    Uvicorn's access lines and tracebacks carry the IDs.
    """
    words = ("-m", "uvicorn", ASGI, "--lifespan", "off", *LISTEN)
    with serving("uvicorn", *words, "--log-config", "{config}", access=UVICORN_ACCESS) as up:
        ask_both(up)
        lines(
            up,
            "line - - uvicorn.error Uvicorn running on",
            "line s1 alice app at /",
            "access s1 alice GET / HTTP/1.1 200",
            "line s2 alice uvicorn.error Exception in ASGI application",
            # It answers an error that leaves the application itself, when the request is over.
            "access None None GET /boom HTTP/1.1 500",
        )


PAGE = TESTS.parent.joinpath("docs", "logging.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
BARE = """
import logging
from idlanyard import identify
from idlanyard.asgi import SessionContextMiddleware

async def app(scope, receive, send):
    logging.getLogger("shop").info("before")
    identify(user_id="alice")
    logging.getLogger("shop").info("an order")
    if scope["path"] == "/boom":
        raise LookupError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

app = SessionContextMiddleware(app)
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    The folder of an application that knows nothing of logging.
    """
    tmp_path.joinpath("shop.py").write_text(BARE)
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", paths)
    return tmp_path


def test_the_file_of_the_page_for_uvicorn(bare: Path) -> None:
    """
    Copied as it stands, the application's lines are there, access lines keep what
    uvicorn's own have, an unset ID is a dash, and nothing else has to be installed.
    """
    config = bare / "logging.json"
    config.write_text(FILES[0])
    words = ("-m", "uvicorn", "shop:app", "--lifespan", "off", *LISTEN)
    with running(Server("uvicorn", (*words, "--log-config", str(config)), "")) as up:
        ask_both(up)
        text = lines(
            up,
            "INFO:     - - uvicorn.error Uvicorn running on",
            "INFO:     s1 - shop before",
            "INFO:     s1 alice shop an order",
            "ERROR:    s2 alice uvicorn.error Exception in ASGI application",
        )
    access = r'INFO:     s1 alice 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK'
    assert re.search(access, text), text
    assert "None" not in text
    assert "Formatting field not found" not in text


def test_the_file_of_the_page_for_uvicorn_under_gunicorn(bare: Path) -> None:
    """
    Gunicorn's worker of uvicorn writes its access lines by gunicorn's own file.
    """
    config = bare / "logging.json"
    config.write_text(FILES[1])
    words = (
        *("-m", "gunicorn", "shop:app", "--no-control-socket", "-b", "127.0.0.1:{port}"),
        *("-k", "uvicorn_worker.UvicornWorker", "--log-config-json", str(config)),
    )
    with running(Server("gunicorn", words, "")) as up:
        ask_both(up)
        text = lines(
            up,
            "- - gunicorn.error Booting worker",
            "s1 alice shop an order",
            "s2 alice uvicorn.error Exception in ASGI application",
        )
    access = r's1 alice uvicorn\.access 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200'
    assert re.search(access, text), text


ATOMS = "access %({x-session-id}o)s %({idlanyard.session_id}e)s %({idlanyard.user_id}e)s %(s)s"


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn(serving: Serving, worker: str) -> None:
    """
    Gunicorn's access lines by header and environ, its tracebacks, its master.
    """
    words = (
        *(
            "-m",
            "gunicorn",
            WSGI,
            "--no-control-socket",
            "-k",
            worker,
        ),
        *("-b", "127.0.0.1:{port}", "--access-logfile", "-", "--access-logformat", ATOMS),
    )
    with serving("gunicorn", *words, "--log-config-json", "{config}") as up:
        ask_both(up)
        lines(
            up,
            "line - - gunicorn.error Listening at",
            "line - - gunicorn.error Booting worker",
            "access s1 s1 alice 200",
            "line s2 alice gunicorn.error Error handling request",
            # It answers an unhandled error itself, and writes the line from an environ of its own.
            "access - - - 500",
        )


def test_gunicorn_asgi(serving: Serving) -> None:
    """
    Gunicorn's ASGI worker knows the response's headers, but no environ.
    """
    words = (
        *(
            "-m",
            "gunicorn",
            ASGI,
            "--no-control-socket",
            "-k",
            "asgi",
        ),
        *("-b", "127.0.0.1:{port}", "--access-logfile", "-", "--access-logformat", ATOMS),
    )
    with serving("gunicorn", *words, "--log-config-json", "{config}") as up:
        ask_both(up)
        lines(up, "access s1 - - 200", "line s2 alice gunicorn.error")


def test_hypercorn(serving: Serving) -> None:
    """
    Hypercorn's access lines have the response's header, its tracebacks the IDs.
    """
    words = (
        *("-m", "hypercorn", ASGI, "-b", "127.0.0.1:{port}"),
        *("--access-logfile", "-", "--access-logformat", "access %({x-session-id}o)s %(s)s"),
    )
    with serving("hypercorn", *words, "--log-config", "json:{config}") as up:
        ask_both(up)
        ask(up, "/breaks", [("X-Session-ID", "s3")])
        lines(
            up,
            "access s1 200",
            "line s2 alice hypercorn.error Error in ASGI Framework",
            "line s3 alice hypercorn.error Error in ASGI Framework",
            # Of a stream that broke it knows neither status nor headers any more.
            "access - -",
        )


def test_daphne(serving: Serving) -> None:
    """
    Seeds, finding 10: daphne's tracebacks have the IDs, its access lines cannot.
    """
    words = ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "--access-log", "-")
    with serving("daphne", *words, ASGI) as up:
        ask_both(up)
        text = lines(
            up,
            "line s1 alice app at /",
            "line s2 alice daphne.server Exception inside application",
            '"GET /boom" 500',
        )
    assert not [line for line in text.splitlines() if '"GET /' in line and "alice" in line]


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_granian_cannot(serving: Serving, protocol: str) -> None:
    """
    Seeds, finding 10: granian writes access lines and tracebacks from its own side, as text.
    """
    words = ("-m", "granian", "--interface", protocol, *LISTEN, "--access-log")
    with serving("granian", *words, f"integrations.apps.logging_apps:{protocol}") as up:
        ask_both(up)
        text = lines(up, "line s2 alice app at /boom", "/boom HTTP/1.1", "Boom")
    own = [line for line in text.splitlines() if "HTTP/1.1" in line or "callable raised" in line]
    assert own
    assert not [line for line in own if "alice" in line]


def test_waitress(serving: Serving) -> None:
    """
    Defect 4.19: waitress, which has no access lines, writes its tracebacks with the IDs.
    """
    with serving("waitress", *WAITRESS) as up:
        ask_both(up)
        lines(up, "line s1 alice app at /", "line s2 alice waitress Exception while serving /boom")


def test_werkzeug_cannot(serving: Serving) -> None:
    """
    Werkzeug writes access lines and tracebacks as text, when all is over.
    """
    with serving("werkzeug", "-c", WERKZEUG) as up:
        ask_both(up)
        text = lines(
            up, "line s1 alice app at /", "line s2 alice app at /boom", "Error on request:"
        )
    assert "line - - werkzeug 127.0.0.1" in text
    assert "alice werkzeug" not in text

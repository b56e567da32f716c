"""
Django behind real servers: which lines have the IDs, as docs/django.md says.
"""

from __future__ import annotations

import pytest

from integrations.test_logging_servers import UVICORN_ACCESS, Serving, lines, serving
from servers.launch import LISTEN, Running
from servers.raw import ask

__all__ = ["serving"]

SENT = [("X-Session-ID", "s1"), ("X-User-ID", "alice")]
APP = "integrations.apps.django_logged"
BIND = ("-b", "127.0.0.1:{port}")
ATOMS = "access %({x-session-id}o)s %({idlanyard.session_id}e)s %({idlanyard.user_id}e)s %(s)s"
GUNICORN = ("--access-logfile", "-", "--access-logformat", ATOMS, *BIND)
UVICORN = ("--lifespan", "off", *LISTEN, "--log-config", "{config}")
HYPERCORN = ("--access-logfile", "-", "--access-logformat", "access %({x-session-id}o)s %(s)s")
DAPHNE = ("-b", "127.0.0.1", "-p", "{port}", "--access-log", "-")
RUNSERVER = """
import sys
from integrations.apps import django_logged_settings
django_logged_settings.WSGI_APPLICATION = "integrations.apps.django_logged.{app}"
from django.core.management import execute_from_command_line
words = ["django", "runserver", "--settings", "integrations.apps.django_logged_settings"]
execute_from_command_line([*words, "--noreload", "--skip-checks", "127.0.0.1:{{port}}"])
"""
OURS = [
    "line s1 alice shop at home",
    "line s1 alice django.request Not Found: /nowhere",
    "line s1 alice django.request Service Unavailable: /busy",
    "line s1 alice django.request Service Unavailable: /awaited",
    "line s1 alice django.request Internal Server Error: /boom",
    "line s1 alice django.request I'm a Teapot: /stream",
    "line s1 alice shop in the stream of s1",
]
SERVERS = [
    pytest.param(
        ("-m", "gunicorn", f"{APP}:wsgi", "--no-control-socket", *GUNICORN),
        ["access s1 s1 alice 404", "access s1 s1 alice 503", "access s1 s1 alice 418"],
        id="gunicorn",
    ),
    pytest.param(
        ("-m", "gunicorn", f"{APP}:asgi", "--no-control-socket", "-k", "asgi", *GUNICORN),
        ["access s1 - - 404", "access s1 - - 503"],
        id="gunicorn, ASGI",
    ),
    pytest.param(
        ("-m", "uvicorn", f"{APP}:asgi", *UVICORN),
        ["access None None GET /nowhere HTTP/1.1 404"],
        id="uvicorn",
    ),
    pytest.param(
        ("-m", "uvicorn", f"{APP}:asgi_around", *UVICORN),
        ["access s1 alice GET /nowhere HTTP/1.1 404"],
        id="uvicorn, wrapped",
    ),
    pytest.param(
        ("-m", "hypercorn", f"{APP}:asgi", *HYPERCORN, *BIND),
        ["access s1 404", "access s1 503"],
        id="hypercorn",
    ),
    pytest.param(("-m", "daphne", *DAPHNE, f"{APP}:asgi"), ['"GET /nowhere" 404'], id="daphne"),
    pytest.param(("-m", "waitress", "--listen=127.0.0.1:{port}", f"{APP}:wsgi"), [], id="waitress"),
    pytest.param(
        ("-c", RUNSERVER.format(app="wsgi")),
        [
            'line s1 alice django.server "GET /nowhere HTTP/1.1" 404',
            'line s1 alice django.server "GET /boom HTTP/1.1" 500',
            'line s1 alice django.server "GET /stream HTTP/1.1" 418',
        ],
        id="runserver",
    ),
    pytest.param(
        ("-c", RUNSERVER.format(app="wsgi_around")),
        ['line s1 alice django.server "GET /nowhere HTTP/1.1" 404'],
        id="runserver, wrapped",
    ),
]


def ask_all(up: Running) -> None:
    """
    Ask for what Django logs lines about.
    """
    for route in ("/", "/nowhere", "/busy", "/awaited", "/boom", "/stream"):
        answer = ask(up, route, SENT)
        assert answer.status, up.output.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize(("words", "access"), SERVERS)
def test_the_lines_of_a_request(
    serving: Serving, words: tuple[str, ...], access: list[str]
) -> None:
    """
    Promise 1: whatever serves it, the lines of Django and of its views have the IDs, once each.
    """
    with serving("uvicorn", *words, access=UVICORN_ACCESS) as up:
        ask_all(up)
        text = lines(up, *OURS, *access)
    assert sorted(line for line in text.splitlines() if line in OURS) == sorted(OURS)


KEPT = (
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-ID: one\r\n\r\n"
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-ID: two\r\n\r\n"
    b"nonsense\r\n\r\n"
)


def test_each_line_of_a_kept_connection_of_runserver_is_of_its_request(serving: Serving) -> None:
    """
    Of two requests and nonsense on one connection each access line has its own IDs, or none.
    """
    words = ("-c", RUNSERVER.format(app="wsgi"))
    with serving("uvicorn", *words, access=UVICORN_ACCESS) as up:
        with up.connect() as connection:
            connection.sendall(KEPT)
            while connection.recv(65536):
                pass
        text = lines(
            up,
            'line one - django.server "GET / HTTP/1.1" 200',
            'line two - django.server "GET / HTTP/1.1" 200',
            '"nonsense" 400',
        )
    about = [line for line in text.splitlines() if "nonsense" in line]
    assert [line for line in about if not line.startswith("line - - django.server")] == []

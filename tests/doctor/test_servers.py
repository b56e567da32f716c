"""
Each server that the doctor starts is described as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doctor.running import run
from idlanyard._doctor._servers import SERVERS
from ports import free_port

TESTS = Path(__file__).parents[1]
KINDS = [(server.name, kind) for server in SERVERS for kind in server.kinds]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_each_server_is_started_and_asked(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Under each, the IDs come back; and only granian's WSGI lets an alias stand for a header.
    """
    monkeypatch.chdir(TESTS)
    words = ("--json", "--server", name, "--port", str(free_port()), "--path", "/")
    done = run(*words, f"doctor.apps.light:{kind}")
    document = json.loads(done.out)
    found = {check["name"]: check for check in document["checks"]}
    assert document["server"] == name
    assert {found[one]["verdict"] for one in ("mint", "read", "echo-200", "context")} == {"ok"}
    conflates = (name, kind) == ("granian", "wsgi")
    assert ("passes X_User_ID" in found["conflation"]["seen"]) == conflates
    rewrites = name == "uvicorn"
    assert (found["peer"]["verdict"] == "red") == rewrites
    assert found["access-lines"]["verdict"] == ("not applicable" if name == "waitress" else "red")


def test_the_words_for_access_lines_mend_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    gunicorn, started with the words that the check says to write, has the ID in its lines.
    """
    monkeypatch.chdir(TESTS)
    words = ("--json", "--server", "gunicorn", "--only", "access-lines")
    red = json.loads(run(*words, "--port", str(free_port()), "doctor.apps.light:wsgi").out)
    write = red["checks"][0]["write"].removeprefix("start gunicorn with ")
    more = ("--port", str(free_port()), "--server-options", write)
    green = json.loads(run(*words, *more, "doctor.apps.light:wsgi").out)
    assert (red["status"], green["status"]) == (1, 0)

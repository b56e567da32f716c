"""
The benchmarks run, and every candidate does the work that it is measured for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import candidates
import driving


@pytest.mark.parametrize("name", candidates.ASGI)
def test_an_asgi_candidate_does_its_work(name: str) -> None:
    """
    Every candidate echoes the session, and the bare application and the pass-through do not.
    """
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "headers": [(b"x-session-id", b"s1"), (b"x-user-id", b"u1")],
        "client": ("10.0.0.5", 1),
        "chunks": 2,
    }
    coroutine = candidates.ASGI[name](candidates.asgi_app)(scope, None, send)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    echo = [value for key, value in sent[0]["headers"] if key.startswith(b"x-")]
    assert echo == ([] if name in ("bare", "pass-through") else [b"s1", b"u1"])
    assert len(sent) == 3


@pytest.mark.parametrize("name", candidates.WSGI)
@pytest.mark.parametrize("chunks", [0, 2], ids=["list", "generator"])
def test_a_wsgi_candidate_does_its_work(name: str, chunks: int) -> None:
    """
    Every candidate echoes the session, and the bare application does not.
    """
    started: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        started.extend(headers)

    environ = {"HTTP_X_SESSION_ID": "s1", "REMOTE_ADDR": "10.0.0.5", "chunks": chunks}
    body = list(candidates.WSGI[name](candidates.wsgi_app)(environ, start_response))
    echo = [value for key, value in started if key.startswith("X-")]
    assert echo == ([] if name == "bare" else ["s1"])
    assert len(body) == max(1, chunks)


@pytest.mark.parametrize("path", driving.IDS)
def test_the_drivers_drive(path: str) -> None:
    """
    Each path is measured for every candidate, against the bare application of the same run.
    """
    asgi = {
        name: make(candidates.copied(candidates.asgi_app)) for name, make in candidates.ASGI.items()
    }
    wsgi = {
        name: make(candidates.copied(candidates.wsgi_app)) for name, make in candidates.WSGI.items()
    }
    for drive, apps, chunks in ((driving.drive_asgi, asgi, 1), (driving.drive_wsgi, wsgi, 0)):
        costs = driving.added(apps, drive, path, rounds=2, chunks=chunks)
        assert costs.keys() == apps.keys()
        assert costs["bare"] == 0
    assert driving.drive_loop(asgi["idlanyard"], 2, path, 5, 1) > 0

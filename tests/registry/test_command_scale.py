"""
Thousands of sessions, moved by the command as a process: there and back, and through outages.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from registry.commanding import COMMAND, Done, kept_in, process, put_into, sample
from registry.creating import PATIENCE
from registry.naming import eventually
from registry.postgres import PostgreSQL, database, own_server, postgres
from registry.valkey import Valkey

__all__ = ["database", "own_server", "postgres"]

SESSIONS = 10_000
PATIENTLY = ("--timeout", str(PATIENCE))


def test_many_sessions_come_back_as_they_were(tmp_path: Path, database: str) -> None:
    """
    Through SQLite, PostgreSQL and Valkey and back, every record is what it was.
    """
    before = {kept.session_id: kept for kept in sample(SESSIONS)}
    first, last = (f"sqlite:///{tmp_path}/{name}.db" for name in ("first", "last"))
    put_into(first, before.values())
    with Valkey() as valkey:
        for source, target in itertools.pairwise((first, database, valkey.url, last)):
            assert process("move", source, target, *PATIENTLY) == Done(
                0, f"moved {SESSIONS} sessions (0 taken, 0 expired, 0 ended)\n", ""
            )
            assert process("count", source).out == "0\n"
            assert process("count", target).out == f"{SESSIONS}\n"
    assert kept_in(last) == before


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_is_killed_meanwhile(
    tmp_path: Path, own_server: PostgreSQL, side: str
) -> None:
    """
    A move whose PostgreSQL is killed ends with the status 3, and the next one completes it.
    """
    before = {kept.session_id: kept for kept in sample(3000)}
    file = f"sqlite:///{tmp_path}/x.db"
    places = (own_server.url, file) if side == "source" else (file, own_server.url)
    put_into(places[0], before.values())
    words = [*COMMAND, "move", *places, "--timeout", "10"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        eventually(lambda: len(kept_in(places[0])) < 2500)
        own_server.kill()
        _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 3
    assert err.startswith(b"postgresql://127.0.0.1")
    own_server.start()
    assert process("move", *places, "--timeout", "10").status == 0
    assert kept_in(places[1]) == before
    assert kept_in(places[0]) == {}

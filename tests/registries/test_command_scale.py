"""
Ten thousand sessions, moved by the command as a process from store to store and back.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from registries.commanding import Done, kept_in, process, put_into, sample
from registries.postgres import database, postgres
from registries.valkey import Valkey

__all__ = ["database", "postgres"]

SESSIONS = 10_000


def test_many_sessions_come_back_as_they_were(tmp_path: Path, database: str) -> None:
    """
    Issue 11: through SQLite, PostgreSQL and Valkey and back, every record is what it was.
    """
    before = {kept.session_id: kept for kept in sample(SESSIONS)}
    first, last = (f"sqlite:///{tmp_path}/{name}.db" for name in ("first", "last"))
    put_into(first, before.values())
    with Valkey() as valkey:
        for source, target in itertools.pairwise((first, database, valkey.url, last)):
            assert process("move", source, target) == Done(
                0, f"moved {SESSIONS} sessions (0 taken, 0 expired, 0 ended)\n", ""
            )
            assert process("count", source).out == "0\n"
            assert process("count", target).out == f"{SESSIONS}\n"
    assert kept_in(last) == before

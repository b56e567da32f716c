"""
Files of ``sqlite://`` as tests handle them: by hand, locked, removed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable

IN_TIME = 60.0
OUT_OF_TIME = 0.1


@contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    """
    Lend a connection that is none of ours.
    """
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as one:
        yield one


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], object]]:
    """
    Lock the file for writers during the block, or until the function that it yields is called.
    """
    with by_hand(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield lambda: connection.execute("ROLLBACK")


def let_expire(connection: sqlite3.Connection, count: int) -> None:
    """
    Leave many sessions that have expired.
    """
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO idlanyard_sessions (key, session_id, metadata, created, expires) "
        "SELECT randomblob(32), 's' || i, '{}', 0, i FROM n",
        (count,),
    )


def count_of(connection: sqlite3.Connection, condition: str = "true") -> int:
    """
    Return how many sessions are there, expired or not.
    """
    sql = f"SELECT count(*) FROM idlanyard_sessions WHERE {condition}"
    return int(connection.execute(sql).fetchone()[0])


def remove(path: Path) -> None:
    """
    Remove a database and what belongs to it.
    """
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def cause_of(call: Callable[[], object]) -> str:
    """
    Return why the store is unavailable.
    """
    with pytest.raises(RegistryUnavailable) as raised:
        call()
    assert raised.value.scheme == "sqlite"
    return str(raised.value.__cause__)


def fault_of(call: Callable[[], object]) -> str:
    """
    Return what waiting will not mend.
    """
    with pytest.raises(RegistryMisconfigured) as raised:
        call()
    assert raised.value.scheme == "sqlite"
    return raised.value.fault


def leave(connection: sqlite3.Connection, *, reads_only: bool, seconds: float) -> None:
    """
    Prepare nothing.
    """

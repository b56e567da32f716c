"""
What was acknowledged is there after a kill, whatever the store and whoever is killed.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from registry.killing import Outcome, kill_clients, kill_servers
from registry.postgres import PostgreSQL, database, own_server, postgres
from registry.valkey import Valkey, valkey

__all__ = ["database", "own_server", "postgres", "valkey"]

KILLS = 50


@pytest.fixture
def chance() -> random.Random:
    """
    Return the moments of the kills, by the seed that pytest-randomly says.
    """
    return random.Random(random.getrandbits(64))


def assert_nothing_was_lost(outcome: Outcome) -> None:
    """
    Every acknowledged session is there, every session there is whole, and creates were cut off.
    """
    assert len(outcome.kills) == KILLS
    assert outcome.lost == []
    assert outcome.unsound == []
    assert outcome.acknowledged
    assert outcome.unanswered


def test_a_killed_process_loses_nothing_in_sqlite(tmp_path: Path, chance: random.Random) -> None:
    """
    50 x kill -9 in a create, and SQLite has what was acknowledged, unlocked, sound.
    """
    path = tmp_path / "sessions.db"
    assert_nothing_was_lost(kill_clients([f"sqlite:///{path}"] * KILLS, chance=chance))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_process_killed_while_it_makes_the_file_harms_nothing(
    tmp_path: Path, chance: random.Random
) -> None:
    """
    Kill -9 in the first create of all leaves a file that the next process can use.
    """
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(KILLS)]
    outcome = kill_clients(urls, chance=chance, most=0, longest=0.02)
    assert (outcome.lost, outcome.unsound) == ([], [])


def test_a_killed_process_loses_nothing_in_postgresql(database: str, chance: random.Random) -> None:
    """
    50 x kill -9 in a create, and PostgreSQL has what was acknowledged.
    """
    assert_nothing_was_lost(kill_clients([database] * KILLS, chance=chance))


def test_a_killed_process_loses_nothing_in_valkey(valkey: str, chance: random.Random) -> None:
    """
    50 x kill -9 in a create, and Valkey has what was acknowledged.
    """
    assert_nothing_was_lost(kill_clients([valkey] * KILLS, chance=chance))


def test_a_killed_postgresql_loses_nothing(own_server: PostgreSQL, chance: random.Random) -> None:
    """
    PostgreSQL killed 50 x in a create has what was acknowledged when it is back.
    """
    assert_nothing_was_lost(kill_servers(own_server, times=KILLS, chance=chance))


def test_a_killed_valkey_that_syncs_always_loses_nothing(chance: random.Random) -> None:
    """
    With appendfsync always a killed Valkey has what was acknowledged.
    """
    with Valkey(appendonly="yes", appendfsync="always") as server:
        assert_nothing_was_lost(kill_servers(server, times=KILLS, chance=chance))


def test_a_killed_valkey_that_persists_nothing_has_nothing(chance: random.Random) -> None:
    """
    A Valkey that persists nothing has lost all when it is back, and says so.
    """
    with Valkey() as server:
        outcome = kill_servers(server, times=3, chance=chance)
    assert len(outcome.lost) == outcome.acknowledged > 0
    assert outcome.unsound == []

"""
Of many that create the same session at once, one does, whatever the store.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.postgres import database, postgres
from registry.racing import Outcome, race_here, race_of
from registry.valkey import cluster, valkey

__all__ = ["cluster", "database", "postgres", "valkey"]

IDS = 10_000
# A create takes these the longest, and every round of 250 is a race of its own.
FEWER_IDS = {"postgresql": 2_000, "cluster": 2_000}
BEGINNINGS = 20
BOTH = pytest.mark.parametrize("awaited", [False, True], ids=["threads", "tasks"])


@pytest.fixture(params=["sqlite", "postgresql", "valkey", "cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    """
    Return the name of a store that processes share.
    """
    return str(request.param)


@pytest.fixture
def ids(kind: str) -> int:
    """
    Return how many sessions to create in it.
    """
    return FEWER_IDS.get(kind, IDS)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """
    Return its URL.
    """
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.db"
    return str(request.getfixturevalue("database" if kind == "postgresql" else kind))


def assert_each_was_created_once(outcome: Outcome) -> None:
    """
    Of all attempts at an ID one created it, and every other was told that it exists.
    """
    created, refused, others = outcome.tally
    attempts = len(outcome.names) * outcome.workers * len(outcome.tallies)
    assert others == []
    assert sorted(created) == sorted(outcome.names)
    assert len(created) + refused == attempts
    # Otherwise nobody raced.
    assert all(tally.created for tally in outcome.tallies)


def test_of_two_processes_with_eight_threads_one_creates(url: str, ids: int) -> None:
    """
    2 x 8 threads create the same thousands of IDs, each once, else SessionExists.
    """
    assert_each_was_created_once(race_of(url, ids=ids))


def test_of_two_processes_with_eight_tasks_one_creates(url: str, ids: int) -> None:
    """
    2 x 8 tasks create the same IDs, each once, and else SessionExists.
    """
    assert_each_was_created_once(race_of(url, ids=ids // 4, awaited=True))


@BOTH
def test_the_first_questions_race_too(url: str, awaited: bool) -> None:
    """
    Eight that ask a new registry first of all, at once, are answered the same way.
    """
    for _ in range(BEGINNINGS):
        assert_each_was_created_once(race_here(url, ids=10, awaited=awaited))


@BOTH
def test_of_eight_in_one_process_one_creates(awaited: bool) -> None:
    """
    In memory eight threads or tasks create the same 10,000 IDs, each once.
    """
    assert_each_was_created_once(race_here("memory://", ids=IDS, awaited=awaited))

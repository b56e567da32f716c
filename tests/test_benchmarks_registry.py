"""
The benchmark of the registry runs, and what it compares does the work it is measured for.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from registry_faces import faces
from registry_stores import PER_CLIENT, STORES, Sessions, Store, fill, name_of, started

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "session_registry.py"
FACES = ["sync", "async"]


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """
    Return one kind of store.
    """
    with started(request.param) as place:
        yield place


@pytest.mark.parametrize("face", FACES)
def test_who_creates_by_hand_does_the_work(store: Store, face: str) -> None:
    """
    By hand a session is created once, as the registry sees it that shares a store.
    """
    with faces() as both, store.empty() as url:
        (chosen,) = (one for one in both if one.name == face)
        with (
            chosen.lent(chosen.kind.open(url)) as registry,
            chosen.lent(store.by_hand[face](url)) as hand,
        ):
            chosen.done(registry.create("ours"))
            assert chosen.done(hand.create("theirs")) is True
            assert chosen.done(hand.create("theirs")) is False
            if url != "memory://":
                assert chosen.done(hand.create("ours")) is False
                assert chosen.done(registry.get("theirs")).session_id == "theirs"


@pytest.mark.parametrize("face", FACES)
def test_a_store_is_filled_with_sessions(store: Store, face: str) -> None:
    """
    A filled store has the sessions that it says, each with its client.
    """
    with faces() as both, store.empty() as url:
        (chosen,) = (one for one in both if one.name == face)
        with chosen.lent(chosen.kind.open(url)) as registry:
            fill(chosen, registry, url, Sessions(2 * PER_CLIENT))
            last = chosen.done(registry.get(name_of(2 * PER_CLIENT - 1)))
            assert (last.client_id, last.metadata) == ("client-1", {})
            for client in ("client-0", "client-1"):
                found = chosen.done(registry.find(client_id=client, limit=1000))
                assert len(found) == PER_CLIENT


def run(*arguments: str) -> list[list[str]]:
    """
    Return the cells of the tables that the benchmark prints.
    """
    command = [sys.executable, str(PROGRAM), "--quick", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line]
    return [[cell.strip() for cell in line] for line in lines]


def test_costs_are_measured() -> None:
    """
    One quick run says each figure, of those with a target whether it is met.
    """
    titles, _, *rows = run("--sections", "cost", "sizes", "paging", "--stores", "SQLite")
    assert titles == ["figure", "target", "measured", "met"]
    aimed = [row for row in rows if row[1]]
    assert all(row[3] in ("yes", "no") for row in aimed)
    for face in FACES:
        names = [row[0] for row in aimed if row[0].startswith(f"SQLite {face}:")]
        assert len(names) == len(set(names)) == 6
    assert all(float(row[2].replace(",", "")) >= 0 for row in rows)


def test_races_and_kills_are_counted() -> None:
    """
    One quick run says what was created, refused and lost, in the stores it names.
    """
    # PostgreSQL is raced and killed by the tests of the stores, and takes the longest.
    stores = ["memory", "SQLite", "Valkey"]
    rows = run("--sections", "race", "kill", "--stores", *stores)
    races = [row for row in rows if len(row) == 8 and row[3].startswith("8 ")]
    assert {row[0] for row in races} == {*stores, "Valkey cluster"}
    assert all(row[4] == row[1] for row in races)
    kills = [row for row in rows if row[1] in ("client", "server")]
    assert {row[0].partition(",")[0] for row in kills} == {"SQLite", "Valkey"}
    assert all(row[5] == "0" for row in kills if "no persistence" not in row[0])


def test_scale_is_measured() -> None:
    """
    One short run says what each verb takes with few sessions and more, and how it grows.
    """
    done = scale("--stores", "memory", "SQLite", "--sizes", "100", "200")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    verbs = [verb for store, verb, *_ in rows if store == "SQLite"]
    assert verbs == [
        "create",
        "get",
        "touch",
        "find, a client of many",
        "find, one client",
        "find among the dead",
    ]
    assert len(rows) == 12


def test_one_size_has_no_exponent() -> None:
    """
    With one size, the times are printed and nothing is said about growth.
    """
    done = scale("--stores", "memory", "--sizes", "100")
    assert done.returncode == 0, done.stderr
    titles, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    assert titles == ["store", "verb", "100"]
    assert len(rows) == 6
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)


def test_a_size_below_a_page_is_refused() -> None:
    """
    A size with less than a page of sessions is refused in a sentence.
    """
    done = scale("--stores", "memory", "--sizes", "10", "200")
    assert done.returncode == 2
    assert "--sizes: write at least 100" in done.stderr


def scale(*arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run the program that measures how the verbs grow.
    """
    command = [sys.executable, str(PROGRAM.with_name("registry_scale.py")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_load_is_measured() -> None:
    """
    One short run says how long clients over HTTP wait, and that each had an answer.
    """
    command = [sys.executable, str(PROGRAM.with_name("registry_load.py"))]
    command += ["--stores", "memory", "--seconds", "0.5", "--clients", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store, _, p50, p99, slowest, others = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert store == "memory"
    assert float(p50) <= float(p99) <= float(slowest)
    assert others == "0"

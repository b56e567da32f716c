"""
The layout of ``sqlite://``: its version, where it comes from, and who else uses the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import inf
from pathlib import Path
from threading import Event

import pytest

from idlanyard.registry import SessionRegistry
from idlanyard.registry._sqlite._connections import Patience
from idlanyard.registry._sqlite._schema import LAYOUT, Schema
from registry.earlier import Earlier, fill
from registry.files import IN_TIME, OUT_OF_TIME, by_hand, cause_of, fault_of, locked
from registry.naming import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Return where the sessions are.
    """
    return tmp_path / "sessions.db"


@pytest.fixture
def registry(path: Path) -> Iterator[SessionRegistry]:
    """
    Return a registry of that file, which nobody has made yet.
    """
    with SessionRegistry.open(f"sqlite:///{path}", timeout=IN_TIME) as registry:
        yield registry


def version_of(path: Path) -> int:
    """
    Return the version that the file says.
    """
    with by_hand(path) as connection:
        return int(connection.execute("SELECT version FROM idlanyard_layout").fetchone()[0])


def is_indexed(path: Path) -> bool:
    """
    Return whether clients' sessions are found without a look into the table.
    """
    with by_hand(path) as connection:
        return Schema("idlanyard").is_indexed(connection)


def user_version_of(path: Path) -> int:
    """
    Return the number that the application has in the file.
    """
    with by_hand(path) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("verb", ["create", "exists", "find"])
def test_a_file_of_layout_1_is_taken_over(registry: SessionRegistry, path: Path, verb: str) -> None:
    """
    The sessions of a file of layout 1 are kept, whichever verb comes first.
    """
    fill(path, 3)
    if verb == "find":
        assert len(registry.find(client_id="c")) == 3
    else:
        assert getattr(registry, verb)("new" if verb == "create" else "s000001")
    made = registry.create("more", client_id="c", idempotency_key="k")
    assert registry.create("more", client_id="c", idempotency_key="k") == made
    assert [one.session_id for one in registry.find(client_id="c")] == [
        *("more", "s000000", "s000001", "s000002")
    ]
    assert version_of(path) == LAYOUT
    assert is_indexed(path)
    assert user_version_of(path) == 1


def test_processes_of_layout_1_go_on(registry: SessionRegistry, path: Path) -> None:
    """
    A process that knows only layout 1 creates, finds and ends beside one that knows this one.
    """
    with closing(Earlier(path)) as before:
        assert before.create("a", "c")
        assert registry.exists("a")
        assert before.create("b", "c")
        registry.create("d", client_id="c")
        assert not before.create("d")
        assert before.find("c") == ["a", "b", "d"]
        assert before.end("d")
        assert not registry.exists("d")
        assert [one.session_id for one in registry.find(client_id="c")] == ["a", "b"]


def test_a_process_of_layout_1_may_come_later(registry: SessionRegistry, path: Path) -> None:
    """
    A new file may be opened by a process that knows only layout 1, which changes nothing of it.
    """
    registry.create("a", client_id="c")
    with closing(Earlier(path)) as later:
        assert later.find("c") == ["a"]
        assert later.create("b", "c")
    assert len(registry.find(client_id="c")) == 2
    assert is_indexed(path)


def test_a_migration_loses_no_writer(registry: SessionRegistry, path: Path) -> None:
    """
    Processes of the old kind that write without a pause wait for a moment, and lose nothing.
    """
    fill(path, 20_000)
    created: list[str] = []
    begun, enough = Event(), Event()

    def write() -> None:
        with closing(Earlier(path)) as before:
            while not enough.is_set():
                name = f"w{len(created)}"
                assert before.create(name)
                assert before.exists(name)
                created.append(name)
                begun.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert begun.wait(IN_TIME)
        registry.create("new", client_id="c")
        there = len(created)
        eventually(lambda: len(created) > there + 5)
        enough.set()
        writing.result()
    assert all(map(registry.exists, created))
    assert len(registry.find(client_id="c", limit=1000)) == 1000
    assert is_indexed(path)


@pytest.mark.parametrize("how", ["ends", "renews"])
def test_no_key_outlives_its_session_among_processes_of_layout_1(
    registry: SessionRegistry, path: Path, how: str
) -> None:
    """
    An idempotency key is free once a process of layout 1 has ended or replaced its session.
    """
    made = registry.create("x", ttl=None if how == "ends" else 0.01, idempotency_key="k")
    with closing(Earlier(path)) as before:
        if how == "ends":
            assert before.end("x")
        else:
            eventually(lambda: before.create("x"))
    again = registry.create("y", idempotency_key="k")
    assert again.session_id == "y"
    assert again.created_at > made.created_at


def test_an_index_that_takes_long_is_left_to_the_purge(path: Path) -> None:
    """
    Nobody waits for the index of many sessions of layout 1: check tells, and the purge makes it.
    """
    fill(path, 101_000)
    with SessionRegistry.open(f"sqlite:///{path}", timeout=0.5) as registry:
        [sentence] = registry.check()
        assert "run purge_expired() once" in sentence
        assert version_of(path) == LAYOUT
        assert not is_indexed(path)
        assert len(registry.find(client_id="c")) == 100
        assert registry.purge_expired() == 0
        assert is_indexed(path)
        assert registry.check() == []
        assert len(registry.find(client_id="c")) == 100


def test_a_purge_waits_no_longer_than_others_for_the_index(path: Path) -> None:
    """
    The purge that makes an index begins with it in time, however long that takes then.
    """
    fill(path, 10)
    schema = Schema("idlanyard")
    with by_hand(path) as connection:
        schema.prepare(connection, seconds=0.0)
        patience = Patience.of(IN_TIME)
        schema.make_indexes(connection, patience)
        assert patience.until == inf


def test_an_index_that_is_given_up_leaves_all_as_it_was(path: Path) -> None:
    """
    A connection whose time was too short for the indexes works without them.
    """
    fill(path, 1000)
    schema = Schema("idlanyard")
    with by_hand(path) as connection:
        schema.prepare(connection, seconds=0.0)
        connection.set_progress_handler(lambda: True, 5_000)
        schema.prepare(connection)
        assert not schema.is_indexed(connection)
        assert not connection.in_transaction
        connection.set_progress_handler(None, 0)
        schema.prepare(connection)
        assert schema.is_indexed(connection)


@pytest.mark.parametrize("kind", ["client", "end", "term"])
def test_an_index_that_is_missing_is_made(registry: SessionRegistry, path: Path, kind: str) -> None:
    """
    A file that lacks one of the client indexes gets it; find works without it.
    """
    registry.create("x", client_id="c")
    registry.close()
    with by_hand(path) as connection:
        connection.execute(f"DROP INDEX idlanyard_sessions_by_{kind}")
    assert len(registry.find(client_id="c")) == 1
    assert not is_indexed(path)
    registry.create()
    assert is_indexed(path)


def test_an_index_waits_its_turn(path: Path) -> None:
    """
    While another process writes, the index is asked for again, as a verb is.
    """
    fill(path, 10)
    with by_hand(path) as connection:
        Schema("idlanyard").prepare(connection, seconds=0.0)
        with locked(path), pytest.raises(sqlite3.OperationalError, match="locked"):
            Schema("idlanyard").prepare(connection)
        assert not is_indexed(path)


def test_what_layout_1_kept_is_read_while_nobody_may_write(path: Path) -> None:
    """
    A file of layout 1 that another process has locked is read, and taken over later.
    """
    fill(path, 3)
    with SessionRegistry.open(f"sqlite:///{path}", timeout=OUT_OF_TIME) as registry:
        with locked(path):
            assert registry.exists("s000001")
            assert len(registry.find(client_id="c")) == 3
            assert "locked" in cause_of(registry.create)
        registry.create()
        assert registry.count() == 4
    assert version_of(path) == LAYOUT


def test_an_applications_version_is_its_own(registry: SessionRegistry, path: Path) -> None:
    """
    The file's ``user_version`` is neither looked at nor changed, whatever it becomes.
    """
    for version in (7, 1, 2, 0, -1):
        with by_hand(path) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS somebodys (x)")
            connection.execute(f"PRAGMA user_version = {version}")
        registry.create()
        registry.close()
        registry.create()
        assert user_version_of(path) == version


@pytest.mark.parametrize("verb", ["create", "exists", "find", "check"])
def test_a_newer_layout_is_left_alone(registry: SessionRegistry, path: Path, verb: str) -> None:
    """
    A layout that this version does not know is a misconfiguration, with the remedy.
    """
    registry.create("x")
    registry.close()
    with by_hand(path) as connection:
        connection.execute("UPDATE idlanyard_layout SET version = ?", (LAYOUT + 1,))
        connection.execute("PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    values = {"create": ("y",), "exists": ("x",), "check": ()}.get(verb)
    ask = getattr(registry, verb)
    fault = fault_of(lambda: ask(client_id="c") if values is None else ask(*values))
    assert f"layout {LAYOUT + 1}" in fault
    assert "another namespace" in fault
    assert path.read_bytes() == before
    with SessionRegistry.open(f"sqlite:///{path}", namespace="another") as another:
        another.create("x")


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        pytest.param("CREATE TABLE idlanyard_sessions (x)", "table idlanyard_sessions", id="table"),
        pytest.param(
            "CREATE TABLE Idlanyard_Sessions (id INTEGER PRIMARY KEY, key, expires)",
            "table idlanyard_sessions",
            id="in capitals",
        ),
        pytest.param(
            "CREATE VIEW idlanyard_sessions AS SELECT 1", "view idlanyard_sessions", id="view"
        ),
        pytest.param("CREATE TABLE idlanyard_creates (x)", "idlanyard_creates", id="creates"),
        pytest.param("CREATE TABLE idlanyard_layout (layout)", "idlanyard_layout", id="layout"),
    ],
)
def test_somebody_elses_table_is_left_alone(
    registry: SessionRegistry, path: Path, sql: str, name: str
) -> None:
    """
    A table of the registry's name that is none of its own is a misconfiguration.
    """
    with by_hand(path) as connection:
        connection.execute(sql)
    before = path.read_bytes()
    for verb in (registry.create, registry.check, lambda: registry.exists("x")):
        assert name in fault_of(verb)
    assert path.read_bytes() == before


def test_columns_of_somebodys_own_do_no_harm(registry: SessionRegistry, path: Path) -> None:
    """
    A column that somebody adds to the table is left as it is.
    """
    registry.create("x")
    registry.close()
    with by_hand(path) as connection:
        connection.execute("ALTER TABLE idlanyard_sessions ADD COLUMN mine TEXT DEFAULT 'x'")
    registry.create("y")
    assert registry.exists("x")


def test_a_file_in_another_encoding_is_refused(registry: SessionRegistry, path: Path) -> None:
    """
    A file whose text is UTF-16 has another order of IDs, and is not used.
    """
    with by_hand(path) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE somebodys (x)")
    assert "UTF-16" in fault_of(registry.create)


def test_a_table_that_is_dropped_is_made_anew(registry: SessionRegistry, path: Path) -> None:
    """
    When somebody drops the tables, one verb fails and the next one makes them again.
    """
    registry.create("x")
    with by_hand(path) as connection:
        for table in ("sessions", "creates", "layout"):
            connection.execute(f"DROP TABLE idlanyard_{table}")
    assert "no such table" in cause_of(lambda: registry.create("x"))
    assert registry.create("x").session_id == "x"

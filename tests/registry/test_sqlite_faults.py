"""
Faults of a file of ``sqlite://``: which ones pass, which do not, and what is said of them.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from idlanyard.registry import RegistryUnavailable, SessionRegistry
from idlanyard.registry._sqlite._connections import Connection, Shared
from idlanyard.registry._sqlite._files import file_system_of, find_fault, list_weaknesses
from registry import forking
from registry.files import (
    IN_TIME,
    OUT_OF_TIME,
    by_hand,
    cause_of,
    fault_of,
    leave,
    locked,
    remove,
)


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


# What waiting will not mend.


@pytest.mark.parametrize("content", [b"x" * 4096, b"not a database"])
@pytest.mark.parametrize("verb", ["create", "exists"])
def test_a_file_that_is_no_database(
    registry: SessionRegistry, path: Path, content: bytes, verb: str
) -> None:
    """
    A file of something else is left as it is, and is a misconfiguration until it is moved away.
    """
    path.write_bytes(content)
    assert "not an SQLite database" in fault_of(lambda: getattr(registry, verb)("x"))
    assert "not an SQLite database" in fault_of(registry.check)
    assert path.read_bytes() == content
    path.unlink()
    registry.create()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(lambda path: path.mkdir(), "names a folder", id="folder"),
        pytest.param(os.mkfifo, "not a file", id="pipe"),
    ],
)
def test_a_path_to_something_else(
    registry: SessionRegistry, path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    """
    A path that leads to no file is a misconfiguration.
    """
    make(path)
    for verb in (registry.create, registry.check, lambda: registry.exists("x")):
        assert sentence in fault_of(verb)


@pytest.mark.parametrize(
    "name",
    [pytest.param("file/sessions.db", id="below a file"), pytest.param("x" * 300, id="long")],
)
def test_a_path_that_can_be_none(tmp_path: Path, name: str) -> None:
    """
    A path that no file can have is a misconfiguration, too.
    """
    (tmp_path / "file").touch()
    with SessionRegistry.open(f"sqlite:///{tmp_path}/{name}") as registry:
        assert "there can be no such file" in fault_of(registry.create)


@pytest.fixture
def folder() -> Iterator[Path]:
    """
    Return a folder that other users can get to, with a file of sessions in it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with SessionRegistry.open(f"sqlite:///{folder}/sessions.db") as registry:
            registry.create("there")
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("of_file", "of_folder", "verb"),
    [
        pytest.param(0o444, 0o555, "create", id="neither"),
        pytest.param(0o444, 0o555, "exists", id="neither, to read"),
        pytest.param(0o444, 0o777, "create", id="the file"),
        pytest.param(0o666, 0o555, "create", id="the folder"),
        pytest.param(0o000, 0o777, "exists", id="the file, not even to read"),
        pytest.param(0o666, 0o666, "exists", id="the folder, not even to look into"),
    ],
)
def test_who_has_no_rights(folder: Path, of_file: int, of_folder: int, verb: str) -> None:
    """
    A process that may not write to the file or to its folder is told what to do about it.
    """
    path = folder / "sessions.db"
    path.chmod(of_file)
    folder.chmod(of_folder)
    said = forking.outcome_of(forking.ask_where_one_may_only_read, f"sqlite:///{path}", verb)
    assert "give its user the rights to both" in said


def test_who_may_only_read_the_file_reads_it(folder: Path) -> None:
    """
    A file that may not be written to, in a folder that may, is read.
    """
    path = folder / "sessions.db"
    path.chmod(0o444)
    folder.chmod(0o777)
    said = forking.outcome_of(forking.ask_where_one_may_only_read, f"sqlite:///{path}", "exists")
    assert said == "True"


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("disk I/O error"), FileNotFoundError("gone"), OSError("I/O")],
)
def test_what_passes_is_no_fault(path: Path, error: Exception) -> None:
    """
    A file that this process may write to, or that does not exist yet, has no fault.
    """
    assert find_fault(error, path) is None
    path.touch()
    assert find_fault(error, path) is None


def test_a_full_disk_is_nobodys_rights(tmp_path: Path) -> None:
    """
    An error of the disk is not taken for one of rights.
    """
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert find_fault(error, Path(shutil.which("true") or "")) is None


# Where reads work and writes do not.


def test_a_registry_that_is_opened_on_a_full_disk_reads(
    registry: SessionRegistry, path: Path
) -> None:
    """
    A registry opened on a full disk reads sessions, and writes again when there is room.
    """
    registry.create("there", client_id="c")
    registry.close()
    assert forking.outcome_of(forking.open_without_room, f"sqlite:///{path}") == {
        "exists": True,
        "find": 1,
        "count": 1,
        "create": "OperationalError",
        "touch": "OperationalError",
        "check": "OperationalError",
        "again": True,
        "afterwards": "new",
    }


def test_a_locked_file_is_checked_in_time(path: Path) -> None:
    """
    The check of a file that nobody may write to now is an outage, and its reads go on.
    """
    with SessionRegistry.open(f"sqlite:///{path}", timeout=OUT_OF_TIME) as registry:
        registry.create("x")
        with locked(path):
            assert "locked" in cause_of(registry.check)
            assert registry.exists("x")
        assert registry.check() == []


# What is deleted under a running process.


@pytest.mark.parametrize("is_settled", [True, False], ids=["after a while", "at once"])
@pytest.mark.parametrize(
    "ends", [("-wal", "-shm"), ("-wal",), ("-shm",)], ids=["both", "the log", "its index"]
)
@pytest.mark.parametrize("verb", ["create", "exists"])
def test_a_log_that_is_deleted_is_noticed(
    registry: SessionRegistry, path: Path, ends: tuple[str, ...], is_settled: bool, verb: str
) -> None:
    """
    Nothing is acknowledged by a log that nobody else sees, and what was before is saved.
    """
    names = [f"s{number}" for number in range(20)]
    for name in names:
        registry.create(name)
    registry.exists("s1")
    if is_settled:
        os.utime(path.parent, (1, 1))
        for number in range(3):
            assert registry.exists(registry.create(f"then{number}").session_id)
    for end in ends:
        path.with_name(path.name + end).unlink()
    assert "another file" in cause_of(lambda: getattr(registry, verb)("unacknowledged"))
    assert all(map(registry.exists, names))
    registry.create("later")
    with SessionRegistry.open(f"sqlite:///{path}") as another:
        assert all(map(another.exists, [*names, "later"]))


def test_a_file_behind_a_link_is_watched(path: Path, tmp_path: Path) -> None:
    """
    A file behind a symbolic link is noticed when it is replaced, too.
    """
    home = tmp_path / "home"
    home.mkdir()
    path.symlink_to(home / "real.db")
    with SessionRegistry.open(f"sqlite:///{path}") as registry:
        registry.create("x")
        os.utime(tmp_path, (1, 1))
        assert registry.exists("x")
        remove(home / "real.db")
        assert cause_of(lambda: registry.exists("x"))


def test_no_connection_begins_beside_one_that_is_to_end(path: Path) -> None:
    """
    After a failure a new connection waits until all older ones have ended.
    """
    shared = Shared(path)
    one, other = (Connection(shared, leave, IN_TIME) for _ in range(2))
    using, used = threading.Event(), threading.Event()

    def use(connection: sqlite3.Connection) -> bool:
        using.set()
        return used.wait(IN_TIME)

    def look(connection: sqlite3.Connection) -> bool:
        return used.is_set()

    path.touch()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.ask, None, use)
        assert using.wait(IN_TIME)
        shared.failures += 1
        second = pool.submit(other.ask, None, look)
        assert not second.done()
        used.set()
        assert first.result()
        assert second.result()
    assert not one.is_connected
    other.close()


# What is told.


def test_a_check_leaves_nothing_behind(registry: SessionRegistry, path: Path) -> None:
    """
    A check makes no session, and changes none.
    """
    assert registry.check() == []
    registry.create("x", client_id="c", ttl=60, idempotency_key="k")

    def dump() -> list[str]:
        with by_hand(path) as connection:
            return list(connection.iterdump())

    before = dump()
    assert registry.check() == []
    assert dump() == before


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("nfs4", "network file system (nfs4)", id="network"),
        pytest.param("tmpfs", "in memory (tmpfs)", id="memory"),
        pytest.param("ext4", None, id="disk"),
    ],
)
def test_a_file_system_that_voids_a_promise_is_told(
    path: Path, tmp_path: Path, kind: str, words: str | None
) -> None:
    """
    A network file system, and one that is gone with the power, get a sentence.
    """
    mounts = tmp_path / "mounts"
    mounts.write_text(f"device / {kind} rw 0 0\n")
    with by_hand(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        sentences = list_weaknesses(connection, path, mounts)
    assert [words in sentence for sentence in sentences if words] == ([True] if words else [])
    assert bool(sentences) is bool(words)


def test_a_journal_without_a_log_is_told(path: Path, tmp_path: Path) -> None:
    """
    A file that gets no write-ahead log has a sentence that says what that costs.
    """
    with by_hand(path) as connection:
        [sentence] = list_weaknesses(connection, path, tmp_path / "nothing is told")
    assert "journal_mode delete" in sentence


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        pytest.param("/var/lib/s.db", "ext4", id="root"),
        pytest.param("/data/s.db", "nfs", id="mounted"),
        pytest.param("/data2/s.db", "ext4", id="no part of a name"),
        pytest.param("/data/fast/s.db", "xfs", id="mounted in it"),
        pytest.param("/my data/s.db", "cifs", id="a space"),
        pytest.param("/over/s.db", "tmpfs", id="mounted over"),
        pytest.param("/caf\u00e9/s.db", "9p", id="not ASCII"),
    ],
)
def test_a_file_is_on_the_innermost_file_system(tmp_path: Path, place: str, kind: str) -> None:
    """
    The file system of a file is the innermost one mounted over it, and the latest of these.
    """
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "a / ext4 rw 0 0\n"
        "b /data nfs rw 0 0\n"
        "c /data/fast xfs rw 0 0\n"
        "d /my\\040data cifs rw 0 0\n"
        "e /over ext4 rw 0 0\n"
        "f /over tmpfs rw 0 0\n"
        "g /caf\u00e9 9p rw 0 0\n"
    )
    assert file_system_of(Path(place), mounts) == kind


def test_a_sentence_is_said_at_first_use(
    registry: SessionRegistry, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The sentences of a check are logged when the file is first used.
    """
    registry.create("x")
    registry.close()
    with by_hand(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        # Whoever reads keeps the file from getting its log.
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM idlanyard_sessions").fetchone()
        with caplog.at_level(logging.WARNING, "idlanyard"):
            assert registry.exists("x")
    assert "journal_mode delete" in caplog.text
    assert registry.check() == []


def test_an_outage_of_writes_alone_is_raised(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    Creates that fail between reads that work are one outage, whose cause is in its first line.
    """
    with (
        caplog.at_level(logging.WARNING, "idlanyard"),
        SessionRegistry.open(f"sqlite:///{path}", timeout=0.01) as registry,
    ):
        registry.create("x")
        with locked(path):
            for number in range(5):
                with pytest.raises(RegistryUnavailable):
                    registry.create(f"{number}")
                assert registry.exists("x")
        registry.create("y")
    said = [record.getMessage() for record in caplog.records if record.name == "idlanyard"]
    said = [line for line in said if "in memory" not in line]
    assert [line.split(":")[-1] for line in said[:1]] == [" database is locked"]
    assert ["answers again" in line for line in said] == [False, True]

"""
``sqlite://`` while its file is locked, missing, exchanged or full.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from idlanyard.registry import (
    RegistryUnavailable,
    SessionNotFound,
    SessionRegistry,
)
from idlanyard.registry._sqlite._connections import Connection, Patience, Shared
from registry import forking
from registry.files import (
    IN_TIME,
    OUT_OF_TIME,
    cause_of,
    leave,
    locked,
    remove,
)
from registry.naming import eventually
from registry.sqlite_fixtures import path, url

__all__ = ["path", "url"]


def test_a_locked_file_is_unavailable_in_time(url: str, path: Path) -> None:
    """
    A file that stays locked fails whoever writes, and only while it is.
    """
    with SessionRegistry.open(url, timeout=OUT_OF_TIME) as registry:
        registry.create("before")
        with locked(path):
            assert "locked" in cause_of(registry.create)
            assert "locked" in cause_of(lambda: registry.touch("before"))
            assert "locked" in cause_of(lambda: registry.end("before"))
            assert "locked" in cause_of(registry.purge_expired)
            assert registry.exists("before")
        registry.create("after")


def test_a_locked_file_stays_open(path: Path) -> None:
    """
    A connection that only had to wait too long is used again.
    """
    file = Connection(Shared(path), leave, OUT_OF_TIME)
    connected = file.ask(None, lambda connection: connection)
    with locked(path):
        assert "locked" in cause_of(
            lambda: file.ask(None, lambda one: one.execute("BEGIN IMMEDIATE"))
        )
    assert file.ask(None, lambda connection: connection) is connected
    file.close()


def test_a_verb_that_is_given_up_while_it_connects_asks_nothing(path: Path) -> None:
    """
    A question that is given up while its connection is made is not asked.
    """
    patience, asked = Patience.of(60), list[str]()

    def end(connection: sqlite3.Connection, **_: object) -> None:
        patience.end()

    file = Connection(Shared(path), end, IN_TIME)
    with pytest.raises(RegistryUnavailable):
        file.ask(patience, lambda connection: asked.append("asked"))
    assert not asked
    file.close()


def test_a_file_that_is_locked_at_first_is_unavailable_in_time(url: str, path: Path) -> None:
    """
    A file that cannot be prepared yet is asked again by the next verb.
    """
    with SessionRegistry.open(url, timeout=OUT_OF_TIME) as registry:
        with locked(path):
            assert "locked" in cause_of(lambda: registry.exists("x"))
        assert not registry.exists("x")


def test_threads_that_wait_for_each_other_are_unavailable_in_time(url: str, path: Path) -> None:
    """
    A thread that waits for another thread still has only its own time.
    """
    with SessionRegistry.open(url, timeout=OUT_OF_TIME) as registry, ThreadPoolExecutor(8) as pool:
        registry.create("before")
        with locked(path):
            waiting = [pool.submit(registry.create) for _ in range(8)]
            assert all(isinstance(one.exception(), RegistryUnavailable) for one in waiting)
        registry.create("after")


def test_a_thread_that_gets_no_turn_is_unavailable(path: Path) -> None:
    """
    While another thread uses the connection, the time for a turn is bounded.
    """
    file = Connection(Shared(path), leave, OUT_OF_TIME)
    using, used = threading.Event(), threading.Event()

    def use(connection: sqlite3.Connection) -> bool:
        using.set()
        return used.wait(IN_TIME)

    path.touch()
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(file.ask, None, use)
        assert using.wait(IN_TIME)
        assert "no turn" in cause_of(lambda: file.ask(None, lambda connection: None))
        assert "no turn" in cause_of(file.close)
        used.set()
        assert one.result()
    file.close()


class Watched(Patience):
    """
    A patience that tells when its end was read for the first time.
    """

    __slots__ = ("end_of_it", "was_read")

    def __init__(self, until: float) -> None:
        self.was_read = threading.Event()
        self.end_of_it = until

    @property
    def until(self) -> float:
        """
        The moment, by the monotonic clock.
        """
        until = self.end_of_it
        self.was_read.set()
        return until

    @until.setter
    def until(self, moment: float) -> None:
        self.end_of_it = moment


def test_a_question_that_is_ended_in_line_is_not_answered_later(path: Path) -> None:
    """
    A question whose caller is cancelled while another thread uses the connection is not done.
    """
    file = Connection(Shared(path), leave, IN_TIME)
    using, used = threading.Event(), threading.Event()
    answered: list[sqlite3.Connection] = []

    def use(connection: sqlite3.Connection) -> bool:
        using.set()
        return used.wait(IN_TIME)

    path.touch()
    patience = Watched(time.monotonic() + IN_TIME)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(file.ask, None, use)
        assert using.wait(IN_TIME)
        other = pool.submit(file.ask, patience, answered.append)
        assert patience.was_read.wait(IN_TIME)
        patience.end()
        used.set()
        assert one.result()
        assert isinstance(other.exception(), RegistryUnavailable)
    assert answered == []
    file.close()


def test_what_waits_for_a_lock_goes_by_the_time_after_it(url: str, path: Path) -> None:
    """
    A session that expires while its touch waits is absent to that touch.
    """
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, ThreadPoolExecutor(2) as pool:
        # Longer than the touch needs to begin.
        registry.create("expires", ttl=0.5)
        with locked(path) as unlock:
            touch = pool.submit(registry.touch, "expires")
            eventually(lambda: not registry.exists("expires"))
            create = pool.submit(registry.create, "expires", metadata={"n": 2})
            unlock()
            with pytest.raises(SessionNotFound):
                raise touch.exception() or AssertionError("touched") from None
            assert create.result().metadata == {"n": 2}


def test_a_missing_folder_is_unavailable_until_it_is_there(tmp_path: Path) -> None:
    """
    No folder is made, and none is needed but for the file itself.
    """
    folder = tmp_path / "missing"
    with SessionRegistry.open(f"sqlite:///{folder}/sessions.db") as registry:
        assert "unable to open" in cause_of(registry.create)
        assert not folder.exists()
        folder.mkdir()
        registry.create()


@pytest.mark.parametrize("verb", ["create", "exists"])
def test_a_file_that_goes_is_unavailable_and_not_forgotten(
    url: str, path: Path, tmp_path: Path, verb: str
) -> None:
    """
    Sessions are not silently forgotten with their file; put back, it works again.
    """
    with SessionRegistry.open(url) as registry:
        registry.create("kept")
    kept = shutil.copy(path, tmp_path / "kept")
    with SessionRegistry.open(url) as registry:
        registry.create("lost")
        assert registry.exists("kept")
        remove(path)
        for _ in range(2):
            assert cause_of(lambda: getattr(registry, verb)("new"))
            assert not path.exists()
        shutil.copy(kept, path)
        assert registry.exists("kept")
        assert not registry.exists("lost")
        registry.create("lost")


def test_a_file_that_is_exchanged_is_noticed(url: str, path: Path, tmp_path: Path) -> None:
    """
    Nothing is acknowledged by a file that nobody else sees.
    """
    other = tmp_path / "other.db"
    with SessionRegistry.open(f"sqlite:///{other}") as registry:
        registry.create("others")
    with SessionRegistry.open(url) as registry:
        registry.create("mine")
        remove(path)
        other.rename(path)
        assert "another file" in cause_of(lambda: registry.create("unacknowledged"))
        assert registry.exists("others")
        assert not registry.exists("unacknowledged")


def test_a_closed_registry_may_begin_a_new_file(url: str, path: Path) -> None:
    """
    After close the file may be removed, and the registry then makes a new one.
    """
    with SessionRegistry.open(url) as registry:
        registry.create("x")
        registry.close()
        remove(path)
        registry.create("x")


def test_a_full_disk_is_unavailable_and_loses_nothing(url: str) -> None:
    """
    A create without room is not acknowledged, and earlier ones are kept.
    """
    cause, some, missing = forking.outcome_of(forking.run_out_of_room, url)
    assert cause == "OperationalError"
    assert some
    assert missing == []


def test_a_mistake_of_ours_stays_one(path: Path) -> None:
    """
    R14: an error in a statement is not dressed up as a store that is down.
    """
    file = Connection(Shared(path), leave, IN_TIME)
    with pytest.raises(sqlite3.ProgrammingError):
        file.ask(None, lambda connection: connection.execute("SELECT ?"))
    file.close()


def test_closing_hurts_nobody(url: str) -> None:
    """
    Threads that create while others close go on, and lose nothing.
    """
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, ThreadPoolExecutor(9) as pool:

        def create(start: int) -> list[str]:
            return [registry.create(f"{start}-{number}").session_id for number in range(30)]

        def close() -> None:
            for _ in range(50):
                registry.close()

        created = pool.map(create, range(8))
        closed = pool.submit(close)
        names = [name for names in created for name in names]
        closed.result()
        assert len(names) == 240
        assert all(map(registry.exists, names))

"""
``sqlite://`` keeps what every store keeps, and what a file needs besides.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from idlanyard import PolicyError
from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryUnavailable,
    SessionNotFound,
    SessionRegistry,
)
from idlanyard.registry._checks import make_key
from idlanyard.registry._questions import Read
from idlanyard.registry._sqlite._async import AsyncSQLiteStore
from idlanyard.registry._sqlite._commands import Statements
from idlanyard.registry._sqlite._connections import Connection, Patience, Shared, forks
from idlanyard.registry._sqlite._schema import Schema
from idlanyard.registry._sqlite._sync import SQLiteStore
from idlanyard.registry._sqlite._url import check_version, parse_name, parse_path
from registry import forking
from registry.contract import AwaitedContract, RacingContract
from registry.files import (
    IN_TIME,
    OUT_OF_TIME,
    by_hand,
    cause_of,
    count_of,
    leave,
    let_expire,
    locked,
    remove,
)
from registry.naming import eventually, fresh


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Return where the sessions are.
    """
    return tmp_path / "sessions.db"


@pytest.fixture
def url(path: Path) -> str:
    """
    Return the same as a URL.
    """
    return f"sqlite:///{path}"


class TestSQLite(RacingContract):
    """
    The contract, by the sync registry.
    """


class TestSQLiteAwaited(AwaitedContract):
    """
    The contract, by the async registry.
    """


@pytest.mark.parametrize(
    ("url", "name"),
    [
        pytest.param("sqlite:///sessions.db", "sessions.db", id="relative"),
        pytest.param("sqlite:///data/sessions.db", "data/sessions.db", id="below"),
        pytest.param("sqlite:///../sessions.db", "../sessions.db", id="above"),
        pytest.param("sqlite:////var/lib/s.db", "/var/lib/s.db", id="absolute"),
        pytest.param("sqlite:///C:/data/s.db", "C:/data/s.db", id="drive"),
        pytest.param("sqlite:///C:\\data\\s.db", "C:\\data\\s.db", id="drive, backslashes"),
        pytest.param("sqlite:///a%20b%3F%23%25.db", "a b?#%.db", id="percent-encoded"),
        pytest.param("sqlite:///caf%C3%A9.db", "caf\u00e9.db", id="percent-encoded UTF-8"),
        pytest.param("sqlite:///caf\u00e9 1.db", "caf\u00e9 1.db", id="as it is"),
        pytest.param("sqlite:///%FF.db", os.fsdecode(b"\xff.db"), id="no UTF-8"),
        pytest.param("sqlite:///\udcff.db", "\udcff.db", id="no UTF-8, as it is"),
        pytest.param("sqlite:///file:x", "file:x", id="like SQLite's own"),
    ],
)
def test_a_url_names_a_file(url: str, name: str) -> None:
    """
    Three slashes and a relative path, four and an absolute one.
    """
    assert parse_name(url) == name


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        pytest.param("sqlite:", "write 'sqlite:///sessions.db'", id="nothing"),
        pytest.param("sqlite://", "write 'sqlite:///sessions.db'", id="no path"),
        pytest.param("sqlite:///", "write 'sqlite:///sessions.db'", id="empty path"),
        pytest.param("sqlite:////", "write 'sqlite:///sessions.db'", id="the root"),
        pytest.param("sqlite:///data/", "write 'sqlite:///sessions.db'", id="a folder"),
        pytest.param("sqlite:///.", "write 'sqlite:///sessions.db'", id="this folder"),
        pytest.param("sqlite:sessions.db", "write 'sqlite:///sessions.db'", id="no slashes"),
        pytest.param("sqlite:/sessions.db", "write 'sqlite:///sessions.db'", id="one slash"),
        pytest.param("sqlite://sessions.db", "write 'sqlite:///sessions.db'", id="two slashes"),
        pytest.param("sqlite://host/sessions.db", "names a host", id="a host"),
        pytest.param("sqlite:///:memory:", "write 'memory://'", id="memory"),
        pytest.param("sqlite://:memory:", "write 'memory://'", id="memory, two slashes"),
        pytest.param("sqlite:///%3Amemory%3A", "write 'memory://'", id="memory, encoded"),
        pytest.param("sqlite:///s.db?mode=ro", "takes no query", id="a query"),
        pytest.param("sqlite:///s.db#x", "takes no query", id="a fragment"),
        pytest.param("sqlite:///s%00.db", "has a NUL", id="NUL"),
        pytest.param("sqlite:///\ud800.db", "no file name", id="a lone surrogate"),
    ],
)
def test_a_url_that_names_no_file_is_refused(url: str, sentence: str) -> None:
    """
    A URL that names no file is refused by open, and the message says what to write.
    """
    for face in (SessionRegistry, AsyncSessionRegistry):
        with pytest.raises(PolicyError, match=f"url .*{sentence}") as raised:
            face.open(url)
        assert raised.value.option == "url"


def test_a_relative_path_is_meant_from_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The file is in the working directory of the call, whatever it is later.
    """
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_path("sqlite:///sessions.db") == tmp_path / "sessions.db"
    with SessionRegistry.open() as registry:
        monkeypatch.chdir("elsewhere")
        registry.create()
    assert (tmp_path / "sessions.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """
    Characters that mean something in a URL name a file when percent-encoded.
    """
    with SessionRegistry.open(f"sqlite:///{tmp_path}/a%20b%3Fc%23d%25e%FF.db") as registry:
        registry.create()
    assert [one.name for one in tmp_path.iterdir()] == [os.fsdecode(b"a b?c#d%e\xff.db")]


def test_opening_makes_nothing(url: str, path: Path) -> None:
    """
    Open is a plain call, and the file is there from the first use on.
    """
    with SessionRegistry.open(url) as registry:
        assert not path.exists()
        assert not registry.exists("x")
        assert path.exists()


def test_an_old_library_is_refused() -> None:
    """
    An SQLite that lacks the statements is refused with its version.
    """
    check_version((3, 35, 0))
    with pytest.raises(PolicyError, match=r"SQLite 3\.35.* with 3\.34\.1: use"):
        check_version((3, 34, 1))


@pytest.mark.parametrize("namespace", ["sqlite", "sqlite_mine"])
def test_a_namespace_of_sqlites_own_is_refused(url: str, namespace: str) -> None:
    """
    R10: no table may begin with sqlite_, so that no namespace does.
    """
    with pytest.raises(PolicyError, match="namespace begins with 'sqlite'"):
        SessionRegistry.open(url, namespace=namespace)
    with SessionRegistry.open(url, namespace="sqlites") as registry:
        registry.create()


def test_the_file_keeps_what_it_acknowledges(path: Path) -> None:
    """
    The file has a write-ahead log, and every transaction is on the disk.
    """
    with by_hand(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        Schema("idlanyard").prepare(connection)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_ids_are_kept_beside_their_keys(url: str, path: Path) -> None:
    """
    The key is the SHA-256, binary, and the ID stands beside it as UTF-8.
    """
    name = "Caf\u00e9 \N{GRINNING FACE} "
    with SessionRegistry.open(url) as registry:
        registry.create(name, client_id="c")
    with by_hand(path) as connection:
        rows = connection.execute(
            "SELECT key, CAST(session_id AS BLOB), client_key, client_id FROM idlanyard_sessions"
        )
        assert rows.fetchall() == [
            (make_key("session_id", name), name.encode(), make_key("client_id", "c"), "c")
        ]


PAGE = dict.fromkeys(("client_key", "after", "reach", "now", "limit", "most"), 1)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        pytest.param("read", (b"", 0), id="read"),
        pytest.param("next", PAGE, id="next"),
        pytest.param("beyond", PAGE, id="beyond"),
        pytest.param("sorted", PAGE, id="sorted"),
        pytest.param("count_living", PAGE, id="count_living"),
        pytest.param("purge", (0, 1), id="purge"),
        pytest.param("delete", (b"", None), id="delete"),
        pytest.param(
            "extend", dict.fromkeys(("key", "ttl", "metadata", "created", "now")), id="extend"
        ),
        pytest.param("walk", (b"", 1), id="walk"),
        pytest.param("look", (0, b""), id="look"),
        pytest.param("repeated", (b"",), id="repeated"),
        pytest.param("forget", (b"",), id="forget"),
    ],
)
def test_no_statement_reads_all(path: Path, statement: str, values: Any) -> None:
    """
    Every statement finds its rows by an index, and sorts none but the few of a client.
    """
    with by_hand(path) as connection:
        Schema("idlanyard").prepare(connection)
        sql = getattr(Statements("idlanyard"), statement)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        steps = " ".join(row[3] for row in plan)
    assert "SEARCH" in steps
    assert "SCAN idlanyard" not in steps
    assert ("TEMP B-TREE" in steps) is (statement == "sorted")


def test_namespaces_share_a_file_in_any_order(url: str, path: Path) -> None:
    """
    R10: a namespace is added to a file that is there already, and leaves the rest alone.
    """
    with by_hand(path) as connection:
        connection.execute("CREATE TABLE somebodys (x)")
    for namespace in ("one", "two", "one"):
        with SessionRegistry.open(url, namespace=namespace) as registry:
            registry.create()
    with by_hand(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        own = ("sessions", "creates", "layout")
        ours = {f"{namespace}_{table}" for namespace in ("one", "two") for table in own}
        assert {name for (name,) in tables} == {"somebodys", *ours}
        assert connection.execute("SELECT count(*) FROM one_sessions").fetchone() == (2,)


def test_a_purge_goes_through_many_batches(url: str, path: Path) -> None:
    """
    However many have expired, a purge gives up all of them and counts them.
    """
    with SessionRegistry.open(url) as registry:
        registry.create("living", ttl=IN_TIME)
        with by_hand(path) as connection:
            let_expire(connection, 1000)
        assert registry.purge_expired() == 1000
        assert registry.purge_expired() == 0
        assert registry.exists("living")


def test_closing_ends_a_purge(url: str, path: Path) -> None:
    """
    A purge that is under way when the registry is closed ends at its batch.
    """
    with (
        SessionRegistry.open(url, timeout=IN_TIME) as registry,
        by_hand(path) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        registry.create()
        let_expire(connection, 50_000)
        purge = pool.submit(registry.purge_expired)
        eventually(lambda: count_of(connection) < 50_000)
        registry.close()
        assert 0 < purge.result() < 50_000
        assert count_of(connection) == 50_001 - purge.result()


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


def test_many_processes_make_one_file(tmp_path: Path) -> None:
    """
    Four processes that make a file at the same moment make one, of 25 files each.
    """
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(25)]
    outcome = forking.outcome_of(forking.open_new_files, urls)
    for number, url in enumerate(urls):
        created = sorted(name for process in outcome for name in process[number])
        assert created == ["0", "1", "2", "3", "everybody's"]
        with SessionRegistry.open(url) as registry:
            assert all(map(registry.exists, created))


@pytest.mark.parametrize("announced", [True, False], ids=["fork", "a fork in C"])
def test_a_child_loses_nothing_when_its_parent_closes(url: str, announced: bool) -> None:
    """
    A child has locks of its own, so that its parent's end takes away nothing it created.
    """
    assert all(forking.outcome_of(forking.fork_then_close, url, announced))


def test_forks_wait_for_the_threads_that_create(url: str, path: Path) -> None:
    """
    Children of a process whose threads are in the middle of creates can create, too.
    """
    missing, created = forking.outcome_of(forking.fork_in_the_middle, url, 20)
    assert missing == []
    assert created > 60
    with by_hand(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_fork_is_noticed_once(path: Path) -> None:
    """
    A thread that notices a fork when another one has already takes away nothing.
    """
    file = Connection(Shared(path), leave, IN_TIME)
    connected = file.ask(None, lambda connection: connection)
    forks.notice()
    assert file.ask(None, lambda connection: connection) is connected
    file.close()


def test_two_threads_may_fork_at_once(url: str) -> None:
    """
    Forks wait for each other, and then for nobody.
    """
    missing, created = forking.outcome_of(forking.fork_in_several_threads, url)
    assert (missing, created) == ([], 80)


def test_an_async_registry_survives_a_fork(url: str) -> None:
    """
    A child begins threads of its own.
    """
    assert forking.outcome_of(forking.fork_between_awaits, url) == [True, True]


@pytest.mark.parametrize("awaited", [False, True], ids=["waiting", "awaited"])
def test_a_process_ends_without_closing(url: str, awaited: bool) -> None:
    """
    A process that does not close its registry ends, and loses no session.
    """
    forking.outcome_of(forking.end_without_closing, url, awaited)
    with SessionRegistry.open(url) as registry:
        assert registry.exists("kept")


def test_the_loop_goes_on_while_a_create_waits(url: str, path: Path) -> None:
    """
    Reads and the loop go on while a create waits for the file.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=IN_TIME) as registry:
            await registry.create("before", client_id="c")
            with locked(path) as unlock:
                create = asyncio.create_task(registry.create("after"))
                purge = asyncio.create_task(registry.purge_expired())
                assert await registry.exists("before")
                assert len(await registry.find(client_id="c")) == 1
                assert not create.done()
                unlock()
                assert (await create).session_id == "after"
                assert await purge == 0

    asyncio.run(use())


def test_creates_that_wait_in_line_are_unavailable_in_time(url: str, path: Path) -> None:
    """
    The time in the queue counts, and what never had its turn is not done later.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=OUT_OF_TIME) as registry:
            await registry.create("before")
            with locked(path):
                creates = [registry.create(f"{number}") for number in range(5)]
                errors = await asyncio.gather(*creates, return_exceptions=True)
            assert all(isinstance(error, RegistryUnavailable) for error in errors)
            await registry.create("after")
            assert [number for number in range(5) if await registry.exists(f"{number}")] == []

    asyncio.run(use())


def test_a_cancelled_verb_leaves_the_registry_usable(url: str, path: Path) -> None:
    """
    A verb that is cancelled before its turn is not done, and others are.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=IN_TIME) as registry:
            await registry.create("before")
            with locked(path) as unlock:
                first = asyncio.create_task(registry.create("first"))
                second = asyncio.create_task(registry.create("second"))
                third = asyncio.create_task(registry.create("third"))
                assert await registry.exists("before")
                for task in (first, second):
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                unlock()
                assert (await third).session_id == "third"
            assert not await registry.exists("second")

    asyncio.run(use())


def test_a_cancelled_task_may_still_use_the_registry(url: str, path: Path) -> None:
    """
    A verb of a cancelled task times out like any other.
    """

    async def end_last(registry: AsyncSessionRegistry) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with locked(path):
                in_front = asyncio.create_task(registry.create())
                await asyncio.sleep(0)
                with pytest.raises(RegistryUnavailable):
                    await registry.end("kept")
                with pytest.raises(RegistryUnavailable):
                    await in_front
            await registry.end("ended")

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=0.5) as registry:
            task = asyncio.create_task(end_last(registry))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with SessionRegistry.open(url) as patient:
        for name in ("kept", "ended"):
            patient.create(name)
        asyncio.run(use())
        assert patient.exists("kept")
        assert not patient.exists("ended")


def test_a_registry_may_be_used_on_one_loop_after_another(url: str) -> None:
    """
    The threads belong to no loop.
    """
    registry = AsyncSessionRegistry.open(url)

    async def create(name: str) -> bool:
        await registry.create(name)
        return await registry.exists("first")

    assert asyncio.run(create("first"))
    assert asyncio.run(create("second"))
    asyncio.run(registry.close())


def test_closing_waits_for_what_waits(url: str, path: Path) -> None:
    """
    A registry that is closed while a create waits ends with it, in time.
    """

    async def use() -> None:
        registry = AsyncSessionRegistry.open(url, timeout=OUT_OF_TIME)
        await registry.create("before")
        with locked(path):
            create = asyncio.create_task(registry.create("after"))
            assert await registry.exists("before")
            await registry.close()
            with pytest.raises(RegistryUnavailable):
                await create
        assert not [one for one in threading.enumerate() if one.name.startswith("idlanyard-sqlite")]

    asyncio.run(use())


class Reluctant(SQLiteStore):
    """
    A store that closes when it is told twice.
    """

    told = 0

    def close(self) -> None:
        """
        As if a thread used it too long, once.
        """
        self.told += 1
        if self.told == 1:
            raise RegistryUnavailable("sqlite")
        super().close()


def test_closing_ends_the_threads_of_a_store_that_is_in_use(path: Path) -> None:
    """
    When the file cannot be let go of at once, it is when the threads have ended.
    """

    async def use() -> None:
        waiting = Reluctant(path, timeout=IN_TIME, namespace="idlanyard")
        store = AsyncSQLiteStore(waiting, timeout=IN_TIME)
        assert await store.ask(Read(b"")) is None
        await store.close()
        assert waiting.told == 2
        assert not [one for one in threading.enumerate() if one.name.startswith("idlanyard-sqlite")]

    asyncio.run(use())


def test_closing_ends_the_threads(url: str) -> None:
    """
    After close there is no thread left, and a verb begins new ones.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(url) as registry:
            for _ in range(2):
                await registry.create()
                await registry.exists(fresh())
                await registry.purge_expired()
                assert ours() == 3
                await registry.close()
                assert ours() == 0

    def ours() -> int:
        return sum(one.name.startswith("idlanyard-sqlite") for one in threading.enumerate())

    asyncio.run(use())

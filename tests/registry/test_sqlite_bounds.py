"""
Long questions to ``sqlite://`` end in time, delay no others, and are not answered later.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from time import time_ns
from typing import Any

import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryUnavailable,
    SessionRecord,
    SessionRegistry,
)
from idlanyard.registry._checks import make_key
from idlanyard.registry._questions import Put, Read
from idlanyard.registry._record import Kept
from idlanyard.registry._sqlite._async import AsyncSQLiteStore
from idlanyard.registry._sqlite._commands import Commands
from idlanyard.registry._sqlite._connections import Patience
from idlanyard.registry._sqlite._schema import Schema
from registry.files import (
    IN_TIME,
    OUT_OF_TIME,
    by_hand,
    cause_of,
    count_of,
    let_expire,
    locked,
)
from registry.naming import eventually, fresh
from registry.patience import SLACK, stopwatch

HOUR = 3_600_000_000
DAY = 24 * HOUR


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


class Long:
    """
    A question that takes seconds.

    Attributes:
        begun: whether it has begun.
        answered: whether it has come to its end, and was not interrupted.
        ended: whether it has ended, this way or that.
    """

    def __init__(self) -> None:
        self.begun = Event()
        self.answered = Event()
        self.ended = Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.begun.set()
        try:
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000000) "
                "SELECT count(*) FROM n"
            ).fetchone()
            self.answered.set()
        finally:
            self.ended.set()

    def ask(self, store: Any, file: str = "finder", patience: Patience | None = None) -> None:
        """
        Ask it as another question is asked.
        """
        getattr(store._connections, file).ask(patience, self)


@pytest.mark.parametrize("file", ["finder", "reader", "writer"])
def test_no_statement_takes_longer_than_its_time(url: str, file: str) -> None:
    """
    A statement is interrupted at the end of the timeout, whatever it does.
    """
    with SessionRegistry.open(url, timeout=OUT_OF_TIME) as registry:
        registry.create("x")
        with stopwatch() as seconds:
            assert "interrupted" in cause_of(lambda: Long().ask(registry._store, file))
            assert seconds() < OUT_OF_TIME + SLACK
        assert registry.exists("x")
        registry.create("y")


def test_a_statement_that_is_interrupted_costs_no_connection(url: str) -> None:
    """
    A connection whose statement was interrupted is used again.
    """
    with SessionRegistry.open(url, timeout=OUT_OF_TIME) as registry:
        registry.count()
        finder: Any = registry._store._connections.finder  # type: ignore[attr-defined]
        connection = finder.ask(None, lambda connection: connection)
        assert "interrupted" in cause_of(lambda: Long().ask(registry._store))
        assert finder.ask(None, lambda connection: connection) is connection


def test_nobody_waits_for_who_finds(url: str) -> None:
    """
    While a find takes long, sessions are created, looked up and ended.
    """
    long = Long()
    with SessionRegistry.open(url, timeout=2.0) as registry, ThreadPoolExecutor(1) as pool:
        registry.create("x")
        finding = pool.submit(long.ask, registry._store)
        assert long.begun.wait(IN_TIME)
        registry.create("y")
        assert registry.exists("x")
        registry.end("y")
        assert not long.ended.is_set()
        with pytest.raises(RegistryUnavailable):
            finding.result()


def test_nobody_waits_for_who_finds_on_a_loop(url: str) -> None:
    """
    On an event loop, too; and the thread of a find ends with its time.
    """
    long = Long()

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=1.0) as registry:
            await registry.create("x")
            store: Any = registry._store
            finding = asyncio.ensure_future(
                store.run_in_time("find", partial(long.ask, store._store, "finder"))
            )
            await asyncio.to_thread(long.begun.wait, IN_TIME)
            assert await registry.exists("x")
            await registry.create("y")
            assert not long.ended.is_set()
            with pytest.raises(RegistryUnavailable):
                await finding
            assert long.ended.is_set()
            assert await registry.find(client_id="c") == []

    asyncio.run(use())


def test_a_find_that_is_cancelled_ends_in_its_thread(url: str) -> None:
    """
    The thread of a verb that nobody waits for any more is free at once.
    """
    long = Long()

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=IN_TIME) as registry:
            store: Any = registry._store
            finding = asyncio.ensure_future(
                store.run_in_time("find", partial(long.ask, store._store, "finder"))
            )
            await asyncio.to_thread(long.begun.wait, IN_TIME)
            finding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await finding
            assert await registry.find(client_id="c") == []
            assert not long.answered.is_set()

    asyncio.run(use())


def test_a_thread_that_does_not_end_is_not_waited_for(url: str) -> None:
    """
    A thread that the system keeps is given up a moment after the time.
    """
    kept = Event()

    def wait(_: Patience) -> None:
        kept.wait(IN_TIME)

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=OUT_OF_TIME) as registry:
            store: Any = registry._store
            with stopwatch() as seconds, pytest.raises(RegistryUnavailable) as raised:
                await store.run_in_time("find", wait)
            assert seconds() < OUT_OF_TIME + SLACK
            assert isinstance(raised.value.__cause__, TimeoutError)
            kept.set()

    asyncio.run(use())


class Clockwork(asyncio.SelectorEventLoop):
    """
    An event loop whose time passes when it is told to.
    """

    now = 0.0

    def time(self) -> float:
        """
        Return the time that was set.
        """
        return self.now


def test_a_question_in_line_is_given_up_at_the_end_of_its_time(url: str) -> None:
    """
    A question that has not begun gets no grace; one whose thread works on it does.
    """
    begun, kept = Event(), Event()

    def wait(_: Patience) -> str:
        begun.set()
        kept.wait(IN_TIME)
        return "answered"

    async def use() -> None:
        registry = AsyncSessionRegistry.open(url, timeout=IN_TIME)
        loop, store = asyncio.get_running_loop(), registry._store
        assert isinstance(loop, Clockwork)
        assert isinstance(store, AsyncSQLiteStore)
        working = asyncio.create_task(store.run_in_time("find", wait))
        in_line = asyncio.create_task(store.run_in_time("find", wait))
        await asyncio.to_thread(begun.wait, IN_TIME)
        loop.now += IN_TIME
        for _ in range(10):
            await asyncio.sleep(0)
        assert in_line.done()
        kept.set()
        with pytest.raises(RegistryUnavailable):
            await in_line
        assert await working == "answered"
        await registry.close()

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        runner.run(use())


@pytest.fixture
def waiting(url: str) -> None:
    """
    Make the file, with one session in it.
    """
    with SessionRegistry.open(url) as registry:
        registry.create("before")


@pytest.mark.usefixtures("waiting")
def test_a_create_that_was_given_up_is_not_done_later(url: str, path: Path) -> None:
    """
    Creates that were unavailable while the file was locked stay undone.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=1.0) as registry:
            with locked(path):
                first = asyncio.create_task(registry.create("first"))
                await asyncio.sleep(0.5)
                # Its turn comes when the first one has been given up, and half its time is over.
                with pytest.raises(RegistryUnavailable):
                    await registry.create("second")
                with pytest.raises(RegistryUnavailable):
                    await first
            # In line behind whatever of them was still to come.
            await registry.create("after")
            assert [name for name in ("first", "second") if await registry.exists(name)] == []

    asyncio.run(use())


@pytest.mark.usefixtures("waiting")
def test_a_create_that_was_cancelled_is_not_done_later(url: str, path: Path) -> None:
    """
    A create that was cancelled while it waited for the file stays undone.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(url, timeout=IN_TIME) as registry:
            with locked(path) as unlock:
                create = asyncio.create_task(registry.create("cancelled"))
                writer: Any = registry._store._store._connections.writer  # type: ignore[attr-defined]
                await asyncio.to_thread(eventually, lambda: writer.is_connected)
                create.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await create
                after = asyncio.create_task(registry.create("after"))
                await asyncio.sleep(0)
                unlock()
                await after
            assert not await registry.exists("cancelled")

    asyncio.run(use())


@pytest.mark.usefixtures("waiting")
def test_a_loop_may_end_in_the_middle(url: str, path: Path) -> None:
    """
    A registry whose loop was closed while it waited goes on, on the next loop.
    """
    registry = AsyncSessionRegistry.open(url, timeout=OUT_OF_TIME)
    left: list[asyncio.Task[SessionRecord]] = []

    async def leave() -> None:
        left.append(asyncio.create_task(registry.create("left")))
        await asyncio.sleep(0)

    async def use() -> bool:
        await registry.create("then")
        there = await registry.exists("left")
        await registry.close()
        return there

    with locked(path):
        asyncio.run(leave())
    assert not asyncio.run(use())


def test_a_verb_whose_time_is_over_has_no_turn(url: str) -> None:
    """
    A thread that is late asks the file for nothing.
    """
    with SessionRegistry.open(url) as registry:
        store: Any = registry._store
        patience = Patience.of(IN_TIME)
        assert store.answer(Read(b""), patience) is None
        patience.end()
        assert "no turn" in cause_of(lambda: store.answer(Read(b""), patience))


# Housekeeping in passing.


def test_a_create_gives_up_some_of_the_dead(url: str, path: Path) -> None:
    """
    Each create gives up a few sessions that have expired, whoever made them, and no more.
    """
    with SessionRegistry.open(url) as registry:
        registry.create("alive", ttl=IN_TIME)
        with by_hand(path) as connection:
            let_expire(connection, 1000)

            def has_swept(dead: int) -> bool:
                registry.create()
                return count_of(connection, "expires <= 1000") < dead

            removed = []
            while (dead := count_of(connection, "expires <= 1000")) > 0:
                eventually(partial(has_swept, dead))
                removed.append(dead - count_of(connection, "expires <= 1000"))
            assert removed[0] == 100
            assert set(removed[:-1]) <= {4, 100}
            assert registry.purge_expired() == 0
        assert registry.exists("alive")


def test_creates_remove_many_with_pauses(path: Path) -> None:
    """
    Creates that follow each other closely remove few dead sessions each, once one removed many.
    """
    commands = Commands("idlanyard")
    with by_hand(path) as connection:
        Schema("idlanyard").prepare(connection)
        let_expire(connection, 1000)
        left = []
        for now in (1_000_000, 1_000_001, 1_049_999, 1_050_000, 1_050_001, 500_000):
            commands._sweep(connection, now)
            left.append(count_of(connection))
        assert left == [900, 896, 892, 792, 788, 688]


def test_a_key_is_given_up_with_its_session(url: str, path: Path) -> None:
    """
    Every verb that removes a session removes its idempotency key, so that no list of these grows.
    """
    with SessionRegistry.open(url) as registry, by_hand(path) as connection:
        for number in range(3):
            registry.create(f"{number}", ttl=0.01, idempotency_key=fresh("key"))
        registry.create("ended", idempotency_key=fresh("key"))
        registry.end("ended")
        eventually(lambda: not registry.exists("2"))
        registry.purge_expired()
        assert connection.execute("SELECT count(*) FROM idlanyard_creates").fetchone() == (0,)


def test_a_key_is_free_before_its_session_is_given_up(url: str, path: Path) -> None:
    """
    A key whose session has expired, and waits for its turn to be given up, makes a new one.
    """
    with SessionRegistry.open(url) as registry, by_hand(path) as connection:
        registry.create("x", ttl=0.01, idempotency_key="k")
        let_expire(connection, 1000)
        eventually(lambda: not registry.exists("x"))
        assert registry.create("y", idempotency_key="k").session_id == "y"
        assert count_of(connection, "session_id = 'x'") == 0
        assert count_of(connection, "expires <= 1000") > 700


def leave_dead(
    connection: sqlite3.Connection,
    count: int,
    start: str,
    client: str = "c",
    *,
    ttl: int = 1,
    expires: int = 2,
) -> None:
    """
    Leave dead sessions of a client, whose IDs begin with *start*.
    """
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO idlanyard_sessions "
        "SELECT randomblob(32), ? || substr('0000' || i, -5), ?, ?, '{}', ?, 1, ? FROM n",
        (count, start, make_key("client_id", client), client, ttl, expires),
    )


def work_of(registry: SessionRegistry, limit: int) -> int:
    """
    Return the steps that SQLite takes to find a client's first sessions.
    """
    finder: Any = registry._store._connections.finder  # type: ignore[attr-defined]
    connection: sqlite3.Connection = finder.ask(None, lambda connection: connection)
    steps: list[None] = []
    connection.set_progress_handler(lambda: steps.append(None), 1)
    assert len(registry.find(client_id="c", limit=limit)) == limit
    return len(steps)


@pytest.mark.parametrize(
    ("living", "start", "client"),
    [
        pytest.param(100, "a", "c", id="few living, the dead first"),
        pytest.param(100, "s", "c", id="few living, mixed"),
        pytest.param(100, "z", "c", id="few living, the dead last"),
        pytest.param(300, "a", "c", id="more than a page, the dead first"),
        pytest.param(7000, "a", "c", id="many living, the dead first"),
        pytest.param(3000, "z", "c", id="many living, the dead last"),
        pytest.param(3000, "a", "another", id="many living, the dead of another client"),
    ],
)
def test_the_dead_cost_a_find_nothing(
    url: str, path: Path, living: int, start: str, client: str
) -> None:
    """
    A find takes as many steps among 50,000 dead sessions as among 5,000.
    """
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, by_hand(path) as connection:
        registry._store.ask(Put([kept(f"s{17 * number:05}-", number) for number in range(living)]))
        work = []
        for dead in (5_000, 45_000):
            leave_dead(connection, dead, start, client)
            work.append(work_of(registry, 100))
        few, many = work
        assert many <= few + 2


def test_those_that_have_just_expired_cost_a_find_nothing(url: str, path: Path) -> None:
    """
    The dead are passed over even if they had the same term as some of the many living ones.
    """
    now = time_ns() // 1000
    living = [
        ending(f"s{number:05}", DAY, now + (HOUR if number % 30 == 0 else DAY) + number)
        for number in range(3000)
    ]
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, by_hand(path) as connection:
        registry._store.ask(Put(living))
        work = []
        for dead in (5_000, 45_000):
            leave_dead(connection, dead, "a", ttl=DAY, expires=now - 1)
            work.append(work_of(registry, 100))
        few, many = work
        assert many <= few + 2


@pytest.mark.parametrize(
    ("ttl", "first", "gap"),
    [
        pytest.param(DAY, DAY, 1, id="one term"),
        pytest.param(DAY, HOUR, 1, id="the term of the dead"),
        pytest.param(DAY, HOUR, DAY // 100, id="many terms"),
        pytest.param(1, HOUR, DAY // 100, id="too many terms"),
        pytest.param(1, HOUR, 0, id="the same end"),
    ],
)
def test_a_find_is_exact_whatever_the_terms(
    url: str, path: Path, ttl: int, first: int, gap: int
) -> None:
    """
    Page by page a find returns the living sessions in order, whenever they end.
    """
    now = time_ns() // 1000
    names = [f"s{number:05}" for number in range(700)]
    living = [
        ending(name, ttl, now + first + number * 13 % 700 * gap)
        for number, name in enumerate(names)
    ]
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, by_hand(path) as connection:
        registry._store.ask(Put(living))
        leave_dead(connection, 400, "a", ttl=DAY, expires=now - 1)
        assert find_all(registry, 10) == names


@pytest.mark.parametrize("living", [300, 700])
def test_a_find_is_exact_without_the_index_of_terms(url: str, path: Path, living: int) -> None:
    """
    A find among many dead sessions works before the index of terms is made.
    """
    names = [f"s{number:05}" for number in range(living)]
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, by_hand(path) as connection:
        registry._store.ask(Put([kept(name, number) for number, name in enumerate(names)]))
        leave_dead(connection, 400, "a")
        connection.execute("DROP INDEX idlanyard_sessions_by_term")
        assert find_all(registry, 10) == names


def find_all(registry: SessionRegistry, limit: int) -> list[str]:
    """
    Return the IDs of a client's sessions, read page by page.
    """
    found: list[str] = []
    after = None
    while page := registry.find(client_id="c", limit=limit, after=after):
        found += [one.session_id for one in page]
        after = found[-1]
    return found


@pytest.mark.parametrize("living", [5, 10, 11, 300, 700])
@pytest.mark.parametrize("dead", [0, 15, 400])
@pytest.mark.parametrize("start", ["a", "s", "z"], ids=["first", "mixed", "last"])
def test_a_find_is_exact_among_the_dead(
    url: str, path: Path, living: int, dead: int, start: str
) -> None:
    """
    Page by page a find returns exactly the living sessions, in the order of their IDs.
    """
    names = [f"s{7 * number:05}-" for number in range(living)]
    with SessionRegistry.open(url, timeout=IN_TIME) as registry, by_hand(path) as connection:
        registry._store.ask(Put([kept(name, number) for number, name in enumerate(names)]))
        leave_dead(connection, dead, start)
        assert find_all(registry, 10) == names


def kept(name: str, number: int) -> Kept:
    """
    Return a living session of one client; every second one has an end.
    """
    created = time_ns() // 1000
    ttl = DAY if number % 2 else None
    return Kept(name, "c", "{}", ttl, created, None if ttl is None else created + ttl)


def ending(name: str, ttl: int, expires: int) -> Kept:
    """
    Return a session of one client with a time to live and an end of its own.
    """
    return Kept(name, "c", "{}", ttl, expires - DAY, expires)


def test_a_page_is_full_while_its_sessions_are_ended(url: str, path: Path) -> None:
    """
    A session that ends while a page is read by terms leaves no page that looks like the last one.
    """
    with SessionRegistry.open(url) as registry, by_hand(path) as connection:
        registry._store.ask(Put([kept(f"b{number}", number) for number in range(5)]))
        leave_dead(connection, 20, "a")

        def end(statement: str) -> None:
            if "key IN (x'" in statement:
                registry.end("b0")

        with by_hand(path) as reader:
            reader.set_trace_callback(end)
            found = Commands("idlanyard").page(reader, make_key("client_id", "c"), "", 2)
            reader.set_trace_callback(None)
        assert [row.session_id for row in found] == ["b0", "b1"]
        assert not registry.exists("b0")

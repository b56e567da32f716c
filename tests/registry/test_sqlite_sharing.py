"""
``sqlite://`` shared by processes, event loops and cancelled tasks.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryUnavailable,
    SessionRegistry,
)
from idlanyard.registry._questions import Read
from idlanyard.registry._sqlite._async import AsyncSQLiteStore
from idlanyard.registry._sqlite._connections import Connection, Shared, forks
from idlanyard.registry._sqlite._sync import SQLiteStore
from registry import forking
from registry.files import (
    IN_TIME,
    OUT_OF_TIME,
    by_hand,
    leave,
    locked,
)
from registry.naming import fresh
from registry.sqlite_fixtures import path, url

__all__ = ["path", "url"]


def test_many_processes_make_one_file(tmp_path: Path) -> None:
    """
    Four processes that make a file at the same moment make one, of 25 files each.
    """
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(25)]
    outcome = forking.outcome_of(forking.open_new_files, urls)
    for number, opened in enumerate(urls):
        created = sorted(name for process in outcome for name in process[number])
        assert created == ["0", "1", "2", "3", "everybody's"]
        with SessionRegistry.open(opened) as registry:
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

"""
``postgresql://`` shared by processes, event loops and cancelled tasks.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryUnavailable,
    SessionNotFound,
)
from registry.naming import eventually, fresh
from registry.postgres import (
    PostgreSQL,
    database,
    execute,
    own_server,
    postgres,
)
from registry.postgres_fixtures import SHORT, Face, blocked, face, waiting

__all__ = ["database", "face", "own_server", "postgres"]


OURS = "pg_stat_activity WHERE datname = current_database() AND application_name = 'idlanyard'"


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_server_that_stands_still_holds_up_no_task(
    own_server: PostgreSQL, is_cancelled: bool
) -> None:
    """
    A timeout or cancellation does not wait for a server that hangs.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(own_server.url, timeout=SHORT) as registry:
            await registry.exists("x")
            await asyncio.to_thread(own_server.freeze)
            task = asyncio.create_task(registry.exists("x"))
            # psycopg by itself would ask the server to cancel, and wait for five seconds.
            patience = asyncio.create_task(asyncio.sleep(4.5))
            await asyncio.sleep(0)
            if is_cancelled:
                task.cancel()
            done, _ = await asyncio.wait([task, patience], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(own_server.thaw)
            assert done == {task}
            patience.cancel()
            assert task.cancelled() is is_cancelled
            assert is_cancelled or isinstance(task.exception(), RegistryUnavailable)
            assert not await registry.exists("x")

    asyncio.run(use())


# Forks and loops

FORK = """
import os, sys
from idlanyard.registry import SessionExists, SessionRegistry

registry = SessionRegistry.open(sys.argv[1])
registry.create("parent")
child = os.fork()
if not child:
    registry.create("child")
    try:
        registry.create("parent")
    except SessionExists:
        registry.close()
        os._exit(0)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert status == 0
assert registry.get("child").session_id == "child"
registry.close()
"""


def test_a_forked_child_connects_for_itself(database: str) -> None:
    """
    After a fork both processes work, each with its own connections.
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORK, database],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_loop_is_told(database: str) -> None:
    """
    R14: an async registry raises on a second event loop until it is closed.
    """
    registry = AsyncSessionRegistry.open(database)

    async def use() -> None:
        await registry.exists("x")

    async def use_and_close() -> None:
        await registry.exists("x")
        await registry.close()

    with asyncio.Runner() as first:
        first.run(use())
        with (
            asyncio.Runner() as second,
            pytest.raises(RuntimeError, match="one registry for each loop"),
        ):
            second.run(use())
        first.run(registry.close())
    asyncio.run(use_and_close())


def test_closing_on_another_loop_is_harmless(database: str) -> None:
    """
    R14: a registry whose loop is closed can be closed and used on another loop.
    """
    registry = AsyncSessionRegistry.open(database)

    async def use() -> bool:
        return await registry.exists("x")

    asyncio.run(use())
    asyncio.run(registry.close())
    with asyncio.Runner() as runner:
        assert runner.run(use()) is False
        runner.run(registry.close())


def test_a_cancelled_verb_leaves_the_registry_usable(database: str) -> None:
    """
    R14: calls cancelled while they wait for a lock or a connection leave no connection in use.
    """

    async def cancel() -> None:
        async with AsyncSessionRegistry.open(database) as registry:
            await registry.exists("x")
            with blocked(database, "x"):
                asked = [asyncio.create_task(registry.create("x")) for _ in range(30)]
                await asyncio.to_thread(eventually, lambda: waiting(database) == 10)
                for task in asked:
                    task.cancel()
                ended = await asyncio.gather(*asked, return_exceptions=True)
                assert {type(one) for one in ended} == {asyncio.CancelledError}
            names = [fresh() for _ in range(30)]
            made = await asyncio.gather(*map(registry.create, names))
            assert [one.session_id for one in made] == names

    asyncio.run(cancel())


def test_verbs_cancelled_at_any_moment_leave_the_registry_usable(database: str) -> None:
    """
    R14: after a cancellation at any moment, also while connecting, the next call works.
    """

    async def cancel() -> None:
        for steps in range(40):
            async with AsyncSessionRegistry.open(database) as registry:
                task = asyncio.create_task(registry.create())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert (await registry.create()).session_id
                used = [asyncio.create_task(registry.exists("x")) for _ in range(3)]
                for _ in range(steps // 4):
                    await asyncio.sleep(0)
                for one in used:
                    one.cancel()
                await asyncio.wait(used)
                assert not await registry.exists("x")

    asyncio.run(cancel())


def test_the_loop_goes_on_while_a_verb_waits(database: str) -> None:
    """
    While a call waits for the server, the event loop runs other tasks.
    """

    async def count() -> int:
        async with AsyncSessionRegistry.open(database, timeout=SHORT) as registry:
            await registry.exists("x")
            with blocked(database, "x"):
                task = asyncio.create_task(registry.create("x"))
                turns = 0
                while not task.done():
                    turns += 1
                    await asyncio.sleep(0.001)
            assert isinstance(task.exception(), RegistryUnavailable)
            return turns

    assert asyncio.run(count()) > 10


def test_unknown_sessions_stay_unknown_behind_a_pooler(database: str, face: Face) -> None:
    """
    R16: every statement works on another connection; none depends on the state of one.
    """
    with face(f"{database}?options=") as registry:
        for _ in range(10):
            with pytest.raises(SessionNotFound):
                registry.get("x")
            execute(database, f"SELECT pg_terminate_backend(pid, 60000) FROM {OURS}")
            eventually(lambda: not execute(database, f"SELECT 1 FROM {OURS}"))

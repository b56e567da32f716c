"""
Threads of one's own, for functions that wait: on asyncio, on trio, and after a fork.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio

from idlanyard._decision.worker_threads import WorkerThreads, limit_time
from registry.naming import eventually

LOOPS = [pytest.param(asyncio.run, id="asyncio"), pytest.param(trio.run, id="trio")]
NAME: ContextVar[str] = ContextVar("NAME", default="")


def run_on(loop: Any, function: Any) -> Any:
    """
    Run an async function without arguments on a new loop.
    """
    return loop(function()) if loop is asyncio.run else loop(function)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_function_runs_in_a_thread_with_the_context(loop: Any) -> None:
    """
    A function runs in another thread and sees the context variables of the caller.
    """
    threads = WorkerThreads(2, "two")

    async def ask() -> Any:
        NAME.set("alice")
        here = threading.get_ident()
        return await threads.run(lambda: (NAME.get(), threading.get_ident() != here))

    assert run_on(loop, ask) == ("alice", True)
    # A second loop takes the same threads.
    assert run_on(loop, ask) == ("alice", True)


@pytest.mark.parametrize("loop", LOOPS)
def test_no_more_threads_than_allowed(loop: Any) -> None:
    """
    Cancelling a task frees no thread that still works, and a call that has not begun is dropped.
    """
    threads = WorkerThreads(2, "two")
    release = threading.Event()
    begun: list[int] = []

    def wait(number: int) -> bool:
        begun.append(number)
        return release.wait(20)

    async def give_up(number: int) -> None:
        with pytest.raises(TimeoutError):
            async with limit_time(0.3):
                await threads.run(wait, number)

    async def ask() -> bool:
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(give_up, number)
        assert len(begun) == 2
        # Those two are given up, and go on.
        async with anyio.create_task_group() as group:
            for number in range(6, 9):
                group.start_soon(give_up, number)
        assert len(begun) == 2
        release.set()
        return bool(await threads.run(wait, 9))

    assert run_on(loop, ask)
    assert begun[2:] == [9]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stray_stop_is_an_error(loop: Any) -> None:
    """
    A StopIteration in a thread is raised as an error, and leaves no task waiting.
    """
    threads = WorkerThreads(1, "one")

    async def ask() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(next, iter([]))

    run_on(loop, ask)


def test_a_child_has_threads_of_its_own() -> None:
    """
    A process that is forked off after the threads have begun begins its own.
    """
    program = """
import asyncio, os
from idlanyard._decision.worker_threads import WorkerThreads
threads = WorkerThreads(1, "one")
assert asyncio.run(threads.run(os.getpid)) == os.getpid()
child = os.fork()
if child == 0:
    assert asyncio.run(threads.run(os.getpid)) == os.getpid()
    raise SystemExit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ignored = "-Wignore:This process:DeprecationWarning"
    words = [sys.executable, "-Werror", ignored, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_without_anyio_another_loop_is_refused_in_a_sentence() -> None:
    """
    On a loop that is not asyncio's, if AnyIO is missing, the error shows the package to install.
    """
    program = """
import sys
import trio
sys.modules["anyio"] = None
from idlanyard._decision.worker_threads import WorkerThreads, limit_time
async def ask():
    try:
        await WorkerThreads(1, "one").run(len, "x")
    except RuntimeError as error:
        print(error)
    try:
        async with limit_time(1):
            pass
    except RuntimeError as error:
        print(error)
trio.run(ask)
"""
    words = [sys.executable, "-Werror", "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    sentence = "this event loop is not asyncio's: run pip install anyio, or serve by asyncio\n"
    assert (done.stdout, done.stderr) == (sentence * 2, "")


def test_threads_end_with_their_owner() -> None:
    """
    Threads end with the object that they were made for.
    """
    threads = WorkerThreads(3, "short-lived")
    asyncio.run(threads.run(os.getpid))
    assert [t.name for t in threading.enumerate() if t.name.startswith("short-lived")]
    del threads
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("short-lived")])

"""
Routes that do their work elsewhere: in threads, pools, task groups and other processes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import FastAPI

from idlanyard import (
    ContextThreadPoolExecutor,
    Policy,
    carry,
    get_session_context,
    identify,
    session_context,
    without,
)
from idlanyard.integrations.fastapi import install
from integrations.apps.seen import DEADLINE, ids

NAMED: Final = "alice"


def work() -> dict[str, Any]:
    """
    Name the user of the request, and say what is in force.
    """
    identify(user_id=NAMED)
    return ids()


async def work_async() -> dict[str, Any]:
    await asyncio.sleep(0)
    return work()


async def to_thread() -> dict[str, Any]:
    return await asyncio.to_thread(work)


async def anyio_thread() -> dict[str, Any]:
    return await anyio.to_thread.run_sync(work)


async def anyio_back() -> dict[str, Any]:
    """
    A thread that goes back to the loop.
    """
    return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(work_async))


async def anyio_group() -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def one() -> None:
        found.append(await work_async())

    async with anyio.create_task_group() as group:
        group.start_soon(one)
    return found[0]


async def task() -> dict[str, Any]:
    return await asyncio.create_task(work_async())


async def executor() -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def executor_carried() -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(None, carry(work))


async def pool_of_ours() -> dict[str, Any]:
    with ContextThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


async def thread(target: Callable[[], Any]) -> None:
    one = threading.Thread(target=target)
    one.start()
    await asyncio.to_thread(one.join)


async def thread_carried() -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    await thread(carry(lambda: found.append(work())))
    return found[0]


async def thread_alone() -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    await thread(lambda: found.append(work()))
    return found[0]


async def thread_threadsafe() -> dict[str, Any]:
    """
    A thread that hands a coroutine to the loop, which has the thread's own context.
    """
    loop = asyncio.get_running_loop()
    found: list[dict[str, Any]] = []

    def hand_over() -> None:
        handed = asyncio.run_coroutine_threadsafe(work_async(), loop)
        found.append(handed.result(DEADLINE))

    await thread(carry(hand_over))
    return found[0]


async def task_without() -> dict[str, Any]:
    with without():
        started = asyncio.create_task(work_async())
    return await started


async def in_pool(pool: Executor, fn: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(pool, fn)


async def process(fn: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return await in_pool(pool, fn)


async def process_carried() -> dict[str, Any]:
    return await process(carry(work))


async def process_alone() -> dict[str, Any]:
    return await process(work)


async def two_blocks() -> dict[str, Any]:
    """
    Two threads with blocks of their own, at the same time.
    """
    both = threading.Barrier(2)

    def one(tenant: str) -> str | None:
        with session_context(tenant_id=tenant):
            both.wait(DEADLINE)
            return get_session_context().tenant_id

    seen = await asyncio.gather(*(asyncio.to_thread(one, tenant) for tenant in ("acme", "globex")))
    assert seen == ["acme", "globex"]
    return work()


SHARED: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "to_thread": to_thread,
    "anyio_thread": anyio_thread,
    "anyio_back": anyio_back,
    "anyio_group": anyio_group,
    "task": task,
    "executor_carried": executor_carried,
    "pool_of_ours": pool_of_ours,
    "thread_carried": thread_carried,
    "thread_threadsafe": thread_threadsafe,
    "two_blocks": two_blocks,
}
APART: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "executor": executor,
    "thread_alone": thread_alone,
    "task_without": task_without,
    "process_alone": process_alone,
}
BY_VALUE: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {"process_carried": process_carried}


def build(pool: Executor) -> FastAPI:
    """
    Return the application: each route under its name, and two that share *pool*.
    """
    app = FastAPI()
    for name, route in (SHARED | APART | BY_VALUE).items():
        app.get(f"/{name}")(route)

    @app.get("/pool")
    async def plain() -> dict[str, Any]:
        return await in_pool(pool, ids)

    @app.get("/pool_carried")
    async def carried() -> dict[str, Any]:
        return await in_pool(pool, carry(work))

    install(app, Policy())
    return app

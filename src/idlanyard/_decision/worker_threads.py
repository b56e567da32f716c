"""
Time limits and worker threads on any event loop, for functions that block.

asyncio has both in the standard library; on any other loop, such as trio's, AnyIO is used.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

NO_ANYIO = "this event loop is not asyncio's: run pip install anyio, or serve by asyncio"


@asynccontextmanager
async def limit_time(seconds: float) -> AsyncGenerator[None, None]:
    """
    Cancel the body of the block when its time is over.

    Raises:
        TimeoutError: the time was over.
        RuntimeError: the loop is not asyncio's, and AnyIO is missing.
    """
    if is_asyncio():
        import asyncio

        async with asyncio.timeout(seconds):
            yield
    else:
        anyio, _, _ = _import_anyio()
        with anyio.fail_after(seconds):
            yield


def is_asyncio() -> bool:
    """
    Return whether the current event loop is asyncio's.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_failure(error: BaseException) -> bool:
    """
    Return whether what was awaited has failed, and the request is not to end.

    A cancellation, or a group of them, is a failure where nobody has cancelled
    the current task: it is that of another task, which several requests wait
    for. On other event loops than asyncio's no task can be waited for like that.
    """
    if isinstance(error, Exception):
        return True
    if not is_asyncio():
        return False
    import asyncio

    task = asyncio.current_task()
    if task is None or task.cancelling():
        return False
    return _holds_only(error, (Exception, asyncio.CancelledError))


def _holds_only(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        held = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return all(_holds_only(one, kinds) for one in held)
    return isinstance(error, kinds)


class WorkerThreads:
    """
    A bounded number of threads for one purpose, on any event loop.

    The loop's own threads are shared by the whole process: a few functions that
    wait for a silent server would occupy all of them.

    Args:
        most: the largest number of threads; further calls wait for one.
        name: the prefix of the threads' names.
    """

    __slots__ = ("_by_process", "_limiters", "_most", "_name")

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        # A forked child has none of its parent's threads, so the parent's executor would hang.
        self._by_process: dict[int, ThreadPoolExecutor] = {}
        self._limiters: Any = None

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """
        Call a function in a thread, in a copy of the context, and return its result.

        A cancelled task stops waiting at once. A call that has not begun is then
        dropped; one that has goes on, and occupies its thread until it is done.

        Raises:
            RuntimeError: the loop is not asyncio's, and AnyIO is missing.
        """
        work = partial(copy_context().run, _call_safely, call, *arguments)
        if is_asyncio():
            import asyncio

            return await asyncio.get_running_loop().run_in_executor(self._threads(), work)
        _, _, to_thread = _import_anyio()
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter())

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        found = self._by_process.get(os.getpid())
        if found is None:
            # If two tasks get here at once, one executor is dropped, which has no threads yet.
            made = ThreadPoolExecutor(self._most, self._name)
            found = self._by_process.setdefault(os.getpid(), made)
        return found

    def _limiter(self) -> Any:
        """
        Return the limiter of the current event loop's threads.
        """
        anyio, lowlevel, _ = _import_anyio()
        if self._limiters is None:
            self._limiters = lowlevel.RunVar(f"{self._name}-{id(self)}")
        found = self._limiters.get(None)
        if found is None:
            found = anyio.CapacityLimiter(self._most)
            self._limiters.set(found)
        return found


def _call_safely(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except StopIteration as error:
        # A future refuses StopIteration, and the task that awaits it would never end.
        raise RuntimeError("a function in a worker thread raised StopIteration") from error


def _import_anyio() -> tuple[Any, Any, Any]:
    """
    Return AnyIO and the two submodules that have to be imported separately.
    """
    try:
        import anyio
        from anyio import lowlevel, to_thread
    except ImportError:
        raise RuntimeError(NO_ANYIO) from None
    return anyio, lowlevel, to_thread

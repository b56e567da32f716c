"""
What differs between event loops: time limits, and threads for functions that wait.

On asyncio the standard library does; on any other loop, such as trio's, AnyIO.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

NO_ANYIO = "this event loop is not asyncio's: run pip install anyio, or serve by asyncio"


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncGenerator[None, None]:
    """
    End what is awaited inside when its time is over.

    Raises:
        TimeoutError: it was over.
        RuntimeError: the loop is not asyncio's, and AnyIO is missing.
    """
    if is_asyncio():
        import asyncio

        async with asyncio.timeout(seconds):
            yield
    else:
        anyio, _, _ = _anyio()
        with anyio.fail_after(seconds):
            yield


def is_asyncio() -> bool:
    """
    Return whether the loop that runs here is asyncio's.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class WorkerThreads:
    """
    A bounded number of threads of one's own, whatever event loop asks for them.

    A loop's own threads are everybody's: a few functions that wait for a
    server that is silent take them all.

    Args:
        most: how many at once; who comes later waits for one.
        name: what the threads' names begin with.
    """

    __slots__ = ("_by_process", "_limiters", "_most", "_name")

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        # A child that is forked off has no threads, and so no use for its parent's.
        self._by_process: dict[int, ThreadPoolExecutor] = {}
        self._limiters: Any = None

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """
        Return what *call* returns, called in a thread, in a copy of the context.

        Who is cancelled meanwhile waits no longer. A call that has not begun
        never does then; one that has goes on, and its thread is taken until it
        is done.

        Raises:
            RuntimeError: the loop is not asyncio's, and AnyIO is missing.
        """
        work = partial(copy_context().run, _called, call, *arguments)
        if is_asyncio():
            import asyncio

            return await asyncio.get_running_loop().run_in_executor(self._threads(), work)
        _, _, to_thread = _anyio()
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter())

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        found = self._by_process.get(os.getpid())
        if found is None:
            # Of two that begin at once one is used; the other has no threads yet.
            made = ThreadPoolExecutor(self._most, self._name)
            found = self._by_process.setdefault(os.getpid(), made)
        return found

    def _limiter(self) -> Any:
        """
        Return what counts the threads of the loop that runs here.
        """
        anyio, lowlevel, _ = _anyio()
        if self._limiters is None:
            self._limiters = lowlevel.RunVar(f"{self._name}-{id(self)}")
        found = self._limiters.get(None)
        if found is None:
            found = anyio.CapacityLimiter(self._most)
            self._limiters.set(found)
        return found


def _called(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except StopIteration as error:
        # No future takes one: it would end whoever awaits, without a word.
        raise RuntimeError("a function in a worker thread raised StopIteration") from error


def _anyio() -> tuple[Any, Any, Any]:
    """
    Return AnyIO, and the parts of it that have to be imported by themselves.
    """
    try:
        import anyio
        from anyio import lowlevel, to_thread
    except ImportError:
        raise RuntimeError(NO_ANYIO) from None
    return anyio, lowlevel, to_thread

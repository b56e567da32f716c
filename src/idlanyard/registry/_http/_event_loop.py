"""
An event loop in a thread of its own, for async code that is called from code that waits.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from idlanyard._forks import in_child

_NAME: Final = "idlanyard-registry"


class _Running(NamedTuple):
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    end: asyncio.Event


class _Starting:
    """
    One at a time, so that a process has no two.
    """

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()


in_child(_Starting.renew)


class EventLoopThread:
    """
    One loop in one daemon thread, begun when first needed, and anew after a fork.
    """

    __slots__ = ("_running",)

    def __init__(self) -> None:
        # The parent's stays in here, for the child has no use for it and must not end it.
        self._running: dict[int, _Running] = {}

    @property
    def is_running(self) -> bool:
        """
        Whether this process has begun one.
        """
        return os.getpid() in self._running

    def wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """
        Await on the loop, in the context of here, and return what comes of it.
        """
        running = self._begun()
        # What is called from outside the loop runs in a copy of the caller's context.
        future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), running.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """
        End the loop, and wait for its thread. Twice is harmless.
        """
        running = self._running.pop(os.getpid(), None)
        if running is not None:
            running.loop.call_soon_threadsafe(running.end.set)
            running.thread.join()

    def _begun(self) -> _Running:
        running = self._running.get(os.getpid())
        if running is None:
            with _Starting.lock:
                running = self._running.get(os.getpid()) or self._begin()
        return running

    def _begin(self) -> _Running:
        begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(_until_ended(begun)), name=_NAME, daemon=True
        )
        thread.start()
        running = self._running[os.getpid()] = _Running(thread, *begun.result())
        return running


async def _until_ended(
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    end = asyncio.Event()
    begun.set_result((asyncio.get_running_loop(), end))
    await end.wait()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable

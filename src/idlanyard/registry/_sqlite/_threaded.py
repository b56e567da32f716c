"""
An ``AsyncStore`` made of a ``Store`` and threads of its own, which do the waiting.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._record import Draft, Row
from idlanyard.registry._store import Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Threads:
    """
    Single threads by what they do, each begun when it is needed, and anew after a fork.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pid = os.getpid()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def take(self) -> list[ThreadPoolExecutor]:
        """
        Give away all threads: who needs one later begins another.
        """
        pools, self._pools = self._pools, {}
        return list(pools.values())

    def thread(self, work: str) -> Executor:
        """
        Return the thread for this work.
        """
        if self._pid != os.getpid():
            # The parent's have stayed there.
            self._pid, self._pools = os.getpid(), {}
        if work not in self._pools:
            name = f"idlanyard-{self._name}-{work}"
            self._pools[work] = ThreadPoolExecutor(1, thread_name_prefix=name)
        return self._pools[work]


class ThreadedStore:
    """
    A store for event loops, whichever; see ``AsyncStore``.

    What reads waits for nothing that writes, and neither for a purge. A verb
    that is cancelled, or out of time, is not begun any more, or ends unheard.

    Args:
        store: what the threads ask.
        scheme: the kind of store.
        timeout: the most seconds that a verb may take, the time in the queue included.
    """

    def __init__(self, store: Store, *, scheme: str, timeout: float) -> None:
        self._store = store
        self._scheme = scheme
        self._timeout = timeout
        self._threads = _Threads(scheme)

    async def insert(self, draft: Draft) -> Row | None:
        """
        As ``AsyncStore.insert``.
        """
        return await self._in_time("write", self._store.insert, draft)

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return await self._in_time("read", self._store.read, key)

    async def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        return await self._in_time("write", self._store.extend, key, ttl)

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return await self._in_time("write", self._store.delete, key, created)

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        return await self._in_time("read", self._store.page, client_key, after, limit)

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``: as long as it takes, since each of its batches has its time.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads.thread("purge"), self._store.purge)

    async def close(self) -> None:
        """
        As ``AsyncStore.close``: what has begun ends first.
        """
        pools = self._threads.take()
        if pools:
            with ThreadPoolExecutor(1) as closing:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(closing, self._close, pools)

    def _close(self, pools: list[ThreadPoolExecutor]) -> None:
        # A purge ends at its next batch, when the store is closed the first time.
        with suppress(RegistryUnavailable):
            self._store.close()
        for pool in pools:
            pool.shutdown()
        self._store.close()

    async def _in_time(self, work: str, verb: Callable[[*Ts], T], *args: *Ts) -> T:
        # As asyncio.timeout would do it, at half the price, which every verb pays.
        loop, cancelled = asyncio.get_running_loop(), _cancelled()
        answer = loop.run_in_executor(self._threads.thread(work), verb, *args)
        end = loop.call_later(self._timeout, answer.cancel)
        try:
            return await answer
        except asyncio.CancelledError:
            if _cancelled() > cancelled:
                raise
            raise RegistryUnavailable(self._scheme) from TimeoutError("no answer in time")
        finally:
            end.cancel()


def _cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0

"""
An ``AsyncStore`` made of a file's ``Store`` and threads of its own, which do the waiting.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar, TypeVarTuple

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch
from idlanyard.registry._sqlite._patience import Patience
from idlanyard.registry._sqlite._store import SQLiteStore, Verbs

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_GRACE: Final = 0.25
"""
How many seconds a thread whose time is over has to say what became of its verb.
"""


class _Threads:
    """
    Single threads by what they do, each begun when it is needed, and anew after a fork.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def take(self) -> list[ThreadPoolExecutor]:
        """
        Give away all threads: who needs one later begins another.
        """
        pools, self._pools = self._pools, {}
        return list(pools.values())

    def thread(self, work: str) -> ThreadPoolExecutor:
        """
        Return the thread for this work.
        """
        if self._pid != os.getpid():
            # The parent's have stayed there.
            self._pid, self._pools = os.getpid(), {}
        if work not in self._pools:
            name = f"idlanyard-sqlite-{work}"
            self._pools[work] = ThreadPoolExecutor(1, thread_name_prefix=name)
        return self._pools[work]


class ThreadedStore:
    """
    A store for event loops, whichever; see ``AsyncStore``.

    Who looks one session up waits for nothing that writes or goes through
    many, and nobody for a purge. A verb that is cancelled, or out of time, is
    given up in its thread as well, and not done later.

    Args:
        store: what the threads ask.
        timeout: the most seconds that a verb may take, the time in the queue included.
    """

    def __init__(self, store: SQLiteStore, *, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._threads = _Threads()

    async def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``AsyncStore.insert``.
        """
        return await self._in_time("write", Verbs.insert, draft)

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return await self._in_time("read", Verbs.read, key)

    async def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        return await self._in_time("write", Verbs.extend, key, ttl, metadata, created)

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return await self._in_time("write", Verbs.delete, key, created)

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        return await self._in_time("find", Verbs.page, client_key, after, limit)

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``: as long as it takes, since each of its batches has its time.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads.thread("purge"), self._store.purge)

    async def count(self) -> int:
        """
        As ``AsyncStore.count``.
        """
        return await self._in_time("find", Verbs.count)

    async def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``AsyncStore.walk``.
        """
        return await self._in_time("find", Verbs.walk, after, limit)

    async def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``AsyncStore.put``.
        """
        return await self._in_time("write", Verbs.put, sessions)

    async def check(self) -> list[str]:
        """
        As ``AsyncStore.check``.
        """
        return await self._in_time("write", Verbs.check)

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

    async def _in_time(self, work: str, verb: Callable[[Verbs, *Ts], T], *args: *Ts) -> T:
        # As asyncio.timeout would do it, at half the price, which every verb pays.
        loop, cancelled = asyncio.get_running_loop(), _cancelled()
        patience = Patience.of(self._timeout)
        begun = self._threads.thread(work).submit(verb, self._store.within(patience), *args)
        answer = asyncio.wrap_future(begun)
        end = loop.call_later(self._timeout, _give_up, begun, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            patience.end()
            if _cancelled() > cancelled:
                raise
            raise RegistryUnavailable("sqlite") from TimeoutError("no answer in time")
        finally:
            end.cancel()


def _give_up(begun: Future[T], answer: asyncio.Future[T]) -> None:
    """
    Take a verb's turn away; one that has begun is about to say what became of it.
    """
    if not begun.cancel():
        answer.get_loop().call_later(_GRACE, answer.cancel)


def _cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0

"""
The store of ``sqlite://`` for event loops: threads of its own ask the file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._questions import Count, Page, Purge, Question, Read, Walk
from idlanyard.registry._sqlite._connections import Patience
from idlanyard.registry._sqlite._sync import SQLiteStore

T = TypeVar("T")
_Work: TypeAlias = Literal["read", "write", "find", "purge"]

_WORK: Final[dict[type[Question[Any]], _Work]] = {
    Read: "read",
    Page: "find",
    Count: "find",
    Walk: "find",
    Purge: "purge",
}
_GRACE: Final = 0.25
"""
The seconds behind the timeout in which a thread may still raise its own error.
"""


class _Threads:
    """
    One thread for each kind of work, started when it is needed, and again after a fork.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._pools: dict[_Work, ThreadPoolExecutor] = {}

    def take_all(self) -> list[ThreadPoolExecutor]:
        """
        Return all threads, and forget them: later work starts others.
        """
        pools, self._pools = self._pools, {}
        return list(pools.values())

    def get(self, work: _Work) -> ThreadPoolExecutor:
        """
        Return the thread for this kind of work.
        """
        if self._pid != os.getpid():
            # A fork copies no threads.
            self._pid, self._pools = os.getpid(), {}
        if work not in self._pools:
            name = f"idlanyard-sqlite-{work}"
            self._pools[work] = ThreadPoolExecutor(1, thread_name_prefix=name)
        return self._pools[work]


class AsyncSQLiteStore:
    """
    A store in one file for any number of event loops; see ``AsyncStore``.

    Reading one session waits neither for writing nor for questions about many
    sessions, and nothing waits for a purge. A question that is cancelled, or
    out of time, is given up in its thread as well, and not answered later.

    Args:
        store: the store that the threads ask.
        timeout: the most seconds that a question may take, with its wait for the thread.
    """

    def __init__(self, store: SQLiteStore, *, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._threads = _Threads()

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        work = _WORK.get(type(question), "write")
        if work == "purge":
            # No timeout: each of its batches has one.
            loop, thread = asyncio.get_running_loop(), self._threads.get(work)
            return await loop.run_in_executor(thread, self._store.ask, question)
        return await self.run_in_time(work, partial(self._store.answer, question))

    async def close(self) -> None:
        """
        Close the file and the threads; questions that are being answered end first.
        """
        pools = self._threads.take_all()
        if pools:
            with ThreadPoolExecutor(1) as closing:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(closing, self._close, pools)

    async def run_in_time(self, work: _Work, answer: Callable[[Patience], T]) -> T:
        """
        Return the result of a function that runs in the thread for this kind of work.

        Raises:
            RegistryUnavailable: there is no result in time.
        """
        # asyncio.timeout would be shorter, and a get take 64 microseconds instead of 57.
        loop, cancels = asyncio.get_running_loop(), _count_cancels()
        patience = Patience.of(self._timeout)
        running = self._threads.get(work).submit(answer, patience)
        awaited = asyncio.wrap_future(running)
        end = loop.call_later(self._timeout, _give_up, running, awaited)
        try:
            return await awaited
        except asyncio.CancelledError:
            patience.end()
            if _count_cancels() > cancels:
                raise
            raise RegistryUnavailable("sqlite") from TimeoutError("no answer in time")
        finally:
            end.cancel()

    def _close(self, pools: list[ThreadPoolExecutor]) -> None:
        # The first close ends a purge at its next batch, which its thread waits for.
        with suppress(RegistryUnavailable):
            self._store.close()
        for pool in pools:
            pool.shutdown()
        self._store.close()


def _give_up(running: Future[Any], awaited: asyncio.Future[Any]) -> None:
    """
    Cancel a question that has not begun; a moment later, also one that has.
    """
    if not running.cancel():
        awaited.get_loop().call_later(_GRACE, awaited.cancel)


def _count_cancels() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0

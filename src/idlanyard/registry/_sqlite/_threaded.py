"""
An ``AsyncStore`` made of a file's ``Store`` and threads of its own, which do the waiting.
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
from idlanyard.registry._sqlite._patience import Patience
from idlanyard.registry._sqlite._store import SQLiteStore

T = TypeVar("T")
_Work: TypeAlias = Literal["read", "write", "find", "purge"]

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
        self._pools: dict[_Work, ThreadPoolExecutor] = {}

    def take(self) -> list[ThreadPoolExecutor]:
        """
        Give away all threads: who needs one later begins another.
        """
        pools, self._pools = self._pools, {}
        return list(pools.values())

    def thread(self, work: _Work) -> ThreadPoolExecutor:
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

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.

        A purge takes as long as it needs, since the timeout is for each of its batches.
        """
        work, answer = _work_of(question), partial(self._store.answer, question)
        if work == "purge":
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads.thread(work), answer, None)
        return await self._in_time(work, answer)

    async def close(self) -> None:
        """
        Close the file and the threads; the questions that are being answered end first.
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

    async def _in_time(self, work: _Work, ask: Callable[[Patience], T]) -> T:
        # As asyncio.timeout would do it, at half the price, which every verb pays.
        loop, cancelled = asyncio.get_running_loop(), _cancelled()
        patience = Patience.of(self._timeout)
        begun = self._threads.thread(work).submit(ask, patience)
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


def _work_of(question: Question[Any]) -> _Work:
    match question:
        case Read():
            return "read"
        case Page() | Count() | Walk():
            return "find"
        case Purge():
            return "purge"
        case _:
            return "write"


def _give_up(begun: Future[T], answer: asyncio.Future[T]) -> None:
    """
    Take a verb's turn away; one that has begun is about to say what became of it.
    """
    if not begun.cancel():
        answer.get_loop().call_later(_GRACE, answer.cancel)


def _cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0

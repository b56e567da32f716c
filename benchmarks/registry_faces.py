"""
Both ways to call a registry, or who does its work by hand, and to time the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

from idlanyard.registry import AsyncSessionRegistry, SessionRegistry


class Face:
    """
    A way to call: by a thread that waits.
    """

    name = "sync"
    kind: Any = SessionRegistry

    def done(self, answer: Any) -> Any:
        """
        Return what a call has answered.
        """
        return answer

    def timed(self, call: Callable[[str], Any], names: Sequence[str]) -> list[int]:
        """
        Call with one name after the other, and return the nanoseconds that each call took.
        """
        times = []
        for name in names:
            start = perf_counter_ns()
            call(name)
            times.append(perf_counter_ns() - start)
        return times

    @contextmanager
    def lent(self, opened: Any) -> Iterator[Any]:
        """
        Lend a registry, or who does its work by hand, and close it.
        """
        try:
            yield opened
        finally:
            self.done(opened.close())


class AwaitedFace(Face):
    """
    A way to call: by a task on an event loop.
    """

    name = "async"
    kind = AsyncSessionRegistry

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def done(self, answer: Any) -> Any:
        """
        Return what a call answers.
        """
        return self._runner.run(answer)

    def timed(self, call: Callable[[str], Any], names: Sequence[str]) -> list[int]:
        """
        Call with one name after the other, and return the nanoseconds that each call took.
        """

        async def called() -> list[int]:
            times = []
            for name in names:
                start = perf_counter_ns()
                await call(name)
                times.append(perf_counter_ns() - start)
            return times

        times: list[int] = self._runner.run(called())
        return times


@contextmanager
def faces() -> Iterator[list[Face]]:
    """
    Lend both ways to call.
    """
    with asyncio.Runner() as runner:
        yield [Face(), AwaitedFace(runner)]

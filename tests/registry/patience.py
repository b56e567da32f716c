"""
A clock for verbs that must end in time, which stops while the machine does not run the tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

SLACK = 0.5
"""
The seconds after its timeout in which a verb may still end.
"""
_TICK = 0.01
_STALL = 0.05


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """
    Lend a function that returns the seconds since the start, less those in which this
    process was not run.

    A thread looks at the clock a hundred times a second. A longer gap than 0.05 seconds
    is a busy or stalled machine, and counts as 0.05.
    """
    gaps: list[float] = []
    over = Event()

    def tick() -> None:
        last = time.monotonic()
        while not over.wait(_TICK):
            now = time.monotonic()
            gaps.append(min(now - last, _STALL))
            last = now

    thread = Thread(target=tick)
    thread.start()
    try:
        yield lambda: sum(gaps)
    finally:
        over.set()
        thread.join()

"""
The event loop that an asynchronous store's connections belong to, and its end.

Connections are bound to the loop and the process that opened them. Where that
loop is closed, or that process is the parent of this one, nobody can use them
any more, and the store begins anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Held(NamedTuple, Generic[T]):
    """
    A store's state, and where it is at home.

    Attributes:
        state: what belongs to the loop, such as a pool of connections.
        loop: the loop that first used it.
        process: the number of the process in which that was.
    """

    state: T
    loop: asyncio.AbstractEventLoop
    process: int

    @property
    def is_here(self) -> bool:
        """
        Whether the running loop is the state's own, so that it may be awaited.
        """
        return self.loop is running_loop()


class OnLoop(Generic[T]):
    """
    The state of a store on one event loop, begun anew where that loop is gone.

    Args:
        begin: makes the state of a new loop; awaits nothing.
        abandon: closes the sockets of a state whose loop is closed; awaits
            nothing, and sends nothing that has to be answered.
    """

    def __init__(self, begin: Callable[[], T], abandon: Callable[[T], None]) -> None:
        self._begin = begin
        self._abandon = abandon
        self._held: Held[T] | None = None
        self._process = os.getpid()
        self._lock = Lock()
        # A child closes nothing of its parent's, and finalizes nothing either.
        self._parents: list[Held[T] | None] = []

    def get(self) -> T:
        """
        Return the state of the running loop.

        Raises:
            RuntimeError: no event loop of asyncio runs here, or another one
                has the state and is not closed.
        """
        loop = running_loop()
        held = self._held
        if held is not None and held.loop is loop and held.process == os.getpid():
            return held.state
        self._leave_parents()
        with self._lock:
            old = self._held
            if old is None or old.loop.is_closed():
                self._held = Held(self._begin(), loop, self._process)
            else:
                raise RuntimeError(
                    "this registry belongs to the event loop that first used it, "
                    "which is not closed: open one registry for each loop"
                )
            state = self._held.state
        if old is not None and old.loop.is_closed():
            self._abandon(old.state)
        return state

    def take(self) -> Held[T] | None:
        """
        Return the state to whoever closes it, from any loop; the next use begins anew.
        """
        self._leave_parents()
        with self._lock:
            held, self._held = self._held, None
        return held

    def _leave_parents(self) -> None:
        """
        Begin with nothing in a child: its parent's threads would never release the lock.
        """
        process = os.getpid()
        if self._process != process:
            self._process, self._lock = process, Lock()
            self._parents.append(self._held)
            self._held = None


def running_loop() -> asyncio.AbstractEventLoop:
    """
    Return the event loop of asyncio that runs here.

    Raises:
        RuntimeError: there is none, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "an AsyncSessionRegistry runs on asyncio, and no event loop of asyncio runs here: "
            "open a SessionRegistry and call it in a thread, "
            "as in 'await trio.to_thread.run_sync(registry.create)'"
        ) from None

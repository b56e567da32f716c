"""
State of an async store that belongs to one event loop, such as its connections.

Connections belong to the event loop and the process that opened them. Once
that loop is closed, or after a fork, they are unusable and the store connects
again.
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
    The state of a store, with its event loop and process.

    Attributes:
        state: the state, such as a pool of connections.
        loop: the event loop that first used the state.
        process: the ID of the process of that loop.
    """

    state: T
    loop: asyncio.AbstractEventLoop
    process: int

    @property
    def is_here(self) -> bool:
        """
        Whether the running loop is the loop of the state, so that it may be awaited.
        """
        return self.loop is get_asyncio_loop()


class OnLoop(Generic[T]):
    """
    The state of a store on one event loop, made again after that loop is closed.

    Args:
        begin: makes the state for a new loop, without awaiting.
        abandon: closes the sockets of a state whose loop is closed, without
            awaiting or waiting for an answer.
    """

    def __init__(self, begin: Callable[[], T], abandon: Callable[[T], None]) -> None:
        self._begin = begin
        self._abandon = abandon
        self._held: Held[T] | None = None
        self._process = os.getpid()
        self._lock = Lock()
        # References keep a forked child from finalizing, and so closing, its parent's sockets.
        self._parents: list[Held[T] | None] = []

    def get(self) -> T:
        """
        Return the state of the running loop.

        Raises:
            RuntimeError: no asyncio event loop is running, or the state
                belongs to another loop that is not closed.
        """
        loop = get_asyncio_loop()
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
        Remove and return the state, from any loop, to close it.
        """
        self._leave_parents()
        with self._lock:
            held, self._held = self._held, None
        return held

    def _leave_parents(self) -> None:
        """
        Start without state in a forked child, and with a new lock: the parent's may stay locked.
        """
        process = os.getpid()
        if self._process != process:
            self._process, self._lock = process, Lock()
            self._parents.append(self._held)
            self._held = None


def get_asyncio_loop() -> asyncio.AbstractEventLoop:
    """
    Return the running asyncio event loop.

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

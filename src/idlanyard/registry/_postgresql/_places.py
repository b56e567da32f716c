"""
Places in a pool of connections, and the queue for them. Nothing in here waits.

A place is a connection, or the permission to open one. It is handed on to
whoever has waited longest. Where the server has no connection left, a process
shares those that it has, and asks for another one only now and then.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from idlanyard.registry._urls import Pool

PAUSE: Final = 0.2
"""
The seconds between two attempts to get a connection from a server that has none left.
"""
_RESERVE: Final = 2
"""
The connections that are left at the server for processes that have none.
"""
_LOOKS: Final = 1.0


class Permit(Enum):
    """
    The permission to open a connection.
    """

    OPEN = 0


class Link(Protocol):
    """
    A connection in a place.

    Attributes:
        generation: the generation of the pool in which it was opened.
    """

    generation: int

    def close(self) -> None:
        """
        Hang up, at once. Twice is harmless.
        """
        ...


class Event(Protocol):
    """
    An event of a thread or of a task.
    """

    def set(self) -> object:
        """
        Wake whoever waits.
        """
        ...

    def clear(self) -> object:
        """
        Let whoever waits next wait.
        """
        ...


Place: TypeAlias = "Link | Permit"


class Waiter:
    """
    One question that waits for a place.

    Attributes:
        event: wakes it.
        place: what it was given meanwhile.
    """

    __slots__ = ("event", "place")

    def __init__(self, event: Any) -> None:
        self.event = event
        self.place: Place | None = None


class Places:
    """
    The places of one process, or of one event loop. Threads may share it.

    Attributes:
        generation: which links are still taken back: one that was opened
            before the pool was given up is closed.
    """

    def __init__(self, pool: Pool) -> None:
        self._size = pool.size
        self._most = pool.most
        self._lock = Lock()
        self._idle: list[Link] = []
        self._waiting: deque[Waiter] = deque()
        # Connections that are open or being opened.
        self._open = 0
        self._is_full = False
        self._next_try = 0.0
        self._next_look = 0.0
        self.generation = 0

    @property
    def open(self) -> int:
        """
        How many connections are open, or being opened.
        """
        return self._open

    def take(self, waiter: Waiter) -> Place | None:
        """
        Return a place, or put the waiter into the queue for one.
        """
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if not self._waiting and self._may_open():
                return Permit.OPEN
            self._waiting.append(waiter)
            return None

    def try_again(self, waiter: Waiter) -> Place | None:
        """
        Return what a waiter was given, or the permission that there is by now.
        """
        with self._lock:
            place = waiter.place
            if place is None and self._may_open():
                self._waiting.remove(waiter)
                return Permit.OPEN
            waiter.place = None
            waiter.event.clear()
            return place

    def patience(self) -> float | None:
        """
        Return the seconds after which a waiter tries again; ``None`` is when it is woken.
        """
        return max(self._next_try - monotonic(), 0.0) + 0.001 if self._is_full else None

    def leave(self, waiter: Waiter) -> None:
        """
        Forget a waiter that waits no longer; what it was given meanwhile is handed on.
        """
        with self._lock:
            place, waiter.place = waiter.place, None
            if place is None:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                return
        if place is Permit.OPEN:
            self.forgo()
        else:
            self.give(place)

    def give(self, link: Link) -> None:
        """
        Take back a connection that may be asked again.
        """
        with self._lock:
            if link.generation == self.generation:
                if self._waiting:
                    return self._hand(link)
                if len(self._idle) < self._size:
                    return self._idle.append(link)
            self._free()
        link.close()
        return None

    def forgo(self) -> None:
        """
        Take back the permission to open a connection, or the place of one that was closed.
        """
        with self._lock:
            self._free()

    def refuse(self) -> None:
        """
        Take back a permission: the server has no connection left.
        """
        with self._lock:
            self._note_full()

    def settle(self, room: int) -> bool:
        """
        Return whether a connection may stay, and take back its place where not.

        Args:
            room: how many connections the server has left.
        """
        with self._lock:
            if room >= _RESERVE + self._most:
                self._is_full = False
                while self._waiting and self._may_open():
                    self._hand(Permit.OPEN)
            elif room < _RESERVE and self._open > 1:
                self._note_full()
                return False
            return True

    def may_look(self, *, is_new: bool) -> bool:
        """
        Return whether to ask the server how many connections it has left.

        That is for a new connection, and now and then. A process that has
        one connection only keeps that one.
        """
        with self._lock:
            now = monotonic()
            if self._open < 2 or (now < self._next_look and not is_new):
                return False
            self._next_look = now + _LOOKS
            return True

    def renew(self, generation: int) -> None:
        """
        Give up all connections of a generation; those in use, when they come back.
        """
        with self._lock:
            if generation != self.generation:
                return
            self.generation += 1
            closed, self._idle = self._idle, []
            for _ in closed:
                self._free()
        for link in closed:
            link.close()

    def _note_full(self) -> None:
        """
        Count one connection less, and let those who wait for another one know.
        """
        self._open -= 1
        self._is_full = True
        self._next_try = monotonic() + PAUSE
        for waiter in self._waiting:
            waiter.event.set()

    def _may_open(self) -> bool:
        """
        Count one more connection, if there may be one.
        """
        if self._open >= self._most:
            return False
        if self._is_full:
            now = monotonic()
            if now < self._next_try:
                return False
            # This one tries; the others wait for what becomes of it.
            self._next_try = now + PAUSE
        self._open += 1
        return True

    def _free(self) -> None:
        """
        Let the place of a closed connection go to the first in the queue.
        """
        self._open -= 1
        if self._waiting and self._may_open():
            self._hand(Permit.OPEN)

    def _hand(self, place: Place) -> None:
        waiter = self._waiting.popleft()
        waiter.place = place
        waiter.event.set()

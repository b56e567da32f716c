"""
The pool of connections. Nothing in here waits.

A slot of the pool holds a connection or the permission to open one. A freed
slot goes to the question that has waited longest. If the server has no
connection left, a process shares those that it has, and tries to open another
one only now and then.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from idlanyard.registry._postgresql._connections import PooledConnection

if TYPE_CHECKING:
    from idlanyard.registry._urls import Pool

RETRY_PAUSE: Final = 0.2
"""
The seconds between two attempts of a process without connections at a full server.
"""
GROWTH_PAUSE: Final = 2.0
"""
The same for a process that has connections: its attempts take the room of those that have none.
"""
_RESERVE: Final = 2
"""
The connections left at the server for processes that have none.
"""
_CHECK_EVERY: Final = 1.0


class Permit(Enum):
    """
    The permission to open a connection.
    """

    OPEN = 0


Slot: TypeAlias = "PooledConnection | Permit"


class Waiter:
    """
    A question that waits for a slot.

    Attributes:
        event: an event of a thread or a task, set when the waiter should look again.
        slot: the slot that the waiter was given.
    """

    __slots__ = ("event", "slot")

    def __init__(self, event: Any) -> None:
        self.event = event
        self.slot: Slot | None = None


class ConnectionPool:
    """
    The connections of one process, or of one event loop. Threads may share it.

    Attributes:
        generation: a number that grows when all connections are to be replaced.
            A connection of an earlier generation is closed when it comes back.
    """

    def __init__(self, bounds: Pool) -> None:
        self._size = bounds.size
        self._most = bounds.most
        self._lock = Lock()
        self._idle: list[PooledConnection] = []
        self._waiting: deque[Waiter] = deque()
        self._open = 0
        self._is_full = False
        self._next_try = 0.0
        self._next_check = 0.0
        self.generation = 0

    @property
    def open(self) -> int:
        """
        The number of connections that are open or being opened.
        """
        return self._open

    def take(self, waiter: Waiter) -> Slot | None:
        """
        Return a free slot, or put the waiter into the queue and return ``None``.
        """
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if not self._waiting and self._may_open():
                return Permit.OPEN
            self._waiting.append(waiter)
            return None

    def retry(self, waiter: Waiter) -> Slot | None:
        """
        Return the slot that a waiter was given, or a permission if there is one now.
        """
        with self._lock:
            slot = waiter.slot
            if slot is None and self._may_open():
                self._waiting.remove(waiter)
                return Permit.OPEN
            waiter.slot = None
            waiter.event.clear()
            return slot

    def retry_after(self) -> float | None:
        """
        Return the seconds after which a waiter retries; ``None`` if it waits for its event only.
        """
        return max(self._next_try - monotonic(), 0.0) + 0.001 if self._is_full else None

    def leave(self, waiter: Waiter) -> None:
        """
        Take a waiter out of the queue. A slot that it was given goes to the next waiter.
        """
        with self._lock:
            slot, waiter.slot = waiter.slot, None
            if slot is None:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                return
        if slot is Permit.OPEN:
            self.free()
        else:
            self.give_back(slot)

    def give_back(self, connection: PooledConnection) -> None:
        """
        Take back a usable connection.
        """
        with self._lock:
            if connection.generation == self.generation:
                if self._waiting:
                    return self._hand_over(connection)
                if len(self._idle) < self._size:
                    return self._idle.append(connection)
            self._free_slot()
        connection.close()
        return None

    def free(self) -> None:
        """
        Take back a permission, or the slot of a connection that was closed.
        """
        with self._lock:
            self._free_slot()

    def note_refusal(self) -> None:
        """
        Take back a permission: the server has no connection left.
        """
        with self._lock:
            self._note_full()

    def may_keep(self, room: int) -> bool:
        """
        Return whether a connection may stay open. If not, its slot is taken back.

        Args:
            room: the number of connections that the server has left.
        """
        with self._lock:
            if room >= _RESERVE + self._most:
                self._is_full = False
                while self._waiting and self._may_open():
                    self._hand_over(Permit.OPEN)
            elif room < _RESERVE and self._open > 1:
                self._note_full()
                return False
            return True

    def must_check_room(self, *, is_new: bool) -> bool:
        """
        Return whether to ask the server for the number of connections that it has left.

        True for a new connection, and else once a second. A process with a
        single connection always keeps it.
        """
        with self._lock:
            now = monotonic()
            if self._open < 2 or (now < self._next_check and not is_new):
                return False
            self._next_check = now + _CHECK_EVERY
            return True

    def replace_all(self, generation: int) -> None:
        """
        Close all connections of a generation; those in use, when they come back.
        """
        with self._lock:
            if generation != self.generation:
                return
            self.generation += 1
            closed, self._idle = self._idle, []
            for _ in closed:
                self._free_slot()
        for connection in closed:
            connection.close()

    def _note_full(self) -> None:
        """
        Count one connection less, and wake the waiters, so that they retry after a pause.
        """
        self._open -= 1
        self._is_full = True
        self._next_try = monotonic() + self._pause()
        for waiter in self._waiting:
            waiter.event.set()

    def _pause(self) -> float:
        """
        Return the seconds between two attempts to open a connection at a full server.
        """
        return GROWTH_PAUSE if self._open else RETRY_PAUSE

    def _may_open(self) -> bool:
        """
        Return whether a connection may be opened, and count it then.
        """
        if self._open >= self._most:
            return False
        if self._is_full:
            now = monotonic()
            if now < self._next_try:
                return False
            # Only this waiter tries now; the others wait for its outcome.
            self._next_try = now + self._pause()
        self._open += 1
        return True

    def _free_slot(self) -> None:
        """
        Count one connection less, and give the first waiter a permission.
        """
        self._open -= 1
        if self._waiting and self._may_open():
            self._hand_over(Permit.OPEN)

    def _hand_over(self, slot: Slot) -> None:
        waiter = self._waiting.popleft()
        waiter.slot = slot
        waiter.event.set()

"""
The pool of connections, and how a statement gets one. Nothing in here waits.

A slot of the pool holds a connection or the permission to open one. A freed
slot goes to the question that has waited longest. If the server has no
connection left, a process shares those that it has, and tries to open another
one only now and then. Threads and event loops take the steps decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from enum import Enum
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME, PooledConnection
from idlanyard.registry._postgresql._faults import (
    connection_fault,
    is_full,
    is_read_only,
    statement_fault,
    was_terminated,
)

if TYPE_CHECKING:
    from idlanyard.registry._urls import Pool

WAIT_SHARE: Final = 0.95
"""
The share of a question's time after which it stops waiting for a connection.
"""
RETRY_PAUSE: Final = 0.2
"""
The seconds between two attempts to open a connection at a full server.
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
        self._next_try = monotonic() + RETRY_PAUSE
        for waiter in self._waiting:
            waiter.event.set()

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
            self._next_try = now + RETRY_PAUSE
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


class Wait(NamedTuple):
    """
    Wait for an event, at most for some seconds.
    """

    event: Any
    seconds: float


class Open(NamedTuple):
    """
    Open a connection and return it.
    """

    generation: int


class Execute(NamedTuple):
    """
    Execute the statement on a connection and return its answer.
    """

    connection: PooledConnection


class ReadRoom(NamedTuple):
    """
    Execute ``ROOM`` on a connection and return the number.
    """

    connection: PooledConnection


Step: TypeAlias = "Wait | Open | Execute | ReadRoom"
Steps: TypeAlias = Generator[Step, Any, Any]


class NoConnection(TimeoutError):
    """
    Every connection was in use for as long as the question could wait.

    Attributes:
        is_shared: whether the pool had connections to wait for.
    """

    def __init__(self, *, is_shared: bool) -> None:
        super().__init__(
            "every connection of the pool was in use"
            if is_shared
            else "the server had no connection left"
        )
        self.is_shared = is_shared


class Attempts:
    """
    The attempts at one statement, from its wait for a connection to its answer.

    Args:
        pool: the pool of connections.
        event: creates an event of a thread or a task.
        until: the moment at which the wait for a connection ends.
        is_fresh: whether only a new connection may be used.

    Attributes:
        connection: the connection that was used last.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        event: Callable[[], Any],
        *,
        until: float,
        is_fresh: bool = False,
    ) -> None:
        self._pool = pool
        self._event = event
        self._until = until
        self._is_fresh = is_fresh
        self._was_full = False
        self.connection: PooledConnection | None = None

    def steps(self) -> Steps:
        """
        Yield the next step, and return the answer.

        Raises:
            NoConnection: no connection was free in time.
        """
        slot = yield from self._wait()
        answer, connection = yield from self._execute(slot)
        connection.has_answered = True
        if connection.is_demoted():
            self._pool.replace_all(connection.generation)
        elif self._pool.must_check_room(is_new=connection.is_new):
            yield from self._check_room(connection)
            return answer
        connection.is_new = False
        self._pool.give_back(connection)
        return answer

    def reason(self, error: Exception) -> Exception:
        """
        Return why there was no answer: at a server that stayed full, a timeout is no silence.
        """
        is_late = isinstance(error, TimeoutError) or monotonic() >= self._until
        is_told = isinstance(error, NoConnection)
        if self._was_full and self.connection is None and is_late and not is_told:
            return NoConnection(is_shared=self._pool.open > 0)
        return error

    def failure(self, reason: Exception, table: str) -> RegistryUnavailable | RegistryMisconfigured:
        """
        Return the registry's exception for a statement without an answer.

        Args:
            reason: the error, as ``reason`` returns it.
            table: the name of the registry's table.
        """
        if isinstance(reason, NoConnection):
            return RegistryUnavailable(SCHEME, stale=reason.is_shared)
        used = self.connection
        fault = connection_fault(reason) if used is None else statement_fault(reason, table)
        if fault is not None:
            return RegistryMisconfigured(SCHEME, fault)
        return RegistryUnavailable(SCHEME, stale=used is not None and used.has_answered)

    def _execute(self, slot: Slot) -> Generator[Step, Any, tuple[Any, PooledConnection]]:
        """
        Execute on the connection of a slot and, if that refuses, on a new one.
        """
        connection = yield from self._connect(slot)
        try:
            return (yield Execute(connection)), connection
        except BaseException as error:
            if not self._must_repeat(connection, error):
                raise
            first, self._is_fresh = connection, True
        first.close()
        connection = yield from self._connect(Permit.OPEN)
        try:
            answer = yield Execute(connection)
        except BaseException as error:
            self._must_repeat(connection, error, is_last=True)
            raise
        # The new connection does what the old one refused, so all old ones are replaced.
        self._pool.replace_all(first.generation)
        connection.generation = self._pool.generation
        return answer, connection

    def _wait(self) -> Generator[Step, Any, Any]:
        """
        Wait for a slot.
        """
        pool, waiter = self._pool, Waiter(self._event())
        slot = pool.take(waiter)
        try:
            while slot is None and (rest := self._until - monotonic()) > 0:
                pause = pool.retry_after()
                yield Wait(waiter.event, rest if pause is None else min(rest, pause))
                slot = pool.retry(waiter)
        except BaseException:
            pool.leave(waiter)
            raise
        if slot is None:
            pool.leave(waiter)
            raise NoConnection(is_shared=pool.open > 0)
        return slot

    def _connect(self, slot: Slot) -> Generator[Step, Any, PooledConnection]:
        """
        Return the connection of a slot, or a new one if the slot has none or a dead one.
        """
        pool = self._pool
        while True:
            if isinstance(slot, PooledConnection):
                if not self._is_fresh and slot.is_alive():
                    if not slot.is_demoted():
                        self.connection = slot
                        return slot
                    pool.replace_all(slot.generation)
                slot.close()
            try:
                self.connection = None
                opened: PooledConnection = yield Open(pool.generation)
            except BaseException as error:
                if not (isinstance(error, Exception) and is_full(error)):
                    pool.free()
                    raise
                pool.note_refusal()
                self._was_full = True
            else:
                self.connection = opened
                return opened
            slot = yield from self._wait()

    def _must_repeat(
        self, connection: PooledConnection, error: BaseException, *, is_last: bool = False
    ) -> bool:
        """
        Return whether to repeat a failed statement on a new connection.

        If not, the slot of the connection is given back.
        """
        pool = self._pool
        was_pooled, connection.is_new = not connection.is_new, False
        if isinstance(error, Exception) and connection.is_alive():
            connection.has_answered = True
            if is_read_only(error) and was_pooled and not is_last:
                return True
            pool.give_back(connection)
            return False
        connection.close()
        if isinstance(error, Exception):
            # If one connection is dead, the others of its age probably are, too.
            pool.replace_all(connection.generation)
        if was_terminated(error) and was_pooled and not is_last:
            return True
        pool.free()
        return False

    def _check_room(self, connection: PooledConnection) -> Steps:
        """
        Leave the server's last connections to processes that have none.
        """
        connection.is_new = False
        try:
            room = yield ReadRoom(connection)
        except BaseException as error:
            self._must_repeat(connection, error, is_last=True)
            if not isinstance(error, Exception):
                raise
            return
        if self._pool.may_keep(room):
            self._pool.give_back(connection)
        else:
            connection.close()

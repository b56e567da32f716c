"""
The attempts at one statement: the wait for a connection, and its answer.

Threads and event loops take the steps decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME, PooledConnection
from idlanyard.registry._postgresql._faults import (
    connection_fault,
    is_full,
    is_read_only,
    statement_fault,
    was_terminated,
)
from idlanyard.registry._postgresql._pool import ConnectionPool, Permit, Slot, Waiter

WAIT_SHARE: Final = 0.95
"""
The share of a question's time after which it stops waiting for a connection.
"""


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

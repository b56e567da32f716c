"""
Connections to one file: used by one thread at a time, patient within the timeout, never forked.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from math import inf
from pathlib import Path
from threading import Lock, RLock
from time import monotonic, sleep
from typing import Final, Protocol, TypeVar, TypeVarTuple
from weakref import WeakSet

from idlanyard._failures import warn_once
from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._sqlite._files import (
    Place,
    Sight,
    code_of,
    find_fault,
    is_busy,
    list_weaknesses,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NO_ROOM: Final = (
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.016
_STEPS: Final = 10_000
"""
The steps of SQLite's virtual machine between two looks at the time: about a millisecond.
"""


class Patience:
    """
    The moment at which a question is given up, which its caller may bring forward.

    Attributes:
        until: the moment, by the monotonic clock.
    """

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """
        Return a patience that ends so many seconds from now.
        """
        return cls(monotonic() + seconds)

    @property
    def is_over(self) -> bool:
        """
        Whether the question is given up.
        """
        return monotonic() >= self.until

    @property
    def is_ended(self) -> bool:
        """
        Whether the caller has ended it.
        """
        return self.until == -inf

    def end(self) -> None:
        """
        Give the question up now, in whatever thread it runs.
        """
        self.until = -inf


class _Watch:
    """
    The patience of the statement that a connection is running.

    SQLite asks every few thousand steps whether to interrupt the statement.
    Apart from ``Connection``, since the progress handler would make a cycle.
    """

    __slots__ = ("patience",)

    def __init__(self) -> None:
        self.patience = Patience(inf)

    def is_over(self) -> bool:
        """
        Return whether the statement is to be interrupted.
        """
        return self.patience.is_over


class Forks:
    """
    Ends all connections before a fork; both processes then make new ones.

    SQLite keeps in the process's own memory which locks the process has on a
    file. A child inherits that memory and not the locks: it would think itself
    protected, even on new connections, while others delete the log that it
    writes to, and would lose sessions that it has acknowledged.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._all: WeakSet[Connection] = WeakSet()
        self._held: list[Connection] = []
        self._turn = Lock()
        # Held while a connection is made, and during a fork.
        self.gate = Lock()

    def watch(self, connection: Connection) -> None:
        """
        End *connection* before every fork.
        """
        with self.gate:
            self._all.add(connection)

    def begin(self) -> None:
        """
        End all connections, and prevent new ones.
        """
        self._turn.acquire()
        self.gate.acquire()
        while connected := [one for one in self._all if one.is_connected]:
            # A thread in the middle of a statement may need the gate to finish: to connect again.
            self.gate.release()
            for one in connected:
                one.lock.acquire()
                self._held.append(one)
                one.disconnect()
            self.gate.acquire()

    def end(self) -> None:
        """
        Allow connections again, in the parent.
        """
        while self._held:
            self._held.pop().lock.release()
        self.gate.release()
        self._turn.release()

    def renew(self) -> None:
        """
        Replace all locks in the child, where no other thread is left to release them.
        """
        self._held.clear()
        self._turn, self.gate = Lock(), Lock()
        for one in self._all:
            one.lock = RLock()
        self.pid = os.getpid()

    def notice(self) -> None:
        """
        Notice a fork that Python was not told of, as by servers written in C.

        Such a server forks between statements, so closing connections here is
        safe. It also makes SQLite forget the locks that only the parent has.
        """
        with self._turn:
            if self.pid != os.getpid():
                for one in self._all:
                    one.disconnect()
                self.renew()


forks = Forks()
# Windows has no fork.
getattr(os, "register_at_fork", dict)(
    before=forks.begin, after_in_parent=forks.end, after_in_child=forks.renew
)


class Prepare(Protocol):
    """
    A function that is called with every new connection.
    """

    def __call__(self, connection: sqlite3.Connection, *, reads_only: bool, seconds: float) -> None:
        """
        Prepare the connection and, where needed, the file.
        """
        ...


class Shared:
    """
    State that the connections of one registry to one file share.

    Attributes:
        place: the file.
        is_known: whether the file has been there.
        failures: the number of times that a connection has failed.
        connections: the connections.
    """

    __slots__ = ("connections", "failures", "is_known", "place")

    def __init__(self, path: Path) -> None:
        self.place = Place(path)
        self.is_known = False
        self.failures = 0
        self.connections: WeakSet[Connection] = WeakSet()


class Connection:
    """
    A connection that is made when it is needed, and again after each failure.

    Attributes:
        failures: the failures of the registry's connections when this one was made.
        lock: held by the thread that uses the connection.

    Args:
        shared: the state that it shares with the file's other connections.
        prepare: is called with every new connection.
        timeout: the most seconds that a question may take.
        reads_only: whether no question changes the file.
    """

    def __init__(
        self, shared: Shared, prepare: Prepare, timeout: float, *, reads_only: bool = False
    ) -> None:
        self._shared = shared
        self._prepare = prepare
        self._timeout = timeout
        self._reads_only = reads_only
        self._connection: sqlite3.Connection | None = None
        self._is_makeshift = False
        self._watch = _Watch()
        self._sight: Sight | None = None
        self.failures = 0
        self.lock = RLock()
        shared.connections.add(self)
        forks.watch(self)

    @property
    def is_connected(self) -> bool:
        """
        Whether the connection is made.
        """
        return self._connection is not None

    def ask(
        self,
        patience: Patience | None,
        question: Callable[[sqlite3.Connection, *Ts], T],
        *args: *Ts,
    ) -> T:
        """
        Return the result of a function that is called with the connection.

        While another process has the file locked, the function is called again.

        Args:
            patience: ends the question; ``None`` is the timeout.
            question: the function.
            args: its other arguments.

        Raises:
            RegistryUnavailable: there is no answer in time, or the file was replaced meanwhile.
            RegistryMisconfigured: waiting will not help.
        """
        if forks.pid != os.getpid():
            forks.notice()
        lock = self.lock
        if patience is None:
            patience = Patience(monotonic() + self._timeout)
            if not lock.acquire(blocking=False):
                _acquire(lock, patience)
        else:
            _acquire(lock, patience)
        try:
            self._watch.patience = patience
            if self.failures != self._shared.failures:
                # Another connection has failed since this one was made: connect again first.
                self.disconnect()
            try:
                answer = question(self._connection or self._connect(), *args)
            except sqlite3.OperationalError as error:
                answer = self._ask_again(error, patience, question, args)
            # If the file was replaced, no other process would see what was read or written.
            if self._sight is not None:
                self._sight = self._shared.place.verify(self._sight)
            return answer
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise self._failure_of(error) from error
        finally:
            if self._is_makeshift or self.failures != self._shared.failures:
                self.disconnect()
            lock.release()

    def close(self) -> None:
        """
        End the connection after its last statement.
        """
        forks.notice()
        lock = self.lock
        _acquire(lock, Patience.of(self._timeout))
        try:
            self.disconnect()
        finally:
            lock.release()

    def disconnect(self) -> None:
        """
        End the connection, if it is made; the caller has the lock.
        """
        connection, self._connection = self._connection, None
        self._sight, self._is_makeshift = None, False
        if connection is not None:
            connection.close()

    def _ask_again(
        self,
        error: sqlite3.OperationalError,
        patience: Patience,
        question: Callable[[sqlite3.Connection, *Ts], T],
        args: tuple[*Ts],
    ) -> T:
        # SQLite's own busy timeout would keep the old timestamp in the statement. A session may
        # expire meanwhile, so each attempt reads the clock again.
        pause = _FIRST_PAUSE
        while is_busy(error) and monotonic() + pause < patience.until:
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if patience.is_ended:
                break
            try:
                return question(self._connection or self._connect(), *args)
            except sqlite3.OperationalError as another:
                error = another
        raise error

    def _failure_of(self, error: Exception) -> RegistryUnavailable | RegistryMisconfigured:
        """
        Return the error to raise; unless only time ran out, all connections are made again.
        """
        if is_busy(error) or code_of(error) == sqlite3.SQLITE_INTERRUPT:
            return RegistryUnavailable("sqlite")
        self._shared.failures += 1
        fault = find_fault(error, self._shared.place.path)
        if fault is None:
            return RegistryUnavailable("sqlite")
        return RegistryMisconfigured("sqlite", fault)

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = self._make()
        except sqlite3.OperationalError as error:
            if not self._reads_only or code_of(error) not in _NO_ROOM:
                raise
            # A full disk has no room for the index of the log. A reader can do without it, but
            # only while no connection of this process writes: so for one question.
            connection = self._make("&readonly_shm=1")
            self._is_makeshift, self._sight = True, None
        if self._watch.patience.is_ended:
            raise _error_of("the question was given up", sqlite3.SQLITE_INTERRUPT)
        return connection

    def _make(self, more: str = "") -> sqlite3.Connection:
        shared = self._shared
        self._end_others()
        # A file that was there, and is gone, is not made again: its sessions would be forgotten.
        mode = "rw" if shared.is_known else "rwc"
        with forks.gate:
            connection = self._connection = sqlite3.connect(
                f"{shared.place.uri}?mode={mode}{more}",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self.failures = shared.failures
            connection.set_progress_handler(self._watch.is_over, _STEPS)
            self._prepare(connection, reads_only=self._reads_only, seconds=self._timeout)
            self._sight = shared.place.sight()
            if not shared.is_known:
                for sentence in list_weaknesses(connection, shared.place.path):
                    warn_once(sentence, "idlanyard: %s", sentence)
        except BaseException:
            self.disconnect()
            raise
        shared.is_known = True
        return connection

    def _end_others(self) -> None:
        """
        End the registry's connections that were made before the last failure.

        SQLite shares the index of the log among the connections of a process:
        a new connection beside an old one would have the index of a log that
        may be gone.
        """
        for other in self._shared.connections:
            if other is self or not other.is_connected or other.failures == self._shared.failures:
                continue
            if not other.lock.acquire(blocking=False):
                raise _error_of("another connection is about to end", sqlite3.SQLITE_BUSY)
            try:
                other.disconnect()
            finally:
                other.lock.release()


class Connections:
    """
    The connections of one registry, so that reading one session waits for no other question.

    Attributes:
        writer: changes the file, and waits for the disk.
        reader: reads single sessions.
        finder: reads many sessions.
        closings: the number of times that they have been closed.
    """

    def __init__(self, path: Path, prepare: Prepare, timeout: float) -> None:
        self._shared = Shared(path)
        self.path = path
        self.timeout = timeout
        self.writer = Connection(self._shared, prepare, timeout)
        self.reader = Connection(self._shared, prepare, timeout, reads_only=True)
        self.finder = Connection(self._shared, prepare, timeout, reads_only=True)
        self.closings = 0

    def close(self) -> None:
        """
        End the connections; a later question makes new ones.
        """
        self.closings += 1
        for one in (self.writer, self.reader, self.finder):
            one.close()
        self._shared.is_known = False


def _acquire(lock: RLock, patience: Patience) -> None:
    """
    Acquire the lock of a connection.

    Raises:
        RegistryUnavailable: the time is over first.
    """
    left = patience.until - monotonic()
    if left <= 0 or not lock.acquire(timeout=left):
        raise RegistryUnavailable("sqlite") from TimeoutError("no turn in time")
    if patience.is_ended:
        # Its caller was cancelled meanwhile, and was told that it is not done.
        lock.release()
        raise RegistryUnavailable("sqlite") from TimeoutError("the question was given up")


def _error_of(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error

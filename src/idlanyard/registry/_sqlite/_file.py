"""
A connection to a file: one thread at a time, as patient as the timeout, to the same file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from threading import RLock
from time import monotonic, sleep
from typing import Final, Protocol, TypeVar, TypeVarTuple

from idlanyard._failures import warn_once
from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._sqlite._faults import code_of, fault_of, is_busy, sentences_on
from idlanyard.registry._sqlite._forks import forks
from idlanyard.registry._sqlite._patience import Patience, Watch
from idlanyard.registry._sqlite._place import Place, Sight

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
After how many steps of a statement its time is looked at: about every millisecond.
"""


class Prepare(Protocol):
    """
    What every new connection is given to.
    """

    def __call__(self, connection: sqlite3.Connection, *, reads_only: bool, seconds: float) -> None:
        """
        Make the connection and the file what they are to be.
        """
        ...


class File:
    """
    One connection, made when it is needed and after whatever went wrong.

    Attributes:
        failures: how often connections to the file had failed when this one was made.
        lock: held by who uses the connection.

    Args:
        place: where the file is.
        prepare: what every new connection is given to.
        timeout: the most seconds that a question may take.
        reads_only: whether it asks nothing that changes the file.
    """

    def __init__(
        self, place: Place, prepare: Prepare, timeout: float, *, reads_only: bool = False
    ) -> None:
        self._place = place
        self._prepare = prepare
        self._timeout = timeout
        self._reads_only = reads_only
        self._connection: sqlite3.Connection | None = None
        self._is_makeshift = False
        self._watch = Watch()
        self._sight: Sight | None = None
        self.failures = 0
        self.lock = RLock()
        place.files.add(self)
        forks.watch(self)

    @property
    def is_connected(self) -> bool:
        """
        Whether there is a connection.
        """
        return self._connection is not None

    def ask(
        self,
        patience: Patience | None,
        question: Callable[[sqlite3.Connection, *Ts], T],
        *args: *Ts,
    ) -> T:
        """
        Return what *question* answers when it is given the connection and the rest.

        While the file is locked it is asked again, and so says the time anew.

        Args:
            patience: how long that may take; ``None`` is the timeout.
            question: what is asked.
            args: what it is asked with.

        Raises:
            RegistryUnavailable: there is no answer in time, or none from the
                file that is there now.
            RegistryMisconfigured: nor will there be.
        """
        if forks.pid != os.getpid():
            forks.notice()
        lock = self.lock
        if patience is None:
            patience = Patience(monotonic() + self._timeout)
            if not lock.acquire(blocking=False):
                _take_turn(lock, patience)
        else:
            _take_turn(lock, patience)
        try:
            self._watch.patience = patience
            if self.failures != self._place.failures:
                # What one connection met with, the others need not.
                self.let_go()
            try:
                answer = question(self._connection or self._connected(), *args)
            except sqlite3.OperationalError as error:
                answer = self._again(error, patience, question, args)
            # Whoever asks a file that is gone would be told what nobody else knows.
            if self._sight is not None:
                self._sight = self._place.verify(self._sight)
            return answer
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error
        finally:
            if self._is_makeshift or self.failures != self._place.failures:
                self.let_go()
            lock.release()

    def close(self) -> None:
        """
        End the connection when its last statement has ended.
        """
        forks.notice()
        lock = self.lock
        _take_turn(lock, Patience.of(self._timeout))
        try:
            self.let_go()
        finally:
            lock.release()

    def let_go(self) -> None:
        """
        End the connection, if there is one, for who holds the lock.
        """
        connection, self._connection = self._connection, None
        self._sight, self._is_makeshift = None, False
        if connection is not None:
            connection.close()

    def _again(
        self,
        error: sqlite3.OperationalError,
        patience: Patience,
        question: Callable[[sqlite3.Connection, *Ts], T],
        args: tuple[*Ts],
    ) -> T:
        # SQLite's own patience would keep the time from before, when the session lived yet.
        pause = _FIRST_PAUSE
        while is_busy(error) and monotonic() + pause < patience.until:
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if patience.is_ended:
                break
            try:
                return question(self._connection or self._connected(), *args)
            except sqlite3.OperationalError as another:
                error = another
        raise error

    def _failure(self, error: Exception) -> RegistryUnavailable | RegistryMisconfigured:
        """
        Return what to raise, and let all connections begin anew where that may help.
        """
        if is_busy(error) or code_of(error) == sqlite3.SQLITE_INTERRUPT:
            return RegistryUnavailable("sqlite")
        self._place.failures += 1
        fault = fault_of(error, self._place.path)
        if fault is None:
            return RegistryUnavailable("sqlite")
        return RegistryMisconfigured("sqlite", fault)

    def _connected(self) -> sqlite3.Connection:
        try:
            connection = self._connect()
        except sqlite3.OperationalError as error:
            if not self._reads_only or code_of(error) not in _NO_ROOM:
                raise
            # On a full disk there is no room for the index of the log. Who only reads can do
            # without, but nobody of this process may write meanwhile: so for one question.
            connection = self._connect("&readonly_shm=1")
            self._is_makeshift, self._sight = True, None
        if self._watch.patience.is_ended:
            raise _error("nobody waits for it any more", sqlite3.SQLITE_INTERRUPT)
        return connection

    def _connect(self, more: str = "") -> sqlite3.Connection:
        self._end_others()
        # A file that was there, and is gone, is not made anew: nobody must forget it silently.
        mode = "rw" if self._place.known else "rwc"
        with forks.gate:
            connection = self._connection = sqlite3.connect(
                f"{self._place.uri}?mode={mode}{more}",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self.failures = self._place.failures
            connection.set_progress_handler(self._watch.is_over, _STEPS)
            self._prepare(connection, reads_only=self._reads_only, seconds=self._timeout)
            self._sight = self._place.sight()
            if not self._place.known:
                for sentence in sentences_on(connection, self._place.path):
                    warn_once(sentence, "idlanyard: %s", sentence)
        except BaseException:
            self.let_go()
            raise
        self._place.known = True
        return connection

    def _end_others(self) -> None:
        """
        End the connections of this registry that were there before something went wrong.

        SQLite lets connections of one process share the index of the log: a
        new one beside an old one would have that of a log that may be gone.
        """
        for other in self._place.files:
            if other is self or not other.is_connected or other.failures == self._place.failures:
                continue
            if not other.lock.acquire(blocking=False):
                raise _error("another connection is about to end", sqlite3.SQLITE_BUSY)
            try:
                other.let_go()
            finally:
                other.lock.release()


def _take_turn(lock: RLock, patience: Patience) -> None:
    """
    Acquire the lock of a connection, unless the time is over first.
    """
    left = patience.until - monotonic()
    if left <= 0 or not lock.acquire(timeout=left):
        raise RegistryUnavailable("sqlite") from TimeoutError("no turn in time")


def _error(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error

"""
A connection to a file: one thread at a time, as patient as the timeout, to the same file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from time import monotonic, sleep
from typing import Final, TypeVar, TypeVarTuple

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._sqlite._forks import forks

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.016


class Place:
    """
    Where a file is, whether it has been there, and how often its connections failed since.
    """

    __slots__ = ("_name", "failures", "known", "uri")

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self.uri = path.as_uri()
        self.known = False
        self.failures = 0

    def identity(self) -> tuple[int, int]:
        """
        Return which file is there.

        Raises:
            OSError: there is none.
        """
        status = os.stat(self._name)  # noqa: PTH116, every verb pays for it
        return status.st_ino, status.st_dev


class File:
    """
    One connection, made when it is needed and after whatever went wrong.

    Args:
        place: where the file is.
        prepare: what every new connection is given to.
        timeout: the most seconds to wait for other threads and processes.
    """

    def __init__(
        self, place: Place, prepare: Callable[[sqlite3.Connection], None], timeout: float
    ) -> None:
        self._place = place
        self._prepare = prepare
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._failures = 0
        self.lock = RLock()
        forks.watch(self)

    @property
    def is_connected(self) -> bool:
        """
        Whether there is a connection.
        """
        return self._connection is not None

    def ask(self, question: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        """
        Return what *question* answers when it is given the connection and the rest.

        While the file is locked it is asked again, and so says the time anew.

        Raises:
            RegistryUnavailable: there is no answer in time, or none from the
                file that is there now.
        """
        if forks.pid != os.getpid():
            forks.notice()
        lock = self.lock
        left = self._timeout if lock.acquire(blocking=False) else self._in_turn(lock)
        try:
            if self._failures != self._place.failures:
                # What one connection met with, the others need not.
                self.let_go()
            try:
                answer = question(self._connection or self._connected(), *args)
            except sqlite3.OperationalError as error:
                answer = self._again(error, left, question, args)
            # Whoever asks a file that is gone would be told what nobody else knows.
            if self._place.identity() != self._identity:
                raise FileNotFoundError("another file has taken the place of the one in use")
            return answer
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.Error, OSError) as error:
            if not _is_busy(error):
                self._place.failures += 1
            raise RegistryUnavailable("sqlite") from error
        finally:
            lock.release()

    def close(self) -> None:
        """
        End the connection when its last statement has ended.
        """
        forks.notice()
        lock = self.lock
        self._in_turn(lock)
        try:
            self.let_go()
        finally:
            lock.release()

    def let_go(self) -> None:
        """
        End the connection, if there is one, for who holds the lock.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _in_turn(self, lock: RLock) -> float:
        """
        Acquire the lock, and return how many seconds are left.
        """
        deadline = monotonic() + self._timeout
        if not lock.acquire(timeout=self._timeout):
            raise RegistryUnavailable("sqlite") from TimeoutError("other threads use the file")
        return deadline - monotonic()

    def _again(
        self,
        error: sqlite3.OperationalError,
        left: float,
        question: Callable[[sqlite3.Connection, *Ts], T],
        args: tuple[*Ts],
    ) -> T:
        # SQLite's own patience would keep the time from before, when the session lived yet.
        pause, deadline = _FIRST_PAUSE, monotonic() + left
        while _is_busy(error) and monotonic() + pause < deadline:
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                return question(self._connection or self._connected(), *args)
            except sqlite3.OperationalError as another:
                error = another
        raise error

    def _connected(self) -> sqlite3.Connection:
        # A file that was there, and is gone, is not made anew: nobody must forget it silently.
        mode = "rw" if self._place.known else "rwc"
        with forks.gate:
            connection = self._connection = sqlite3.connect(
                f"{self._place.uri}?mode={mode}",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self._failures = self._place.failures
            self._prepare(connection)
            self._identity = self._place.identity()
        except BaseException:
            self.let_go()
            raise
        self._place.known = True
        return connection


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY

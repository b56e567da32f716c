"""
Outages of a store: logged once when they begin and once when they end.

A question to a store that does not answer waits for the whole timeout. In a
known outage questions fail at once instead, until after a moment one of them
tries the store again. Reads and writes are separate, since a full disk or a
read-only server answers reads and refuses writes.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, Final

from idlanyard._failures import LOGGER
from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._questions import Kind, Question

_MOMENT: Final = 1.0
_LONG_WAIT: Final = 0.5
"""
A failure after at least this part of the timeout counts as a wait.
"""


class _Outage:
    """
    One outage, of reads or of writes.
    """

    __slots__ = ("cause", "closed_until", "is_closed", "waited_until")

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
        self.is_closed = False
        self.closed_until = 0.0
        self.waited_until: float | None = None


class Outages:
    """
    The outages of one registry's store. Threads may share it.

    Args:
        scheme: the kind of store.
        timeout: the most seconds that a question may take.
        remembers: whether questions fail at once in a known outage; not for
            a file, which is locked now and then.
        clock: returns the current time, in seconds.

    Attributes:
        known: the current outages.
    """

    def __init__(
        self,
        scheme: str,
        *,
        timeout: float,
        remembers: bool,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.clock = clock
        self._scheme = scheme
        self._timeout = timeout
        self._remembers = remembers
        self.known: dict[Kind, _Outage] = {}
        self._began: float | None = None
        self._lock = Lock()

    def begin(self, question: Question[Any]) -> float:
        """
        Return the current time, for ``fail``, unless a question would only wait.

        Raises:
            RegistryUnavailable: an outage is known, and another question tries the store.
        """
        if self.known:
            self._admit(question.kind)
        return self.clock()

    def fail(self, question: Question[Any], error: RegistryUnavailable, began: float) -> None:
        """
        Remember a failure, and log the first failure of an outage.

        Args:
            question: the question that was not answered.
            error: the failure.
            began: the result of ``begin``.
        """
        kind, now = question.kind, self.clock()
        cause = error.__cause__ or error
        with self._lock:
            is_first = not self.known
            outage = self.known.setdefault(kind, _Outage(cause))
            self._note_wait(outage, error, began, now)
            if is_first:
                self._began = now
        if is_first:
            LOGGER.error(
                "idlanyard: %s for %s: %s", error, kind, _first_line(cause), exc_info=error
            )

    def end(self, question: Question[Any]) -> None:
        """
        Remember an answer of the store, and log the end of an outage.
        """
        with self._lock:
            if self.known.pop(question.kind, None) is None or self.known:
                return
            lasted = self.clock() - (self._began or 0.0)
        LOGGER.warning(
            "idlanyard: the session registry's %s store answers again, after %.1f seconds",
            self._scheme,
            lasted,
        )

    @property
    def timeout(self) -> float:
        """
        The most seconds that a question may take.
        """
        return self._timeout

    def _admit(self, kind: Kind) -> None:
        outage = self.known.get(kind)
        if outage is None or not outage.is_closed:
            return
        with self._lock:
            now = self.clock()
            if now >= outage.closed_until:
                # This question tries the store; the others fail at once meanwhile.
                outage.closed_until = now + self._timeout
                return
        raise RegistryUnavailable(self._scheme) from outage.cause

    def _note_wait(
        self, outage: _Outage, error: RegistryUnavailable, began: float, now: float
    ) -> None:
        """
        Let questions fail at once for a moment, if this one waited for the store.

        A wait on a stale connection from the pool proves nothing about the
        store; a second wait in a row does.
        """
        if not self._remembers or now - began < _LONG_WAIT * self._timeout:
            return
        is_second = outage.waited_until is not None and began >= outage.waited_until
        outage.waited_until = now
        if is_second or not error.stale:
            outage.is_closed = True
            outage.closed_until = now + min(_MOMENT, self._timeout / 2)


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__

"""
Faults of a registry's configuration, each told once until what met it works again.
"""

from __future__ import annotations

from threading import Lock

from idlanyard._failures import LOGGER
from idlanyard.registry._exceptions import RegistryMisconfigured


class Faults:
    """
    What is known to be misconfigured behind one API. Threads may share it.
    """

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}
        self._lock = Lock()

    def note(self, error: RegistryMisconfigured, met_by: str) -> None:
        """
        Log a fault, unless it is known.

        Args:
            error: the fault.
            met_by: the question that was answered by it.
        """
        with self._lock:
            is_known = str(error) in self._known
            self._known.setdefault(str(error), set()).add(met_by)
        if not is_known:
            LOGGER.error("idlanyard: %s, answering 500", error, exc_info=error)

    def forget(self, met_by: str) -> None:
        """
        Forget the faults that a question met which has been answered now.

        Others stay known: where reads work and writes do not, a read that is
        answered says nothing of the writes.
        """
        if not self._known:
            return
        with self._lock:
            for fault in [fault for fault, met in self._known.items() if met_by in met]:
                del self._known[fault]

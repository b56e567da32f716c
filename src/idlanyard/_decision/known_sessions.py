"""
Whether a session is known: the function of an ``Admission``, asked, its answer
checked, and its outages told once.
"""

from __future__ import annotations

import inspect
from threading import Lock
from time import monotonic
from typing import Any, Final, TypeAlias

from idlanyard import _failures
from idlanyard._binding.functions import is_awaited
from idlanyard._decision.worker_threads import WorkerThreads, time_limit
from idlanyard._policy.admission import Admission

Answer: TypeAlias = bool | None
"""
Known, not known, or no answer.
"""

_THREADS: Final = 16
_ANSWERED: Final = {
    "refuse": "such requests are answered 503",
    "mint": "such requests get a fresh session",
}


class KnownSessions:
    """
    Who asks on behalf of one middleware, with threads of its own for a function that waits.

    Args:
        admission: the rules.
    """

    __slots__ = ("_admission", "_lock", "_outage", "_threads")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._threads = WorkerThreads(_THREADS, "idlanyard-admission")
        # Since when there has been no answer, and how many were without one.
        self._outage: tuple[float, int] | None = None
        self._lock = Lock()

    def ask(self, session: str) -> Answer:
        """
        Ask in this thread.
        """
        began = monotonic()
        try:
            answer = _said(self._admission.known(session))
        except Exception as error:
            self._fail(error)
            return None
        self._answer(began)
        return answer

    async def ask_async(self, session: str) -> Answer:
        """
        Ask on an event loop, for no longer than the timeout, the wait for a thread included.
        """
        began = monotonic()
        try:
            async with time_limit(self._admission.timeout):
                answer = _said(await self._awaited(session))
        except Exception as error:
            self._fail(error)
            return None
        self._answer(began)
        return answer

    async def _awaited(self, session: str) -> Any:
        known: Any = self._admission.known
        if is_awaited(known):
            return await known(session)
        answer = await self._threads.run(known, session)
        return await answer if inspect.isawaitable(answer) else answer

    def _fail(self, error: Exception) -> None:
        """
        Count a failure, and log the first one of an outage.
        """
        with self._lock:
            is_first = self._outage is None
            since, count = self._outage or (monotonic(), 0)
            self._outage = since, count + 1
        _failures.count_failure("admission", error)
        if is_first:
            _failures.LOGGER.error(
                "idlanyard: Admission cannot ask whether a session is known: %s: %s; %s",
                type(error).__name__,
                _first_line(error),
                _ANSWERED[self._admission.unavailable],
                exc_info=error,
            )

    def _answer(self, began: float) -> None:
        """
        Log the end of an outage, once a question has been answered that was asked during it.
        """
        with self._lock:
            outage = self._outage
            if outage is None or began < outage[0]:
                return
            self._outage = None
        since, count = outage
        _failures.LOGGER.warning(
            "idlanyard: Admission is answered again, after %.1f seconds and %d requests without",
            monotonic() - since,
            count,
        )


def _said(answer: object) -> bool:
    """
    Return the answer if it is one; an object that is merely true lets nobody in.
    """
    if isinstance(answer, bool):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError(f"Admission's function returned {type(answer).__name__}: return True or False")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["without a word"])[0]

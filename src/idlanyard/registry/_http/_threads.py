"""
The threads of a face on an event loop: for the registry's verbs, and for functions of the
application.

Neither are the loop's own, which are everybody's: a store that is silent, or
an ``on_input`` that is slow, takes nothing from the application around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from idlanyard import _failures
from idlanyard._decision.worker_threads import WorkerThreads, time_limit
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._registry import SessionRegistry

MOST: Final = 40
"""
How many threads of each kind a face has at once.
"""
_GRACE: Final = 0.2
"""
How many seconds more than its timeout a verb may take to say by itself that it failed.
"""


class VerbThreads:
    """
    Where the verbs of a ``SessionRegistry`` run; the wait for a thread is inside its timeout.

    Args:
        registry: whose verbs.
    """

    __slots__ = ("_is_late", "_kind", "_seconds", "_threads")

    def __init__(self, registry: SessionRegistry | AsyncSessionRegistry) -> None:
        self._kind = registry.scheme
        self._seconds = registry.timeout
        self._threads = WorkerThreads(MOST, "idlanyard-registry")
        self._is_late = False

    async def run(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        """
        Return what *verb* returns.

        Raises:
            RegistryUnavailable: there was no answer in time. A verb that had
                no thread until then is never begun.
        """
        try:
            async with time_limit(self._seconds + _GRACE):
                answer = await self._threads.run(verb, *arguments)
        except TimeoutError as error:
            self._tell(error)
            raise RegistryUnavailable(self._kind) from error
        self._is_late = False
        return answer

    def _tell(self, error: TimeoutError) -> None:
        """
        Log the first of several verbs that had no answer.
        """
        if not self._is_late:
            self._is_late = True
            _failures.LOGGER.error(
                "idlanyard: no answer from the session registry's %s store within %.1f seconds, "
                "the wait for one of %d threads included: such requests are answered 503",
                self._kind,
                self._seconds,
                MOST,
                exc_info=error,
            )


class FunctionThreads:
    """
    Where plain functions of the application run; they may take as long as they like.
    """

    __slots__ = ("_limiters",)

    def __init__(self) -> None:
        # By name as well: before AnyIO 4.11 two of one name were one.
        self._limiters: RunVar[CapacityLimiter] = RunVar(f"idlanyard-{id(self)}")

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """
        Return what *function* returns.
        """
        try:
            limiter = self._limiters.get()
        except LookupError:
            limiter = CapacityLimiter(MOST)
            self._limiters.set(limiter)
        return await to_thread.run_sync(function, *arguments, limiter=limiter)

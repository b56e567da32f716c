"""
Threads of a face on an event loop, for verbs of the registry and for the application's functions.

Both kinds are apart from the event loop's own threads: a store that does not
answer, or a slow ``on_input``, takes no thread from the application around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from idlanyard import _failures
from idlanyard._decision.worker_threads import WorkerThreads, limit_time
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._registry import SessionRegistry

MOST: Final = 40
"""
The most threads of each kind that a face has at once.
"""
_GRACE: Final = 0.2
"""
The seconds behind its timeout in which a verb may still raise its own error.
"""


class VerbThreads:
    """
    Threads for the verbs of a ``SessionRegistry``; its timeout includes the wait for a thread.

    Args:
        registry: the registry.
    """

    __slots__ = ("_is_late", "_kind", "_seconds", "_threads")

    def __init__(self, registry: SessionRegistry | AsyncSessionRegistry) -> None:
        self._kind = registry.scheme
        self._seconds = registry.timeout
        self._threads = WorkerThreads(MOST, "idlanyard-registry")
        self._is_late = False

    async def run(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        """
        Return the result of a verb.

        Raises:
            RegistryUnavailable: there was no result in time. A verb that has
                no thread by then never starts.
        """
        try:
            async with limit_time(self._seconds + _GRACE):
                answer = await self._threads.run(verb, *arguments)
        except TimeoutError as error:
            self._log_first(error)
            raise RegistryUnavailable(self._kind) from error
        self._is_late = False
        return answer

    def _log_first(self, error: TimeoutError) -> None:
        """
        Log the first of several verbs without a result.
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
    Threads for plain functions of the application, which have no timeout.
    """

    __slots__ = ("_limiters",)

    def __init__(self) -> None:
        # The name is unique: before AnyIO 4.11 two RunVars of one name shared their value.
        self._limiters: RunVar[CapacityLimiter] = RunVar(f"idlanyard-{id(self)}")

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """
        Return the result of a function.
        """
        try:
            limiter = self._limiters.get()
        except LookupError:
            limiter = CapacityLimiter(MOST)
            self._limiters.set(limiter)
        return await to_thread.run_sync(function, *arguments, limiter=limiter)

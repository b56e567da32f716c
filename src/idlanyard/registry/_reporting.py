"""
Report each verb of a registry to subscribers: its outcome, and how long it took.
"""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Final, Self

from idlanyard._binding.events import Event, notify_subscribers
from idlanyard._binding.reading import get_session_context
from idlanyard.registry._exceptions import (
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
)
from idlanyard.registry._record import Repeated

_DONE: Final = {
    "create": "created",
    "create_or_suffix": "created",
    "touch": "touched",
    "end": "ended",
    "purge_expired": "purged",
}
_FAILED: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (SessionExists, "exists"),
    (SessionNotFound, "not found"),
    (RegistryUnavailable, "unavailable"),
    (RegistryMisconfigured, "misconfigured"),
    (Exception, "refused"),
    (BaseException, "cancelled"),
)


class VerbReport:
    """
    A block that runs one verb, and then emits the event ``"registry"``.

    Attributes:
        answer: the last answer of the store or, if the verb returns a
            ``bool``, the result of the verb.
    """

    __slots__ = ("_began", "_store", "_verb", "answer")

    def __init__(self, store: str, verb: str) -> None:
        self._store = store
        self._verb = verb
        self._began = monotonic()
        self.answer: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        notify_subscribers(
            Event(
                "registry",
                get_session_context(),
                verb=self._verb,
                outcome=self._outcome(error),
                seconds=monotonic() - self._began,
                store=self._store,
            )
        )

    def _outcome(self, error: BaseException | None) -> str:
        if error is not None:
            return next(outcome for kind, outcome in _FAILED if isinstance(error, kind))
        if isinstance(self.answer, Repeated):
            return "repeated"
        if self.answer is False:
            return "not found"
        return _DONE.get(self._verb, "found")

"""
Events of this process, such as a bound request or a minted ID, and their subscribers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, get_args

from idlanyard import _failures
from idlanyard._policy.callables import find_call_fault

if TYPE_CHECKING:
    from idlanyard._binding.snapshot import SessionContext

EventName: TypeAlias = Literal["bind", "mint", "reject", "identify", "registry"]

NAMES: Final[tuple[str, ...]] = get_args(EventName)

subscribers: dict[str, tuple[Callable[[Event], object], ...]] = {}
"""
Subscribers by event; empty, and falsy, while there are none.
"""

_writing: Final = threading.Lock()


class Event(NamedTuple):
    """
    An event as subscribers get it.

    Attributes:
        name: ``"bind"``, ``"mint"``, ``"reject"``, ``"identify"`` or ``"registry"``.
        context: the current IDs after the event.
        field: the ID that was minted or rejected, else ``None``.
        reason: why it was rejected, else ``None``; never the value.
        begins: ``"request"`` or ``"job"`` where one begins with a ``bind``,
            so that the span in progress is its own; ``None`` for a block.
        verb: for ``"registry"`` the verb that was called, as in ``"create"``.
        outcome: for ``"registry"`` ``"created"``, ``"repeated"`` (a create that
            its idempotency key says was made before), ``"exists"``, ``"found"``,
            ``"not found"``, ``"touched"``, ``"ended"``, ``"purged"``,
            ``"refused"`` (an argument is wrong), ``"unavailable"`` or
            ``"misconfigured"``.
        seconds: for ``"registry"`` how long the verb took.
        store: for ``"registry"`` the kind of store, as in ``"redis"``.
    """

    name: str
    context: SessionContext
    field: str | None = None
    reason: str | None = None
    begins: Literal["request", "job"] | None = None
    verb: str | None = None
    outcome: str | None = None
    seconds: float | None = None
    store: str | None = None


def subscribe(event: EventName, fn: Callable[[Event], object]) -> Callable[[], None]:
    """
    Call *fn* with an ``Event`` whenever *event* happens.

    Subscribers are called first in, first out, in the thread or task in which
    it happens, when the IDs are current. If one raises, that is logged once
    and the next one is still called; the request never sees the error.

    Args:
        event: ``"bind"``, ``"mint"``, ``"reject"``, ``"identify"`` or
            ``"registry"`` (each verb of a registry, when it is done).
        fn: takes the event; its result is ignored. A function that is
            subscribed twice is called twice.

    Returns:
        A function that removes this subscription; calling it again does
        nothing.

    Raises:
        ValueError: no event has this name.
        TypeError: *fn* is not a plain function of one argument.
    """
    if event not in NAMES:
        raise ValueError(f"no event is called {event!r}: write one of {', '.join(NAMES)}")
    fault = find_call_fault(fn, "the event")
    if fault is not None:
        raise TypeError(f"subscribe {fault}: write subscribe({event!r}, print)")

    # One function may be subscribed twice: undo finds its own subscription by the wrapper.
    def subscription(emitted: Event) -> object:
        return fn(emitted)

    with _writing:
        subscribers[event] = (*subscribers.get(event, ()), subscription)

    def undo() -> None:
        with _writing:
            rest = tuple(one for one in subscribers.get(event, ()) if one is not subscription)
            if rest:
                subscribers[event] = rest
            else:
                subscribers.pop(event, None)

    return undo


def notify_subscribers(event: Event) -> None:
    """
    Call the subscribers of the event.
    """
    for fn in subscribers.get(event.name, ()):
        try:
            fn(event)
        except Exception as error:
            _failures.report_failure(f"subscriber of {event.name!r}", error)

"""
Sentry: events, transactions and logs have the IDs of their request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from weakref import WeakValueDictionary

import sentry_sdk
from sentry_sdk.scope import add_global_event_processor, global_event_processors

from idlanyard._binding import events
from idlanyard._binding.reading import get_context_for, get_session_context
from idlanyard._binding.snapshot import SessionContext, show_ids
from idlanyard.integrations.custom import current_request, is_bound, report_failure

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint, Log

__all__ = ["event_processor", "install", "log_processor"]

_NAME: Final = "idlanyard"
# Sentry drops a longer tag; the context has the whole ID.
_LONGEST_TAG: Final = 200


def install() -> Callable[[], None]:
    """
    Add the current IDs to every event and every transaction.

    Call it once, before ``sentry_sdk.init`` or after it. Events are completed
    by ``event_processor``. A transaction that Sentry ends when the request is
    no longer bound gets the IDs of the first request or job that was bound
    during it, as they are when it ends. No scope of Sentry's is changed.

    Returns:
        A function that undoes this; calling it again does nothing.
    """
    requests: WeakValueDictionary[tuple[str, str], _Request] = WeakValueDictionary()

    def keep(_: object) -> None:
        _keep_request(requests)

    # A new function for each install, since Sentry removes processors by identity.
    def processor(event: Event, hint: Hint) -> Event:
        return event_processor(event, hint)

    forget = events.subscribe("bind", keep)
    add_global_event_processor(processor)

    def undo() -> None:
        forget()
        if processor in global_event_processors:
            global_event_processors.remove(processor)

    return undo


def event_processor(event: Event, hint: Hint) -> Event:
    """
    Add the current IDs to an event, as user, tags and context.

    The IDs are read when the event is captured. If none are bound, they are
    those of the request that raised the exception in ``hint["exc_info"]``, or
    of the request that a transaction belongs to. Errors follow each ID's rule
    for logs, transactions its rule for spans. A user, a tag or a context that
    the event has already stays.

    ``install`` puts it in place; it may also be a ``before_send``, which
    Sentry calls last.

    Args:
        event: the event that Sentry is about to send.
        hint: Sentry's own notes on the event.

    Returns:
        The same event.
    """
    try:
        _complete_event(event, hint)
    except Exception as error:
        report_failure("Sentry's event processor", error)
    return event


def log_processor(log: Log, hint: Hint) -> Log:  # noqa: ARG001 - the signature of before_send_log
    """
    Add the current IDs to an item of Sentry's logs, as the rules for logs show them.

    The IDs are read when the item is logged. An attribute that it has already
    stays.
    Write ``sentry_sdk.init(before_send_log=log_processor)``.

    Args:
        log: the item that Sentry is about to send.
        hint: not used.

    Returns:
        The same item.
    """
    try:
        attributes: dict[str, Any] = log["attributes"]
        for name, text in _ids_for(get_session_context(), "log").items():
            attributes.setdefault(name, text)
    except Exception as error:
        report_failure("sentry log processor", error)
    return log


class _Request(Mapping[str, str]):
    """
    The IDs of the request that a transaction belongs to, read when Sentry reads them.

    Attributes:
        context: the IDs that the request has now, or had at its end.
    """

    __slots__ = ("__weakref__", "context")

    def __init__(self, context: SessionContext) -> None:
        self.context = context

    def __getitem__(self, name: str) -> str:
        return _ids_for(self.context, "span")[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_ids_for(self.context, "span"))

    def __len__(self) -> int:
        return len(_ids_for(self.context, "span"))


def _keep_request(requests: WeakValueDictionary[tuple[str, str], _Request]) -> None:
    """
    Store the current request in the current transaction, unless an earlier one is there.
    """
    context, span = current_request(), sentry_sdk.get_current_scope().span
    transaction = None if span is None else span.containing_transaction
    if context is None or transaction is None:
        return
    request = _Request(context)
    key = transaction.trace_id, transaction.span_id
    # The dictionary holds it weakly: it lives as long as the transaction, which has it below.
    if requests.setdefault(key, request) is request:
        transaction.set_context(_NAME, cast("dict[str, Any]", request))


def _complete_event(event: Event, hint: Hint) -> None:
    there: Mapping[str, object] = event.get("contexts") or {}
    context = _context_of(hint, there.get(_NAME))
    ids = _ids_for(context, "span" if event.get("type") == "transaction" else "log")
    others = {name: value for name, value in there.items() if not isinstance(value, _Request)}
    event["contexts"] = cast("Any", ({_NAME: ids} if ids else {}) | others)
    tags = {name: text for name, text in ids.items() if len(text) <= _LONGEST_TAG}
    event["tags"] = tags | dict(event.get("tags") or {})
    # A user that is there may be the scope's own object, so no ID is added to it.
    if "user_id" in ids and not event.get("user"):
        event["user"] = {"id": ids["user_id"]}


def _context_of(hint: Hint, kept: object) -> SessionContext:
    """
    Return the current IDs, or those of the transaction's request, or those of the exception.
    """
    if not is_bound() and isinstance(kept, _Request):
        return kept.context
    return get_context_for((hint.get("exc_info") or (None, None))[1])


def _ids_for(context: SessionContext, sink: Literal["log", "span"]) -> dict[str, str]:
    """
    Return the IDs by name as *sink* may show them, without those that are unset or omitted.
    """
    return {name: text for name, text in show_ids(context, sink).items() if text is not None}

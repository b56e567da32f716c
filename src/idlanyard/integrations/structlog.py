"""
structlog: a processor that adds the current IDs to each event.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from idlanyard._binding.state import get_binding
from idlanyard.integrations.custom import report_failure, show_current_ids

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

__all__ = ["add_session_context"]


def add_session_context(
    logger: WrappedLogger,  # noqa: ARG001 - the signature of a processor
    method_name: str,  # noqa: ARG001
    event_dict: EventDict,
) -> EventDict:
    """
    Add the current IDs to an event, as the rules for logs show them.

    An ID that is unset adds no key, and a key that the event has already
    stays. If no IDs are bound, those of the request that raised the event's
    exception are added. A record of the standard library that
    ``ProcessorFormatter`` passes on keeps the IDs that it was made with, if
    ``idlanyard.integrations.logging`` is installed. Put the processor before
    ``format_exc_info`` and the renderer.

    Args:
        logger: not used.
        method_name: not used.
        event_dict: the event.

    Returns:
        The same event.
    """
    try:
        for name, text in _ids_of(event_dict).items():
            event_dict.setdefault(name, text)
    except Exception as error:
        report_failure("structlog processor", error)
    return event_dict


def _ids_of(event_dict: EventDict) -> dict[str, str]:
    """
    Return the IDs of an event by name, without those that are unset or omitted.
    """
    record = event_dict.get("_record")
    made_with: Mapping[str, Any] = record.__dict__ if isinstance(record, logging.LogRecord) else {}
    if "session_id" in made_with:
        found = {name: made_with.get(name) for name in get_binding().policy.names}
    else:
        error = _error_of(event_dict.get("exc_info"))
        found = show_current_ids("log", error)
    return {name: text for name, text in found.items() if text is not None}


def _error_of(exc_info: object) -> BaseException | None:
    """
    Return the exception of an event, whose ``exc_info`` may be one, a tuple or true.
    """
    error = exc_info
    if isinstance(exc_info, tuple):
        error = cast("tuple[object, ...]", exc_info)[1]
    elif exc_info and not isinstance(exc_info, BaseException):
        error = sys.exc_info()[1]
    return error if isinstance(error, BaseException) else None

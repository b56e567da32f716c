"""
loguru: a patcher that adds the IDs in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard import _events
from idlanyard._access import get_session_context
from idlanyard._binding import UNBOUND, carried_by, current
from idlanyard._policy import Policy
from idlanyard._snapshot import SessionContext

if TYPE_CHECKING:
    from loguru import Record

__all__ = ["patcher"]


def patcher(record: Record) -> None:
    """
    Add the IDs in force to a record's ``extra``, as their log sinks show them.

    An ID that is unset is ``None``, so that formats may name it, and a key
    that is there stays. Where nothing is bound, the IDs are those that the
    exception of the record has carried out of its request. They are read in
    the thread that logs, also where the sink has ``enqueue=True``.

    Write ``logger.configure(patcher=patcher)``.

    Args:
        record: what is logged.
    """
    try:
        context = _context_of(record)
        policy: Policy = context._policy  # pyright: ignore[reportPrivateUsage]
        extra: dict[Any, Any] = record["extra"]
        for name in policy.names:
            value = context.get(name)
            extra.setdefault(name, None if value is None else policy.shown("log", name, value))
    except Exception as error:
        _events.failed("loguru patcher", error)


def _context_of(record: Record) -> SessionContext:
    """
    Return what is bound here, or else what the exception has carried.
    """
    error = record["exception"].value if record["exception"] else None
    carried = None if error is None else carried_by(error)
    return carried if carried is not None and current() is UNBOUND else get_session_context()

"""
loguru: a patcher that adds the IDs in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard.integrations.custom import report_failure, show_current_ids

if TYPE_CHECKING:
    from loguru import Record

__all__ = ["patcher"]


def patcher(record: Record) -> None:
    """
    Add the IDs in force to a record's ``extra``, as their log sinks show them.

    An ID that is unset is ``None``, so that formats may name every ID that a
    policy of this process declares, and a key that is there stays. Where
    nothing is bound, the IDs are those that the exception of the record has
    carried out of its request. They are read in the thread that logs, also
    where the sink has ``enqueue=True``.

    Write ``logger.configure(patcher=patcher)``.

    Args:
        record: what is logged.
    """
    try:
        error = record["exception"].value if record["exception"] else None
        extra: dict[Any, Any] = record["extra"]
        for name, text in show_current_ids("log", error).items():
            extra.setdefault(name, text)
    except Exception as error:
        report_failure("loguru patcher", error)

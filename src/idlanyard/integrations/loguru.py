"""
loguru: a patcher that adds the current IDs to each record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard.integrations.custom import report_failure, show_current_ids

if TYPE_CHECKING:
    from loguru import Record

__all__ = ["patcher"]


def patcher(record: Record) -> None:
    """
    Add the current IDs to a record's ``extra``, as the rules for logs show them.

    An ID that is unset is ``None``, so that formats may name every ID that a
    policy of this process declares. A key that ``extra`` has already stays. If
    no IDs are bound, those of the request that raised the record's exception
    are added. The IDs are read in the thread that logs, also if the sink has
    ``enqueue=True``.

    Write ``logger.configure(patcher=patcher)``.

    Args:
        record: the record that is logged.
    """
    try:
        error = record["exception"].value if record["exception"] else None
        extra: dict[Any, Any] = record["extra"]
        for name, text in show_current_ids("log", error).items():
            extra.setdefault(name, text)
    except Exception as error:
        report_failure("loguru patcher", error)

"""
Failures of hooks and sinks, and warnings: counted, logged once, raised under test.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from typing import Final

LOGGER: Final = logging.getLogger("idlanyard")

failures: Counter[str] = Counter()
"""
The number of failures of each hook or sink, by its description in the log.
"""

warned: set[str] = set()
"""
The subjects that ``warn_once`` has logged a warning about in this process.
"""

_writing = threading.Lock()
_strict: list[object] = []


def _renew_lock() -> None:
    global _writing  # noqa: PLW0603 - a lock that another thread held at a fork stays locked
    _writing = threading.Lock()


# Windows has no forks, and no register_at_fork.
getattr(os, "register_at_fork", dict)(after_in_child=_renew_lock)


def report_failure(
    where: str, error: Exception, *, reason: str = "", shown: Exception | None = None
) -> None:
    """
    Count a failure, log it once, or raise it under test.

    Args:
        where: the hook or sink that failed, in words for the log and the count.
        error: the exception that was raised.
        reason: one of a few texts, each of which is counted and logged by
            itself; never a value.
        shown: the exception that is logged in its place, where its text may
            quote a client; under test the first is raised.
    """
    if count_failure(f"{where}: {reason}" if reason else where, error) == 1:
        LOGGER.error(
            "idlanyard: %s failed%s; the request goes on, further failures are counted only",
            where,
            f" ({reason})" if reason else "",
            exc_info=shown or error,
        )


def count_failure(where: str, error: BaseException) -> int:
    """
    Count a failure and return the number of failures so far, or raise it under test.
    """
    if _strict:
        raise error
    with _writing:
        failures[where] += 1
        return failures[where]


def warn_once(about: str, message: str, *args: object) -> None:
    """
    Log a warning unless this process has logged one about the same.

    Args:
        about: the subject of the warning, one of a few fixed texts.
        message: the warning, with ``%`` fields; never a value of an ID.
        args: the values of the fields.
    """
    with _writing:
        first = about not in warned
        warned.add(about)
    if first:
        LOGGER.warning(message, *args)


class FailuresRaised:
    """
    A block in which failures are raised instead of logged; for tests.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        _strict.append(self)

    def __exit__(self, *_: object) -> None:
        _strict.remove(self)

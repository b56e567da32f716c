"""
Replies of the HTTP API: JSON that no cache stores, errors in one shape, each fault logged once.
"""

from __future__ import annotations

import json
from datetime import datetime
from threading import Lock
from typing import Final, NamedTuple

from idlanyard._failures import LOGGER
from idlanyard.registry._exceptions import RegistryMisconfigured

_HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


class Reply(NamedTuple):
    """
    A response that a face sends.

    Attributes:
        status: the status code.
        headers: names and values, without the length.
        body: JSON.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, status: int, value: object, *more: tuple[str, str]) -> Reply:
        """
        Return a reply whose body is *value* as JSON.

        Args:
            status: the status code.
            value: the value.
            more: headers besides those of every reply.

        Raises:
            TypeError: JSON cannot express the value.
            ValueError: the same.
        """
        return cls(status, (*_HEADERS, *more), json.dumps(value, allow_nan=False).encode())


class Refused(Exception):
    """
    A request that is answered with an error.

    Args:
        status: the status code.
        message: the sentence for the caller.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self._status = status
        self._message = message

    def reply(self, now: datetime) -> Reply:
        """
        Return the reply to the request.

        Args:
            now: the moment, in UTC, that the reply is stamped with.
        """
        error = "RequestValidationError" if self._status == 422 else "HTTPException"
        fields = {"error": error, "message": self._message, "timestamp": format_moment(now)}
        more = (("Retry-After", "1"),) if self._status == 503 else ()
        return Reply.of(self._status, fields, *more)


def format_moment(moment: datetime) -> str:
    """
    Return a moment in UTC as in ``2025-10-15T08:34:11.753923Z``.
    """
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


class Faults:
    """
    Faults in the configuration of a registry, each logged once until it is gone.

    Threads may share it.
    """

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}
        self._lock = Lock()

    def note(self, error: RegistryMisconfigured, call: str) -> None:
        """
        Log a fault, unless it is known.

        Args:
            error: the fault.
            call: the name of the call that raised it.
        """
        with self._lock:
            is_known = str(error) in self._known
            self._known.setdefault(str(error), set()).add(call)
        if not is_known:
            LOGGER.error("idlanyard: %s, answering 500", error, exc_info=error)

    def forget(self, call: str) -> None:
        """
        Forget the faults of a call that has succeeded now.

        Faults of other calls stay known: reads may work where writes do not.

        Args:
            call: the name of the call.
        """
        if not self._known:
            return
        with self._lock:
            for fault in [fault for fault, calls in self._known.items() if call in calls]:
                del self._known[fault]

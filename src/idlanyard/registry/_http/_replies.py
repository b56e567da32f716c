"""
What the HTTP API says: JSON, never stored by a cache, errors in one shape. Pure.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final, NamedTuple

_HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


class Reply(NamedTuple):
    """
    What a face sends.

    Attributes:
        status: as in 200.
        headers: names and values, without the length.
        body: JSON.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, status: int, value: object, *more: tuple[str, str]) -> Reply:
        """
        Return the reply that says *value*.

        Raises:
            TypeError: it has something that JSON has not.
            ValueError: the same.
        """
        return cls(status, (*_HEADERS, *more), json.dumps(value, allow_nan=False).encode())


def reply(**fields: Any) -> Reply:
    """
    Return the reply to a request that was followed.
    """
    return Reply.of(200, fields)


class Refused(Exception):
    """
    A request that is answered with an error.

    Args:
        status: as in 404.
        message: the sentence for the caller.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self._status = status
        self._message = message

    def reply(self, now: datetime) -> Reply:
        """
        Return what is answered.
        """
        error = "RequestValidationError" if self._status == 422 else "HTTPException"
        said = {"error": error, "message": self._message, "timestamp": moment(now)}
        more = (("Retry-After", "1"),) if self._status == 503 else ()
        return Reply.of(self._status, said, *more)


def moment(when: datetime) -> str:
    """
    Return a moment in UTC as in ``2025-10-15T08:34:11.753923Z``.
    """
    return when.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"

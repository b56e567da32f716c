"""
The errors that decide what is asked next, and those that redis-py does not have.
"""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Lost

CROWDED: Final = "max number of clients"
WRONG_SERVER: Final = (ReadOnlyError, BusyLoadingError, MasterDownError)
"""
Refusals by a server that was demoted, or does not serve yet: nothing was done.
"""
IN_MOTION: Final = (TryAgainError, ClusterDownError)
"""
Refusals by a cluster whose slots are being moved, or are nobody's for a moment.
"""


class Full(RedisError):
    """
    Every connection that there may be stayed in use.
    """


class Misdirected(RedisError):
    """
    The URL leads to something else than it says.

    Args:
        fault: what is wrong, and what to write instead.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(fault)  # pyright: ignore[reportUnknownMemberType]
        self.fault = fault


def is_crowded(error: BaseException) -> bool:
    """
    Return whether a server refused a connection because it has too many.
    """
    return isinstance(error, Lost | ResponseError) and CROWDED in str(error)

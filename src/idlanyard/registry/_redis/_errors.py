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
    TryAgainError,
)
from redis.exceptions import ConnectionError as Lost

_CROWDED: Final = "max number of clients"
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
    Return whether a server may have refused a connection because it has too many.

    It says so and hangs up, which asyncio may notice first.
    """
    hung_up = isinstance(error.__context__, ConnectionResetError | BrokenPipeError)
    return isinstance(error, Lost) and (hung_up or _CROWDED in str(error))

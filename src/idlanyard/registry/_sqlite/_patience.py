"""
How long a verb may still take, for who asks and for the thread that does it.
"""

from __future__ import annotations

from math import inf
from time import monotonic


class Patience:
    """
    The moment at which a verb is given up, which its caller may bring forward.

    Attributes:
        until: the moment, by the monotonic clock.
    """

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """
        Return a patience of so many seconds from now.
        """
        return cls(monotonic() + seconds)

    @property
    def is_over(self) -> bool:
        """
        Whether the verb is given up.
        """
        return monotonic() >= self.until

    @property
    def is_ended(self) -> bool:
        """
        Whether nobody waits for the verb any more.
        """
        return self.until == -inf

    def end(self) -> None:
        """
        Give the verb up now, in whatever thread it is.
        """
        self.until = -inf


class Watch:
    """
    The patience of the statement that a connection is running, if any.

    SQLite asks for it every few thousand steps, and interrupts the statement where it is over.
    """

    __slots__ = ("patience",)

    def __init__(self) -> None:
        self.patience = Patience(inf)

    def is_over(self) -> bool:
        """
        Return whether the statement is to be interrupted.
        """
        return self.patience.is_over

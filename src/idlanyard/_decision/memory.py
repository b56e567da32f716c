"""
Decisions that were made before, remembered in bounds: the one place where a policy keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MOST: Final = 256
_LONGEST: Final = 256


class Memory(dict[K, V]):
    """
    The results of a pure function for the arguments seen before.

    Reading an entry makes it. Clients and applications choose the arguments, so there are
    at most 256 entries, each for an argument of at most 256 characters.

    Args:
        decide: the function, of one argument.
        measure: returns the number of characters in an argument.
    """

    __slots__ = ("_decide", "_measure")

    def __init__(self, decide: Callable[[K], V], measure: Callable[[K], int]) -> None:
        super().__init__()
        self._decide = decide
        self._measure = measure

    def __missing__(self, key: K) -> V:
        decision = self._decide(key)
        if self._measure(key) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[key] = decision
        return decision


def measure_parts(parts: tuple[str | bytes, ...]) -> int:
    """
    Return the number of characters in all parts of an argument.
    """
    return sum(map(len, parts))

"""
The effects that the headers of a response have on its echo, remembered in bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from idlanyard._decision.caches import Caches, Change
from idlanyard._decision.memory import Memory, measure_parts
from idlanyard._decision.protocols import Pair

_MOST_NAMES: Final = 256
_LONGEST_NAME: Final = 128


class Effect(NamedTuple):
    """
    The effect of all headers of a response together.

    Attributes:
        stored: as in ``Instructions``.
        otherwise: as in ``Instructions``.
        is_dated: as in ``Instructions``.
        merged: the headers that may have to be replaced by the echo or merged with it, as
            they are spelled.
    """

    stored: Change | None
    otherwise: Change | None
    is_dated: bool
    merged: frozenset[Any]


class Effects:
    """
    The effects under one policy.

    Args:
        caches: the rules about caches.
        merged: the headers, in lower case, that may have to be replaced or merged.

    Attributes:
        plain: the headers seen so far that have no effect, as they are spelled; bounded.
        values_count: whether the value of a header counts, and not only its presence;
            ``None`` for a header without an effect.
        none: the effect of no headers.
    """

    __slots__ = ("_caches", "_known", "_merged", "none", "plain", "values_count")

    def __init__(self, caches: Caches, merged: frozenset[Any]) -> None:
        self._caches = caches
        self._merged = merged
        self.plain: set[Any] = set()
        self.values_count: Memory[Any, bool | None] = Memory(self._look_at_name, len)
        self._known: Memory[tuple[Any, ...], Effect] = Memory(self._combine, measure_parts)
        self.none = self._combine(())

    def look_up(self, parts: list[Any]) -> Effect:
        """
        Return the effect of headers.

        Args:
            parts: the name of each header that has an effect, followed by its value if
                that counts.
        """
        try:
            return self._known[(*parts,)]
        except TypeError:
            # A bytearray has no hash; servers write it like bytes.
            return self._known[(*map(bytes, parts),)]

    def learn_plain(self, name: Any) -> None:
        """
        Remember a header that has no effect.
        """
        # Bounded, since an application may make names up.
        if len(self.plain) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
            self.plain.add(name)

    def _look_at_name(self, name: Any) -> bool | None:
        # An ID is no instruction to caches, whatever its header is called.
        return False if name.lower() in self._merged else self._caches.has_value(name)

    def _combine(self, parts: tuple[Any, ...]) -> Effect:
        pairs = [*self._pair_up(parts)]
        merged = frozenset(name for name, _ in pairs if name.lower() in self._merged)
        instructions = [pair for pair in pairs if pair[0] not in merged]
        stored, otherwise, is_dated = self._caches.read_instructions(instructions)
        return Effect(stored, otherwise, is_dated, merged)

    def _pair_up(self, parts: tuple[Any, ...]) -> Iterator[Pair]:
        rest = iter(parts)
        for name in rest:
            yield name, next(rest) if self.values_count[name] else name

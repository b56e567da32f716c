"""
``IDCheck``: the length and the characters that one ID may have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_CHARSETS: Final = {
    "default": ("A-Za-z0-9", r"A-Za-z0-9\-_.~:@/+=|", "letters, digits and - _ . ~ : @ / + = |"),
    "visible": (
        r"!#-+\--:=?-\[\]-~",
        r"!#-+\--:=?-\[\]-~",
        'visible ASCII without , ; " \\ < >',
    ),
}
_NO_IDS: Final = (bool, dict, list, tuple, set)
_LONGEST: Final = 1_024
_VISIBLE: Final = "charset='visible'"


class IDCheck:
    """
    What one ID may look like: length first, then an ASCII allow-list.

    Args:
        charset: ``"default"``, ``"visible"`` or a compiled pattern of ``str``,
            which the whole value must match besides being ``"visible"``.
        max_length: the most characters, 1 to 1,024.
    """

    __slots__ = ("_charset", "_pattern", "matches", "matches_bytes", "max_length")

    matches: Callable[[str], re.Match[str] | None]
    matches_bytes: Callable[[bytes], re.Match[bytes] | None]
    max_length: int

    def __init__(self, charset: str | re.Pattern[str] = "default", max_length: int = 255) -> None:
        self.max_length = max_length
        self._pattern = charset if isinstance(charset, re.Pattern) else None
        self._charset = "visible" if isinstance(charset, re.Pattern) else charset
        first, rest, _ = _CHARSETS[self._charset]
        shape = f"[{first}][{rest}]{{0,{max_length - 1}}}"
        self.matches_bytes = re.compile(shape.encode("ascii")).fullmatch
        self.matches = re.compile(shape).fullmatch

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """
        The user's own pattern, which comes on top of the allow-list.
        """
        return self._pattern

    def reason(self, value: str) -> str | None:
        """
        Return why *value* is refused, without repeating any of it.

        Returns:
            ``None`` for a value that may pass, else ``"empty"``,
            ``"too long"`` or ``"character not allowed"``.
        """
        if not value:
            return "empty"
        if len(value) > self.max_length:
            return "too long"
        if not self.matches(value) or (self._pattern and not self._pattern.fullmatch(value)):
            return "character not allowed"
        return None

    def require(self, name: str, value: object) -> str:
        """
        Return *value* if code may use it as the ID *name*.

        Raises:
            TypeError: it is not a ``str``.
            ValueError: it is refused; the message names the field, the
                reason and the option that would allow it, never the value.
        """
        if not isinstance(value, str):
            raise TypeError(_no_text(name, value))
        reason = self.reason(value)
        if reason is None:
            # Of a subclass the text that was checked, and not what it says of itself.
            return str.__str__(value)
        raise ValueError(f"{name} is refused, {reason}: {self._remedy(name, reason, value)}")

    def _remedy(self, name: str, reason: str, value: str) -> str:
        if reason == "empty":
            return "write None or leave it out to mean that there is none"
        if reason == "too long":
            has = f"it has {len(value)} characters and may have {self.max_length}"
            return f"{has}{_offer(name, f'max_length={len(value)}', len(value) <= _LONGEST)}"
        if self._pattern is not None:
            return f"it must match {self._pattern.pattern!r} and be {_CHARSETS['visible'][2]}"
        allowed = _CHARSETS[self._charset][2]
        if self._charset == "visible":
            return f"allowed are {allowed}"
        wider = IDCheck("visible", self.max_length).reason(value) is None
        said = f"allowed are {allowed}, first a letter or digit"
        return f"{said}{_offer(name, _VISIBLE, wider)}"


def _no_text(name: str, value: object) -> str:
    """
    Return the sentence for what is no text: how its ID is written.
    """
    kind = type(value).__name__
    instead = "write str(...)"
    if isinstance(value, bytes):
        instead = "write value.decode()"
    elif callable(value):
        instead = "call it"
    elif isinstance(value, _NO_IDS) or _says_nothing(value):
        # Their text is no ID, or one that changes with every run.
        instead = "write the ID that is meant, as in str(user.id)"
    return f"{name} must be a str, not {kind}: {instead}"


def _says_nothing(value: object) -> bool:
    return type(value).__repr__ is object.__repr__


def _offer(name: str, change: str, helps: bool) -> str:
    """
    Return how the rules may be changed, if that lets the value in.
    """
    if not helps:
        return ", and no rule may allow this one"
    kind = name.removesuffix("_id")
    if kind in ("session", "user", "tenant"):
        return f"; Policy({kind}={kind}_spec({change})) allows this one"
    return f"; {change} in its IDSpec allows this one"

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
    The check of one ID: its length first, then an ASCII allow-list.

    Args:
        charset: ``"default"``, ``"visible"`` or a compiled pattern of ``str``;
            the whole value must match a pattern and be ``"visible"`` as well.
        max_length: the most characters, 1 to 1,024.

    Attributes:
        matches: matches text that the allow-list and the length let through.
        matches_bytes: the same for bytes.
        max_length: the most characters.
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
        The pattern of the ID's own, which a value has to match besides the allow-list.
        """
        return self._pattern

    def reason(self, value: str) -> str | None:
        """
        Return the reason to refuse *value*, without repeating any of it.

        Returns:
            ``None`` for a value that passes, else ``"empty"``, ``"too long"``
            or ``"character not allowed"``.
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
        Return *value* if it passes as the ID *name*, else raise.

        Raises:
            TypeError: *value* is not a ``str``.
            ValueError: *value* is refused; the message has the name, the
                reason and the option that would allow it, never the value.
        """
        if not isinstance(value, str):
            raise TypeError(_explain_wrong_type(name, value))
        reason = self.reason(value)
        if reason is None:
            # str() of a subclass may return other text than was checked.
            return str.__str__(value)
        raise ValueError(f"{name} is refused, {reason}: {self._remedy(name, reason, value)}")

    def _remedy(self, name: str, reason: str, value: str) -> str:
        if reason == "empty":
            return "write None or leave it out to mean that there is none"
        if reason == "too long":
            has = f"it has {len(value)} characters and may have {self.max_length}"
            return (
                f"{has}{_suggest_change(name, f'max_length={len(value)}', len(value) <= _LONGEST)}"
            )
        if self._pattern is not None:
            return f"it must match {self._pattern.pattern!r} and be {_CHARSETS['visible'][2]}"
        allowed = _CHARSETS[self._charset][2]
        if self._charset == "visible":
            return f"allowed are {allowed}"
        wider = IDCheck("visible", self.max_length).reason(value) is None
        said = f"allowed are {allowed}, first a letter or digit"
        return f"{said}{_suggest_change(name, _VISIBLE, wider)}"


def _explain_wrong_type(name: str, value: object) -> str:
    """
    Return the message for a value that is no text: how to write the ID.
    """
    kind = type(value).__name__
    instead = "write str(...)"
    if isinstance(value, bytes):
        instead = "write value.decode()"
    elif callable(value):
        instead = "call it"
    elif isinstance(value, _NO_IDS) or _has_no_text(value):
        # The text of such a value is no ID, or is another one in every run.
        instead = "write the ID that is meant, as in str(user.id)"
    return f"{name} must be a str, not {kind}: {instead}"


def _has_no_text(value: object) -> bool:
    return type(value).__repr__ is object.__repr__


def _suggest_change(name: str, change: str, helps: bool) -> str:
    """
    Return the end of a message: the change of the rules that lets the value in, if one does.
    """
    if not helps:
        return ", and no rule may allow this one"
    kind = name.removesuffix("_id")
    if kind in ("session", "user", "tenant"):
        return f"; Policy({kind}={kind}_spec({change})) allows this one"
    return f"; {change} in its IDSpec allows this one"

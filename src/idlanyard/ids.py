"""
IDs as text: where a value came from, what it may look like, how one is made.

Everything here is pure but for the clock and the operating system's entropy.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

__all__ = ["IDCheck", "Provenance", "safe_filename", "timestamped", "token", "uuid4", "uuid7"]

_entropy: Final = os.urandom
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
_FILENAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,199}")
_RESERVED_FILENAMES: Final = re.compile(r"(?i)con|prn|aux|nul|com[0-9]|lpt[0-9]")


class Provenance(StrEnum):
    """
    The rule that let a value in.
    """

    MINTED = "minted"
    CLIENT = "client"
    PEER = "peer"
    SIGNED = "signed"
    CODE = "code"
    ENVIRONMENT = "environment"

    @property
    def proven(self) -> bool:
        """
        Whether somebody we trust stands for the value.
        """
        return self is not Provenance.CLIENT and self is not Provenance.ENVIRONMENT


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


def token() -> str:
    """
    Return 32 lower-case hex digits, 128 bits from the operating system.

    No pool is kept: a machine restored from a snapshot would repeat it.
    """
    return _entropy(16).hex()


def uuid4() -> str:
    """
    Return a random UUID (RFC 9562, version 4) with its hyphens.
    """
    from uuid import UUID

    return str(UUID(bytes=os.urandom(16), version=4))


def uuid7() -> str:
    """
    Return a UUID that sorts by time (RFC 9562, version 7), 74 bits random.
    """
    milliseconds = time.time_ns() // 1_000_000
    drawn = int.from_bytes(os.urandom(10), "big")
    number = (milliseconds & (1 << 48) - 1) << 80 | drawn
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    from uuid import UUID

    return str(UUID(int=number))


def timestamped(prefix: str = "session") -> str:
    """
    Return ``prefix_YYYYMMDD_HHMMSS_`` and 16 hex digits (64 random bits).

    The time is UTC, so that the IDs sort by the second of their making.

    Args:
        prefix: what the ID starts with.
    """
    # Without an argument gmtime asks a coarser clock, which lags behind.
    now = time.strftime("%Y%m%d_%H%M%S", time.gmtime(time.time()))
    return f"{prefix}_{now}_{os.urandom(8).hex()}"


def safe_filename(id: str) -> str:
    """
    Return a file name for *id*: no separators, no dots first, distinct IDs distinct.

    IDs of up to 200 characters of ``A-Z a-z 0-9 _ -`` (first not ``-``) are
    their own name. Any other text becomes its allowed characters, ``~`` and
    32 hex digits of its SHA-256; ``~`` stands in no ID of the first kind.

    Raises:
        TypeError: *id* is not a ``str``.
        ValueError: it is empty.
    """
    if not isinstance(id, str):
        raise TypeError(f"an ID is a str, not {type(id).__name__}: write str(...)")
    if not id:
        raise ValueError("an empty ID names no file")
    if _FILENAME.fullmatch(id) and not _RESERVED_FILENAMES.fullmatch(id):
        return id
    from hashlib import sha256

    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", id[:64]).lstrip("-")
    digest = sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{readable}~{digest}"

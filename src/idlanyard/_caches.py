"""
How a response stands to shared caches, by its method, status and headers (R9, S11).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from idlanyard._wires import Wire

Line: TypeAlias = tuple[Any, Any]

STORED_METHODS: Final = frozenset({"GET", "HEAD"})
# RFC 9110 15.1, and what Fastly (302), nginx's proxy_cache_valid without a status
# (302) and Google's Cloud CDN (302, 307, 421, 451) keep although nothing is said.
STORED_STATUSES: Final = frozenset(
    {200, 203, 204, 206, 300, 301, 302, 307, 308, 404, 405, 410, 414, 421, 451, 501}
)

_CONTROL: Final = "cache-control"
_TARGETED: Final = "-cache-control"
_SURROGATE: Final = "surrogate-control"
_ACCEL: Final = "x-accel-expires"
_EXPIRES: Final = "expires"
_FILE: Final = "file"
_KINDS: Final = {
    "cache-control": _CONTROL,
    "surrogate-control": _SURROGATE,
    "edge-control": _SURROGATE,
    "x-accel-expires": _ACCEL,
    "expires": _EXPIRES,
    "etag": _FILE,
    "last-modified": _FILE,
}
# Varnish heeds only no-store in Surrogate-Control, and where that header stands
# no private in Cache-Control.
_FORBIDDING: Final = {_CONTROL: "private", _TARGETED: "private", _SURROGATE: "no-store"}

_SHARES: Final = "shares"
_FORBIDS: Final = "forbids"
_AGED: Final = "aged"
_SILENT: Final = "silent"
_SHARING: Final = frozenset({"public", "s-maxage", "!no-store", "!bypass-cache"})
_AGES: Final = frozenset({"max-age", "cache-maxage"})
_NO_AGE: Final = re.compile(r"-[0-9]+|0*[smhd]?")
_LATER: Final = re.compile(r"(?:^|\n)\s*(?:@[0-9]|0*[1-9])")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)

_MOST: Final = 256
_LONGEST: Final = 128
_LONGEST_DATE: Final = 64


class Caches:
    """
    The rules for one protocol, with the verdicts on header lines seen before.

    What is remembered is bounded in number and in length.

    Attributes:
        private: the header of a response that says nothing itself.
    """

    __slots__ = ("_decode", "_encode", "_kinds", "_verdicts", "private")

    def __init__(self, wire: Wire) -> None:
        binary = wire.text is bytes
        self._encode = _to_bytes if binary else str
        self._decode = _to_text if binary else str
        self._kinds: dict[Any, tuple[str, str] | None] = {}
        self._verdicts: dict[tuple[str, str], str] = {}
        self.private: Line = (wire.echo("Cache-Control"), self._encode("private"))

    def watches(self, name: Any) -> bool:
        """
        Return whether a response header has a say.
        """
        return self._kind(name) is not None

    def weigh(self, method: str, status: int, headers: Iterable[Line]) -> tuple[str, ...] | None:
        """
        Return what is to be forbidden before the response may carry IDs.

        ``None`` says that a shared cache may keep it, so that it must not; else
        the headers, in lower case, that say nothing so far: none of them where
        no cache keeps it.

        Args:
            method: the request's.
            status: the response's.
            headers: all of its headers.
        """
        lines, dates, is_file = self._sorted(headers)
        control = _SILENT
        silent: list[str] = []
        for (kind, name), text in lines.items():
            verdict = self._verdict(kind, text)
            if verdict is _SHARES:
                return None
            if kind is _CONTROL:
                control = verdict
            elif verdict is not _FORBIDS and kind in _FORBIDDING:
                silent.append(name)
        if control is _SILENT and any(_is_later(date) for date in dates):
            return None
        if method not in STORED_METHODS or status not in STORED_STATUSES:
            return ()
        if control is not _FORBIDS:
            silent.append(_CONTROL)
        return None if silent and is_file else tuple(silent)

    def forbid(self, silent: tuple[str, ...], headers: list[Line]) -> list[Line]:
        """
        Return *headers* with a word against shared caches in each that is *silent*.
        """
        missing = set(silent)
        said: list[Line] = []
        for name, value in headers:
            found = self._kind(name)
            if found is None or found[1] not in missing:
                said.append((name, value))
                continue
            missing.discard(found[1])
            text = _with_word(_FORBIDDING[found[0]], self._decode(value))
            said.append((name, self._encode(text)))
        # Only Cache-Control is ever silent by not being there.
        return [*said, self.private] if missing else said

    def _sorted(
        self, headers: Iterable[Line]
    ) -> tuple[dict[tuple[str, str], str], list[str], bool]:
        """
        Return what has a say: several lines as one, the dates, and whether it is a file.
        """
        lines: dict[tuple[str, str], str] = {}
        dates: list[str] = []
        is_file = False
        for name, value in headers:
            found = self._kind(name)
            if found is None:
                continue
            if found[0] is _FILE:
                is_file = True
            elif found[0] is _EXPIRES:
                dates.append(self._decode(value))
            else:
                text = self._decode(value)
                lines[found] = f"{lines[found]},\n{text}" if found in lines else text
        return lines, dates, is_file

    def _kind(self, name: Any) -> tuple[str, str] | None:
        if name in self._kinds:
            return self._kinds[name]
        key = self._decode(name).lower()
        kind = _KINDS.get(key) or (_TARGETED if key.endswith(_TARGETED) else None)
        found = None if kind is None else (kind, key)
        if len(self._kinds) < _MOST and len(key) <= _LONGEST:
            self._kinds[name] = found
        return found

    def _verdict(self, kind: str, text: str) -> str:
        verdict = self._verdicts.get((kind, text))
        if verdict is None:
            verdict = _judge(kind, text.lower())
            if len(self._verdicts) < _MOST and len(text) <= _LONGEST:
                self._verdicts[kind, text] = verdict
        return verdict


def _judge(kind: str, text: str) -> str:
    """
    Return what the lines of one header say to those whom they are meant for.
    """
    if kind is _ACCEL:
        return _SHARES if _LATER.search(text) else _SILENT
    # Of several lines, Varnish reads the first.
    first = text.partition("\n")[0] if kind is _SURROGATE else text
    bare = {word.strip() for word in _QUOTED.sub('""', first).split(",")}
    if "no-store" in bare:
        return _FORBIDS
    # To forbid, a word must stand outside quotes; to share, anywhere: not every
    # cache knows of quotes.
    parts = [part.partition("=") for part in text.split(",")]
    words = [(name.strip(' \t\n"'), value.strip(' \t\n"')) for name, _, value in parts]
    names = {name for name, _ in words}
    if names & _SHARING:
        return _SHARES
    if "private" in bare and kind is not _SURROGATE:
        return _FORBIDS
    # Of several, one cache takes the first and another the last.
    if any(name in _AGES and not _NO_AGE.fullmatch(value) for name, value in words):
        return _SHARES
    return _AGED if names & _AGES else _SILENT


def _is_later(date: str) -> bool:
    """
    Return whether a date is understood and still to come.
    """
    from email.utils import mktime_tz, parsedate_tz

    if len(date) > _LONGEST_DATE:
        return False
    try:
        parsed = parsedate_tz(date)
        return parsed is not None and mktime_tz(parsed) > time.time()
    except (ValueError, TypeError, LookupError, OverflowError):
        return False


def _with_word(word: str, text: str) -> str:
    kept = text.strip(" \t,")
    if not kept:
        return word
    # Behind a quote that is never closed, it would be part of that.
    return f"{word}, {kept}" if '"' in kept else f"{kept}, {word}"


def _to_bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _to_text(value: bytes) -> str:
    return value.decode("latin-1")

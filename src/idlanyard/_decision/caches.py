"""
How a response stands to shared caches, by its method, status and headers (R9, S11).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from idlanyard._decision.protocols import Wire

Line: TypeAlias = tuple[Any, Any]

STORED_METHODS: Final = frozenset({"GET", "HEAD"})
# RFC 9110 15.1, and what Fastly (302), nginx's proxy_cache_valid without a status
# (302) and Google's Cloud CDN (302, 307, 421, 451) keep although nothing is said.
STORED_STATUSES: Final = frozenset(
    {200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 421, 451, 501}
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


class Caches:
    """
    The rules for one protocol, with the verdicts on header lines seen before.

    What is remembered is bounded in number and in length.

    Attributes:
        kinds: how each header seen before is read; ``None`` where it has no say.
        private: the header of a response that says nothing itself.
    """

    __slots__ = ("_dates", "_decode", "_encode", "_marked", "_verdicts", "kinds", "private")

    def __init__(self, wire: Wire) -> None:
        binary = wire.text is bytes
        self._encode = _to_bytes if binary else str
        self._decode = _to_text if binary else str
        self.kinds: dict[Any, tuple[str, str] | None] = {}
        self._verdicts: dict[tuple[str, str], str] = {}
        self._dates: dict[str, float] = {}
        self._marked: dict[tuple[str, Any], Any] = {}
        self.private: Line = (wire.echo("Cache-Control"), self._encode("private"))

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
        if dates and control is _SILENT and any(map(self._is_later, dates)):
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
        missing = dict.fromkeys(silent)
        said: list[Line] = []
        for pair in headers:
            found = self.kind(pair[0])
            if found is None or found[1] not in missing:
                said.append(pair)
                continue
            del missing[found[1]]
            said.append((pair[0], self._with_word(found[0], pair[1])))
        # Only Cache-Control is ever silent by not being there.
        return [*said, self.private] if missing else said

    def _sorted(
        self, headers: Iterable[Line]
    ) -> tuple[dict[tuple[str, str], str], list[str], bool]:
        """
        Return what has a say: several lines as one, the dates, and whether it is a file.
        """
        lines: dict[tuple[str, str], list[str]] = {}
        dates: list[str] = []
        is_file = False
        for name, value in headers:
            found = self.kind(name)
            if found is None:
                continue
            if found[0] is _FILE:
                is_file = True
            elif found[0] is _EXPIRES:
                dates.append(self._decode(value))
            else:
                lines.setdefault(found, []).append(self._decode(value))
        # Joined at the end: text that grows by a line is copied with each.
        return {key: ",\n".join(texts) for key, texts in lines.items()}, dates, is_file

    def kind(self, name: Any) -> tuple[str, str] | None:
        """
        Return how a response header is read, with its name in lower case, if it has a say.
        """
        if name in self.kinds:
            return self.kinds[name]
        key = self._decode(name).lower()
        kind = _KINDS.get(key) or (_TARGETED if key.endswith(_TARGETED) else None)
        found = None if kind is None else (kind, key)
        if len(self.kinds) < _MOST and len(key) <= _LONGEST:
            self.kinds[name] = found
        return found

    def _verdict(self, kind: str, text: str) -> str:
        verdict = self._verdicts.get((kind, text))
        if verdict is None:
            verdict = _judge(kind, text.lower())
            if len(text) <= _LONGEST:
                _remember(self._verdicts, (kind, text), verdict)
        return verdict

    def _is_later(self, date: str) -> bool:
        """
        Return whether a date is still to come.
        """
        moment = self._dates.get(date)
        if moment is None:
            moment = _moment(date)
            if len(date) <= _LONGEST:
                _remember(self._dates, date, moment)
        return moment > time.time()

    def _with_word(self, kind: str, value: Any) -> Any:
        """
        Return what a header says, and that shared caches must not store the response.
        """
        marked = self._marked.get((kind, value))
        if marked is None:
            word, text = _FORBIDDING[kind], self._decode(value).strip(" \t,")
            # Behind a quote that is never closed, it would be part of that.
            both = f"{word}, {text}" if '"' in text else f"{text}, {word}"
            marked = self._encode(both if text else word)
            if len(value) <= _LONGEST:
                _remember(self._marked, (kind, value), marked)
        return marked


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


def _moment(date: str) -> float:
    """
    Return the seconds of a date, and 0 where it is not understood.
    """
    from email.utils import mktime_tz, parsedate_tz

    if len(date) > _LONGEST:
        return 0
    try:
        parsed = parsedate_tz(date)
        return 0 if parsed is None else mktime_tz(parsed)
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """
    Add to what is known; where that is full, begin anew.
    """
    if len(known) >= _MOST:
        known.clear()
    known[key] = value


def _to_bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _to_text(value: bytes) -> str:
    return value.decode("latin-1")

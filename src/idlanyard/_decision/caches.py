"""
Shared caches: whether they may store a response, by its method, status and headers, and
how to forbid it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Final

from idlanyard._decision.protocols import Dialect, Pair

STORED_METHODS: Final = frozenset({"GET", "HEAD"})
# RFC 9110, 15.1, and the statuses that Fastly (302), nginx's proxy_cache_valid without a
# status (302) and Google's Cloud CDN (302, 307, 421, 451) store without any instruction.
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
# Varnish obeys only no-store in Surrogate-Control, and beside that header it ignores
# private in Cache-Control.
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

    The memory is bounded in number and in length.

    Attributes:
        kinds: the kind and lower-case name of each header seen before; ``None`` for a
            header that is no instruction to caches.
        private: the header that makes a response private.
    """

    __slots__ = ("_dates", "_decode", "_encode", "_marked", "_verdicts", "kinds", "private")

    def __init__(self, dialect: Dialect) -> None:
        binary = dialect.text is bytes
        self._encode = _to_bytes if binary else str
        self._decode = _to_text if binary else str
        self.kinds: dict[Any, tuple[str, str] | None] = {}
        self._verdicts: dict[tuple[str, str], str] = {}
        self._dates: dict[str, float] = {}
        self._marked: dict[tuple[str, Any], Any] = {}
        self.private: Pair = (dialect.echo("Cache-Control"), self._encode("private"))

    def judge_response(
        self, method: str, status: int, headers: Iterable[Pair]
    ) -> tuple[str, ...] | None:
        """
        Return the headers that must forbid storing before the response may carry IDs.

        They are in lower case, and none if no shared cache stores the response.
        ``None`` means that the application lets shared caches store it, so that it
        must not carry IDs.

        Args:
            method: the request's.
            status: the response's.
            headers: its headers.
        """
        lines, dates, is_file = self._sort_headers(headers)
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

    def forbid_storing(self, silent: tuple[str, ...], headers: list[Pair]) -> list[Pair]:
        """
        Return *headers* with a directive against shared caches in each that is *silent*.
        """
        missing = dict.fromkeys(silent)
        lines: list[Pair] = []
        for pair in headers:
            found = self.classify(pair[0])
            if found is None or found[1] not in missing:
                lines.append(pair)
                continue
            del missing[found[1]]
            lines.append((pair[0], self._add_directive(found[0], pair[1])))
        # Of the silent headers only Cache-Control may be missing from the response.
        return [*lines, self.private] if missing else lines

    def _sort_headers(
        self, headers: Iterable[Pair]
    ) -> tuple[dict[tuple[str, str], str], list[str], bool]:
        """
        Return the instructions, several lines as one; the dates; and whether it is a file.
        """
        lines: dict[tuple[str, str], list[str]] = {}
        dates: list[str] = []
        is_file = False
        for name, value in headers:
            found = self.classify(name)
            if found is None:
                continue
            if found[0] is _FILE:
                is_file = True
            elif found[0] is _EXPIRES:
                dates.append(self._decode(value))
            else:
                lines.setdefault(found, []).append(self._decode(value))
        # Joined once at the end: adding line by line would take quadratic time.
        return {key: ",\n".join(texts) for key, texts in lines.items()}, dates, is_file

    def classify(self, name: Any) -> tuple[str, str] | None:
        """
        Return the kind and lower-case name of an instruction to caches, else ``None``.
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
            verdict = _judge_lines(kind, text.lower())
            if len(text) <= _LONGEST:
                _remember_entry(self._verdicts, (kind, text), verdict)
        return verdict

    def _is_later(self, date: str) -> bool:
        """
        Return whether a date is in the future.
        """
        moment = self._dates.get(date)
        if moment is None:
            moment = _parse_date(date)
            if len(date) <= _LONGEST:
                _remember_entry(self._dates, date, moment)
        return moment > time.time()

    def _add_directive(self, kind: str, value: Any) -> Any:
        """
        Return the value of a header with a directive that shared caches must not store.
        """
        marked = self._marked.get((kind, value))
        if marked is None:
            word, text = _FORBIDDING[kind], self._decode(value).strip(" \t,")
            # First, since an unclosed quote would swallow a directive behind it.
            both = f"{word}, {text}" if '"' in text else f"{text}, {word}"
            marked = self._encode(both if text else word)
            if len(value) <= _LONGEST:
                _remember_entry(self._marked, (kind, value), marked)
        return marked


def _judge_lines(kind: str, text: str) -> str:
    """
    Return what the lines of one header tell the caches that read it.
    """
    if kind is _ACCEL:
        return _SHARES if _LATER.search(text) else _SILENT
    # Varnish reads only the first of several lines.
    first = text.partition("\n")[0] if kind is _SURROGATE else text
    bare = {word.strip() for word in _QUOTED.sub('""', first).split(",")}
    if "no-store" in bare:
        return _FORBIDS
    # A directive forbids only outside quotes, and allows anywhere: some caches
    # ignore quotes.
    parts = [part.partition("=") for part in text.split(",")]
    words = [(name.strip(' \t\n"'), value.strip(' \t\n"')) for name, _, value in parts]
    names = {name for name, _ in words}
    if names & _SHARING:
        return _SHARES
    if "private" in bare and kind is not _SURROGATE:
        return _FORBIDS
    # If there are several ages, one cache uses the first and another the last.
    if any(name in _AGES and not _NO_AGE.fullmatch(value) for name, value in words):
        return _SHARES
    return _AGED if names & _AGES else _SILENT


def _parse_date(date: str) -> float:
    """
    Return a date in seconds, and 0 if it is not understood.
    """
    from email.utils import mktime_tz, parsedate_tz

    if len(date) > _LONGEST:
        return 0
    try:
        parsed = parsedate_tz(date)
        return 0 if parsed is None else mktime_tz(parsed)
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0


def _remember_entry(known: dict[Any, Any], key: Any, value: Any) -> None:
    """
    Add an entry; if the memory is full, empty it first.
    """
    if len(known) >= _MOST:
        known.clear()
    known[key] = value


def _to_bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _to_text(value: bytes) -> str:
    return value.decode("latin-1")

"""
Shared caches: whether they may store a response, by its method, status and headers, and
how to forbid it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from idlanyard._decision.memory import Memory
from idlanyard._decision.protocols import Dialect, Pair

STORED_METHODS: Final = frozenset({"GET", "HEAD"})
# RFC 9110, 15.1, and the statuses that Fastly (302), nginx's proxy_cache_valid without a
# status (302) and Google's Cloud CDN (302, 307, 421, 451) store without any instruction.
STORED_STATUSES: Final = frozenset(
    {200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 421, 451, 501}
)
WITHOUT_ECHO: Final = frozenset({206, 304})
# Cloudflare stores 303 without any instruction, Akamai 500 and 502 to 504, Traffic Server with
# negative caching 400, 403 and most of 5xx.
_EVERY_STATUS: Final = frozenset(range(200, 1000)) - WITHOUT_ECHO

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

_LONGEST_DATE: Final = 128


class Change(NamedTuple):
    """
    The change that makes a response private, so that it may carry IDs.

    Attributes:
        replaced: pairs of a header and the one that takes its place, in their order.
        added: the headers to add.
    """

    replaced: tuple[tuple[Pair, Pair], ...]
    added: tuple[Pair, ...]


NO_CHANGE: Final = Change((), ())


class Instructions(NamedTuple):
    """
    The instructions of a response to shared caches, whatever its status and its dates.

    Attributes:
        stored: the change that the IDs need where caches store a response that does not
            forbid it; ``None`` if it must not carry IDs.
        otherwise: the same for a method or a status that caches do not store by themselves.
        is_dated: whether a date in the future lets caches store the response as well.
    """

    stored: Change | None
    otherwise: Change | None
    is_dated: bool


def choose_stored_statuses(*, is_signed: bool) -> frozenset[int]:
    """
    Return the statuses of responses that count as stored without any instruction.

    Args:
        is_signed: whether sessions are signed. Another client that gets the ID then has the
            session, so that every status counts.
    """
    return _EVERY_STATUS if is_signed else STORED_STATUSES


class Caches:
    """
    The rules for one protocol.

    Args:
        dialect: the protocol.

    Attributes:
        private: the header that makes a response private.
    """

    __slots__ = ("_decode", "_encode", "_expires", "dates", "private")

    def __init__(self, dialect: Dialect) -> None:
        binary = dialect.text is bytes
        self._encode = _to_bytes if binary else str
        self._decode = _to_text if binary else str
        self.dates: Memory[Any, float] = Memory(self._read_date, len)
        self._expires = self._encode(_EXPIRES)
        self.private: Pair = (dialect.echo("Cache-Control"), self._encode("private"))

    def classify(self, name: Any) -> tuple[str, str] | None:
        """
        Return the kind and lower-case name of an instruction to caches, else ``None``.
        """
        key = self._decode(name).lower()
        kind = _KINDS.get(key) or (_TARGETED if key.endswith(_TARGETED) else None)
        return None if kind is None else (kind, key)

    def has_value(self, name: Any) -> bool | None:
        """
        Return whether the value of an instruction counts, and not only its presence.

        ``None`` is returned for a header that is no instruction. The values of dates and
        of files' tags are always others, so that they are no part of what is remembered.
        """
        found = self.classify(name)
        return None if found is None else found[0] not in (_EXPIRES, _FILE)

    def read_instructions(self, headers: Iterable[Pair]) -> Instructions:
        """
        Return the instructions to shared caches that *headers* are together.

        Args:
            headers: a response's headers; the value of one whose presence alone counts
                may be anything.
        """
        lines: dict[tuple[str, str], list[Pair]] = {}
        kinds: set[str] = set()
        for name, value in headers:
            found = self.classify(name)
            if found is not None:
                kinds.add(found[0])
                if found[0] not in (_EXPIRES, _FILE):
                    lines.setdefault(found, []).append((name, value))
        control = _SILENT
        silent: dict[Pair, Pair] = {}
        for (kind, _), pairs in lines.items():
            # Joined once at the end: adding line by line would take quadratic time.
            text = ",\n".join([self._decode(value) for _, value in pairs])
            verdict = _judge_lines(kind, text.lower())
            if verdict is _SHARES:
                return Instructions(None, None, False)
            if kind is _CONTROL:
                control = verdict
            if verdict is not _FORBIDS and kind in _FORBIDDING:
                name, value = pairs[0]
                silent[pairs[0]] = name, self._add_directive(kind, value)
        added = () if (_CONTROL, _CONTROL) in lines else (self.private,)
        stored = Change(tuple(silent.items()), added)
        is_dated = _EXPIRES in kinds and control is _SILENT
        if _FILE in kinds and stored != NO_CHANGE:
            return Instructions(None, NO_CHANGE, is_dated)
        return Instructions(stored, NO_CHANGE, is_dated)

    def is_fresh(self, headers: Iterable[Pair]) -> bool:
        """
        Return whether a date among *headers* lets caches store the response until then.
        """
        now = time.time()
        dates = [value for name, value in headers if name.lower() == self._expires]
        # A bytearray has no hash.
        keys = (bytes(date) if date.__class__ is bytearray else date for date in dates)
        return any(self.dates[key] > now for key in keys)

    def _read_date(self, value: Any) -> float:
        return _parse_date(self._decode(value))

    def _add_directive(self, kind: str, value: Any) -> Any:
        """
        Return the value of a header with a directive that shared caches must not store.
        """
        word, text = _FORBIDDING[kind], self._decode(value).strip(" \t,")
        # First, since an unclosed quote would swallow a directive behind it.
        both = f"{word}, {text}" if '"' in text else f"{text}, {word}"
        return self._encode(both if text else word)


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

    if len(date) > _LONGEST_DATE:
        return 0
    try:
        parsed = parsedate_tz(date)
        return 0 if parsed is None else mktime_tz(parsed)
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0


def _to_bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _to_text(value: bytes) -> str:
    return value.decode("latin-1")

"""
What may be shown: URLs without passwords, text without what acts on a terminal. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*:(?://)?)(.*)", re.DOTALL)
_SECRET: Final = re.compile(r"[?&][^=&]*(?:pass|secret)[^=&]*=([^&]*)", re.IGNORECASE)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HIDDEN: Final = "***"


def url_shown(url: str) -> str:
    """
    Return a URL without its user, its password and its query.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme, rest = match.groups()
    if scheme.startswith(("sqlite:", "memory:")):
        return url
    # A password that is not encoded may have any character: the last @ ends it.
    return scheme + rest.rpartition("@")[2].partition("?")[0]


def scrubbed(text: str, urls: Iterable[str]) -> str:
    """
    Return text in which no password of these URLs stands.
    """
    for url in urls:
        shown = url_shown(url)
        text = text.replace(url, shown)
        for secret in _secrets(url):
            # Elsewhere in the URL the same word is no secret: a user called as his password.
            if secret and secret not in shown:
                text = text.replace(secret, _HIDDEN)
    return text


def _secrets(url: str) -> Iterator[str]:
    user, at, _ = url.partition("://")[2].rpartition("@")
    found = [user.partition(":")[2]] if at else []
    found += _SECRET.findall(url)
    for secret in found:
        yield secret
        yield unquote(secret)


def text_shown(text: str, encoding: str = "utf-8") -> str:
    r"""
    Return text in which nothing acts on a terminal.

    Control characters, those that turn the direction of writing, and what the
    terminal's encoding has not are written as in Python, ``\x1b`` or ``\u202e``.
    """
    safe = "".join(one if one.isprintable() else _escaped(one) for one in text)
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(character: str) -> str:
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def moment_text(microseconds: int | None) -> str | None:
    """
    Return a moment in ISO 8601, UTC, to the microsecond; ``None`` stays.
    """
    if microseconds is None:
        return None
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def counted(number: int, noun: str = "session") -> str:
    """
    Return a number of things in words, as in ``"1 session"``.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

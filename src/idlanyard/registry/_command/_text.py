"""
Text that is safe to print: URLs without secrets, and nothing that controls a terminal. Pure.
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


def hide_secrets(url: str) -> str:
    """
    Return a URL without its user, password and query.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme, rest = match.groups()
    if scheme.startswith(("sqlite:", "memory:")):
        return url
    # A password that is not percent-encoded may contain an @: the last one ends it.
    return scheme + rest.rpartition("@")[2].partition("?")[0]


def scrub_text(text: str, urls: Iterable[str]) -> str:
    """
    Return text without the passwords of these URLs.
    """
    for url in urls:
        shown = hide_secrets(url)
        text = text.replace(url, shown)
        for secret in _secrets_in(url):
            # A password that also is, say, the name of the host is no secret: keep the host.
            if secret and secret not in shown:
                text = text.replace(secret, _HIDDEN)
    return text


def _secrets_in(url: str) -> Iterator[str]:
    user, at, _ = url.partition("://")[2].rpartition("@")
    found = [user.partition(":")[2]] if at else []
    found += _SECRET.findall(url)
    for secret in found:
        yield secret
        yield unquote(secret)


def escape_text(text: str, encoding: str = "utf-8") -> str:
    r"""
    Return text without characters that control a terminal.

    Control characters, changes of the writing direction and characters that
    the terminal's encoding lacks are written as in Python: ``\x1b``, ``\u202e``.
    """
    safe = "".join(one if one.isprintable() else _escape(one) for one in text)
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def _escape(character: str) -> str:
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def format_moment(microseconds: int | None) -> str | None:
    """
    Return a moment in ISO 8601, UTC, to the microsecond; ``None`` for ``None``.
    """
    if microseconds is None:
        return None
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_count(number: int, noun: str = "session") -> str:
    """
    Return a number and its noun, as in ``"1 session"``.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

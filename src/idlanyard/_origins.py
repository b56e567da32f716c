"""
Which URLs may be sent IDs: parsed origins on an allow-list (R12, S13).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from idlanyard.exceptions import PolicyError

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ODD: Final = re.compile(r"[\x00-\x20\x7f\\]")
# The two editions of IDNA make different hosts of these.
_DEVIATING: Final = re.compile("[ß\u03c2\u200c\u200d]")


class Origin(NamedTuple):
    """
    One place that may be sent IDs.

    Attributes:
        scheme: lower-case.
        host: lower-case, as IDNA, without the dot at its end.
        port: a number, the scheme's own where none was written.
        subdomains: whether hosts below ``host`` belong to it, and only those.
    """

    scheme: str
    host: str
    port: int
    subdomains: bool = False

    def covers(self, other: Origin) -> bool:
        """
        Say whether *other*, the origin of a URL, is this one.
        """
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.subdomains:
            return other.host.endswith(f".{self.host}")
        return other.host == self.host


def origin_of(url: str) -> Origin | None:
    """
    Return the origin of *url*, or ``None`` where it is in doubt.

    White space, control characters, backslashes and what the editions of
    IDNA disagree on are in doubt, since clients differ in what they make of
    them.
    """
    from urllib.parse import urlsplit

    if _ODD.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
        host = written = (parts.hostname or "").rstrip(".")
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host or "%" in host or _DEVIATING.search(written):
        return None
    return Origin(scheme, host.lower(), port if port is not None else _PORTS[scheme])


def parse_origins(to: Iterable[str]) -> tuple[Origin, ...]:
    """
    Parse an allow-list such as ``["https://api.example", "https://*.internal.example"]``.

    Raises:
        PolicyError: an entry is not an origin; the message says what to write.
    """
    if isinstance(to, str):
        raise PolicyError(f"to is a list of origins: write to=[{to!r}]", option="to", value=to)
    return tuple(_parse(entry) for entry in to)


def _parse(entry: str) -> Origin:
    scheme, separator, rest = entry.partition("://")
    subdomains = rest.startswith("*.")
    origin = origin_of(f"{scheme}{separator}{rest[2:]}" if subdomains else entry)
    _, _, path = rest.partition("/")
    if origin is None or path or "@" in rest or "?" in rest or "#" in rest or "*" in origin.host:
        raise PolicyError(
            f"to has {entry!r}, which is no origin: write scheme, host and port only, "
            f"such as 'https://api.example:8443' or 'https://*.example'",
            option="to",
            value=entry,
        )
    return origin._replace(subdomains=subdomains)

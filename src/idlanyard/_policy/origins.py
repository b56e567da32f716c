"""
``Origins``: the allow-list of origins that outgoing requests may carry IDs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from idlanyard.exceptions import PolicyError

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ODD: Final = re.compile(r"[\x00-\x20\x7f\\]")
_EXAMPLE: Final = "https://api.example"
# Letters of names and of IPv6; some clients encode any other, and some refuse it.
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
# urllib.parse of Python 3.13.0 reads https://a[::1]b as https://[::1], and clients do not.
_PLACE: Final = re.compile(r"(?:\[[^\[\]]*\]|[^\[\]:]*)(?::[0-9]*)?")
# IDNA 2003 and IDNA 2008 make different hosts of these letters.
_DEVIATING: Final = re.compile("[ß\u03c2\u200c\u200d]")


class Origin(NamedTuple):
    """
    The origin of a URL, or an entry of an allow-list.

    Attributes:
        scheme: the scheme in lower case.
        host: the host in lower case and in IDNA, without a dot at its end.
        port: the port, or the default port of the scheme.
        subdomains: whether an entry covers the hosts below ``host``, and only
            those.
    """

    scheme: str
    host: str
    port: int
    subdomains: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{'*.' if self.subdomains else ''}{host}{port}"

    def covers(self, other: Origin) -> bool:
        """
        Return whether this entry covers *other*, the origin of a URL.
        """
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.subdomains:
            return other.host.endswith(f".{self.host}")
        return other.host == self.host


def origin_of(url: str) -> Origin | None:
    """
    Return the origin of *url*, or ``None`` if it is in doubt.

    It is in doubt if the URL has white space, a control character or a
    backslash, and if its host has a letter on which the editions of IDNA
    disagree, a character that no host has, or brackets with something beside
    them: clients differ in how they read those.
    """
    from urllib.parse import urlsplit

    if _ODD.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
        host = written = (parts.hostname or "").rstrip(".")
        if not host.isascii():
            # IDNA has other full stops as well.
            host = host.encode("idna").decode("ascii").rstrip(".")
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    host = host.lower()
    if scheme not in _PORTS or not _HOST.fullmatch(host) or _DEVIATING.search(written):
        return None
    if not _PLACE.fullmatch(parts.netloc.rpartition("@")[2]):
        return None
    return Origin(scheme, host, port if port is not None else _PORTS[scheme])


class Origins:
    """
    The origins that outgoing requests may carry IDs to.

    Args:
        to: an allow-list such as ``["https://api.example", "https://*.internal.example"]``.

    Raises:
        PolicyError: an entry is not an origin; the message says what to write.
    """

    __slots__ = ("_entries",)

    def __init__(self, to: Iterable[str]) -> None:
        self._entries = _parse_list(to)

    def allow(self, url: str) -> bool:
        """
        Return whether a request to *url* may carry IDs; a URL in doubt may not.
        """
        return origin_of(url) in self

    def __contains__(self, origin: Origin | None) -> bool:
        return origin is not None and any(entry.covers(origin) for entry in self._entries)

    def __str__(self) -> str:
        return ", ".join(map(str, self._entries))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origins) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(self._entries)


def _parse_list(to: Iterable[str]) -> tuple[Origin, ...]:
    if isinstance(to, str):
        parts = [part for part in re.split(r"[,\s]+", to) if part]
        meant = [_suggest_origin(part) or _EXAMPLE for part in parts]
        wild = ", and * is none of them" if "*" in parts else ""
        raise PolicyError.about(
            "to", f"is a list of origins{wild}: write to={meant!r}", _show_entry(to)
        )
    try:
        entries = list(to)
    except TypeError:
        raise PolicyError.about(
            "to", f"is a list of origins, not {to!r}: write to=[{_EXAMPLE!r}]", to
        ) from None
    return tuple(_parse_entry(entry) for entry in entries)


def _parse_entry(entry: object) -> Origin:
    if not isinstance(entry, str):
        raise PolicyError.about(
            "to", f"has {type(entry).__name__}, and origins are text: write {_EXAMPLE!r}", entry
        )
    origin = read_origin(entry)
    if origin is None:
        meant = _suggest_origin(entry)
        such = repr(meant) if meant else "'https://api.example:8443' or 'https://*.example'"
        raise PolicyError.about(
            "to",
            f"has {_show_entry(entry)}, which is no origin: write scheme, host and port only, "
            f"such as {such}",
            _show_entry(entry),
        )
    return origin


def read_origin(entry: str) -> Origin | None:
    """
    Return an entry of an allow-list as an ``Origin``, or ``None`` if it is no origin.
    """
    scheme, separator, rest = entry.partition("://")
    subdomains = rest.startswith("*.")
    origin = origin_of(f"{scheme}{separator}{rest[2:]}" if subdomains else entry)
    _, _, path = rest.partition("/")
    if origin is None or path or "@" in rest or "?" in rest or "#" in rest:
        return None
    return origin._replace(subdomains=subdomains)


def _suggest_origin(entry: str) -> str:
    """
    Return the origin that an entry was probably meant to be, or ``""``.
    """
    scheme, separator, rest = entry.strip().rpartition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    if authority.startswith("."):
        authority = f"*{authority}"
    meant = f"{scheme if separator else 'https'}://{authority}"
    return meant if read_origin(meant) is not None else ""


def _show_entry(entry: str) -> str:
    # The text before an @ may be a password.
    return repr(entry) if "@" not in entry else "an entry with a user"

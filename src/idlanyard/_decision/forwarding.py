"""
Forwarding headers: the addresses that a line of ``X-Forwarded-For``, ``Forwarded`` or a
header like them has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from idlanyard._policy.peers import parse_address

# No leading zeros, so that each address can be written in one way only.
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"[ \t]*{_OCTET}(?:\.{_OCTET}){{3}}[ \t]*"
_IPV4_LIST: Final = re.compile(f"{_IPV4}(?:,{_IPV4})*")
_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]+")
_HIDDEN: Final = re.compile(r"_[A-Za-z0-9._-]+")
_QUOTED: Final = re.compile(r'"[^"\\]*"')
# A server that splits before it unquotes finds a parameter inside a quoted value.
_FOR_IN_QUOTES: Final = re.compile(r"[,;]\s*for\s*=", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"[A-Za-z]+")

NAMELESS: Final = ""
"""
An element without an address, such as ``unknown``, among the addresses of a line.
"""


def read_list(line: str) -> frozenset[str] | None:
    """
    Return the addresses of a list, each as ``ipaddress`` writes it; ``None`` if it is malformed.

    The addresses have commas between them and may have ports.
    """
    if _IPV4_LIST.fullmatch(line):
        # Most lines: the result is the same as below.
        return frozenset([element.strip(" \t") for element in line.split(",")])
    return read_elements(line.split(","), structured=False)


def read_forwarded(line: str) -> frozenset[str] | None:
    """
    Return the same of each ``for`` of a ``Forwarded`` line (RFC 7239).
    """
    return read_elements(_read_nodes(line), structured=True)


def read_elements(elements: Iterable[str | None], *, structured: bool) -> frozenset[str] | None:
    """
    Return the addresses of the elements of a line, or ``None`` if one of them is malformed.
    """
    addresses: set[str] = set()
    for element in elements:
        node = None if element is None else element.strip(" \t")
        readings = None if node is None else read_node(node, structured=structured)
        if readings is None:
            return None
        addresses.update([str(parse_address(text)) for text in readings] or (NAMELESS,))
    return frozenset(addresses)


def read_node(node: str, *, structured: bool) -> list[str] | None:
    """
    Return the addresses that *node* may be read as, or ``None`` if it is malformed.

    Args:
        node: an address, with or without a port; ``unknown``; or a name that
            begins with ``_``.
        structured: whether an IPv6 address needs brackets (RFC 7239, 6).
    """
    if node.lower() == "unknown" or _HIDDEN.fullmatch(node):
        return []
    if node.startswith("["):
        host, bracket, port = node[1:].partition("]")
        whole = bracket and ":" in host and (not port or _is_port(port))
        return [host] if whole and parse_address(host) is not None else None
    if node.count(":") > 1:
        return None if structured else _read_bare_ipv6(node)
    host, colon, port = node.partition(":")
    whole = not colon or _is_port(colon + port)
    return [host] if whole and parse_address(host) is not None else None


def _is_port(text: str) -> bool:
    return text.startswith(":") and _PORT.fullmatch(text[1:]) is not None


def _read_bare_ipv6(node: str) -> list[str] | None:
    """
    Return both readings of an IPv6 address that may end in a port.
    """
    if parse_address(node) is None:
        return None
    shorter = node.rpartition(":")[0]
    return [node, shorter] if parse_address(shorter) is not None else [node]


def _read_nodes(line: str) -> Iterator[str | None]:
    """
    Yield each ``for`` of a ``Forwarded`` line, unquoted, and ``None`` for what is malformed.
    """
    if line.count('"') % 2:
        yield None
    for parameter in _split_parameters(line):
        name, equals, value = parameter.partition("=")
        if not equals or not _PARAMETER.fullmatch(name):
            yield None
        elif name.lower() == "for":
            quoted = '"' in value
            if quoted and not _QUOTED.fullmatch(value):
                yield None
            else:
                yield value.strip('"')
        elif _FOR_IN_QUOTES.search(value):
            yield None


def _split_parameters(line: str) -> Iterator[str]:
    """
    Yield the parameters of a ``Forwarded`` line, split outside of quotes.
    """
    parts: list[str] = []
    for number, piece in enumerate(line.split('"')):
        if number % 2:
            parts.append(f'"{piece}"')
            continue
        first, *others = piece.replace(",", ";").split(";")
        parts.append(first)
        for other in others:
            yield "".join(parts).strip(" \t")
            parts = [other]
    yield "".join(parts).strip(" \t")

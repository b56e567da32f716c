"""
The sender of a request: whether it may set user and tenant IDs, and why not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.protocols import Pair
from idlanyard._policy.peers import LONGEST_LIST, UNIX, parse_address

_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]+")
_HIDDEN: Final = re.compile(r"_[A-Za-z0-9._-]+")
_QUOTED: Final = re.compile(r'"[^"\\]*"')
# A server that splits before it unquotes finds a parameter inside a quoted value.
_FOR_IN_QUOTES: Final = re.compile(r"[,;]\s*for\s*=", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"[A-Za-z]+")


class Hop(NamedTuple):
    """
    One line of a forwarding header.

    Attributes:
        structured: whether the line is a ``Forwarded`` header (RFC 7239), and
            not a plain list of addresses.
        text: its value.
    """

    structured: bool
    text: str


def is_rewritten(peer: str, hops: Sequence[Hop], *, nameless: bool = True) -> bool:
    """
    Return whether the address of *peer* may come from a forwarding header.

    A server or an outer middleware may have overwritten the sender's address
    with one that the sender wrote. That is assumed if the peer is also in a
    forwarding header, if an element of one is not exactly an address (a server
    may read more out of it than this function does), and for lists over 8,192
    characters.

    Args:
        peer: an address, or any other text for a peer without one.
        hops: the lines of forwarding headers, none of them empty.
        nameless: whether a peer without an address may come from an element
            without one, such as ``unknown``.
    """
    address = parse_address(peer)
    if sum(len(hop.text) for hop in hops) > LONGEST_LIST:
        return True
    for hop in hops:
        elements = _read_nodes(hop.text) if hop.structured else hop.text.split(",")
        for element in elements:
            readings = (
                None
                if element is None
                else read_node(element.strip(" \t"), structured=hop.structured)
            )
            if readings is None or (nameless and not readings and address is None):
                return True
            if address is not None and any(parse_address(text) == address for text in readings):
                return True
    return False


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


TRUSTED: Final = ""
NOBODY: Final = "nobody is trusted"
STRANGER: Final = "the peer is not trusted"
REWRITTEN: Final = "the peer was rewritten"
RELAYED: Final = "the peer comes from the PROXY protocol"
CONFLATES: Final = "the server may let an alias win"
MISSING_PROOF: Final = "the shared secret is missing"
WRONG_PROOF: Final = "the shared secret is wrong"


def judge_sender(plan: CompiledPolicy, secret: Any, hops: Sequence[Pair], raw: Any) -> str:
    """
    Return the reason why the sender may not set user and tenant IDs, or ``TRUSTED``.

    Args:
        plan: the compiled policy.
        secret: the value of the shared secret's header, ``None`` if it is missing.
        hops: the lines of forwarding headers, as the protocol spells them.
        raw: the ``scope`` or ``environ``.
    """
    policy, dialect = plan.policy, plan.dialect
    peers = policy.peers
    if peers.nobody and not plan.secrets:
        return NOBODY
    # A secret proves who the sender is, not which of two spellings the server kept.
    if not policy.unsafe_server_ok and dialect.conflates(raw):
        return CONFLATES
    if secret is not None and _is_shared_secret(plan, secret):
        return TRUSTED
    if peers.everyone:
        return TRUSTED
    peer, is_relayed = dialect.peer(raw, policy), dialect.relayed(raw)
    # Before any header of the request is parsed, since a stranger may have written it.
    if not peers.trusts(peer):
        if not plan.secrets or (secret is None and not peers.nobody):
            return STRANGER
        return MISSING_PROOF if secret is None else WRONG_PROOF
    if is_relayed:
        return RELAYED
    # A path that the server listens on is evidence that no header can forge.
    if not hops or peer is None or (peer == UNIX and plan.binary and not policy.assume_unix):
        return TRUSTED
    assumed = peer == UNIX and policy.assume_unix
    lines = read_hops(plan, hops, empty=assumed)
    return REWRITTEN if lines and is_rewritten(peer, lines, nameless=assumed) else TRUSTED


def read_hops(plan: CompiledPolicy, hops: Sequence[Pair], *, empty: bool) -> list[Hop]:
    """
    Return the lines of forwarding headers as text, until they are over 8,192 characters.

    Args:
        plan: the compiled policy.
        hops: the lines, as the protocol spells them.
        empty: whether to include empty lines, which a server that takes the peer
            from such a line may have read as a peer without an address.
    """
    lines: list[Hop] = []
    length = 0
    for key, value in hops:
        if value or empty:
            lines.append(Hop(key == plan.forwarded_key, plan.decode(value)))
            length += len(value)
            if length > LONGEST_LIST:
                break
    return lines


def _is_shared_secret(plan: CompiledPolicy, secret: Any) -> bool:
    from hmac import compare_digest

    line = plan.decode(secret).encode("latin-1", "replace")
    # Every secret is compared, so that the time does not depend on which one matches.
    matches = [compare_digest(line, known) for known in plan.secrets]
    return any(matches)

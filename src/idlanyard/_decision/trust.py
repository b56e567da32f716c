"""
Whether the sender of a request may speak for users and tenants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from idlanyard._decision.plan import Plan
from idlanyard._policy.peers import LONGEST_LIST, UNIX, normalise

_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]+")
_HIDDEN: Final = re.compile(r"_[A-Za-z0-9._-]+")
_QUOTED: Final = re.compile(r'"[^"\\]*"')
# A server that splits before it unquotes finds one where there is none.
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
    with one that the sender wrote. That is assumed where the peer also stands
    in a forwarding header, where an element of one is not exactly an address
    (a server may read more out of it than we do), and of lists over 8,192
    characters.

    Args:
        peer: an address, or anything else for a peer that has none.
        hops: the lines of forwarding headers, none of them empty.
        nameless: whether a peer without an address may come from an element
            without one, as ``unknown``.
    """
    address = normalise(peer)
    if sum(len(hop.text) for hop in hops) > LONGEST_LIST:
        return True
    for hop in hops:
        elements = _nodes_of(hop.text) if hop.structured else hop.text.split(",")
        for element in elements:
            readings = (
                None
                if element is None
                else read_node(element.strip(" \t"), structured=hop.structured)
            )
            if readings is None or (nameless and not readings and address is None):
                return True
            if address is not None and any(normalise(text) == address for text in readings):
                return True
    return False


def read_node(node: str, *, structured: bool) -> list[str] | None:
    """
    Return the addresses that *node* may be read as, or ``None`` where it is in doubt.

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
        return [host] if whole and normalise(host) is not None else None
    if node.count(":") > 1:
        return None if structured else _read_bare_ipv6(node)
    host, colon, port = node.partition(":")
    whole = not colon or _is_port(colon + port)
    return [host] if whole and normalise(host) is not None else None


def _is_port(text: str) -> bool:
    return text.startswith(":") and _PORT.fullmatch(text[1:]) is not None


def _read_bare_ipv6(node: str) -> list[str] | None:
    """
    Return both readings of an IPv6 address that may end in a port.
    """
    if normalise(node) is None:
        return None
    shorter = node.rpartition(":")[0]
    return [node, shorter] if normalise(shorter) is not None else [node]


def _nodes_of(line: str) -> Iterator[str | None]:
    """
    Yield each ``for`` of a ``Forwarded`` line, unquoted; ``None`` where the line is malformed.
    """
    if line.count('"') % 2:
        yield None
    for parameter in _parameters(line):
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


def _parameters(line: str) -> Iterator[str]:
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


BELIEVED: Final = ""
NOBODY: Final = "nobody is trusted"
STRANGER: Final = "the peer is not trusted"
REWRITTEN: Final = "the peer was rewritten"
RELAYED: Final = "the peer comes from the PROXY protocol"
CONFLATES: Final = "the server may let an alias win"
MISSING_PROOF: Final = "the shared secret is missing"
WRONG_PROOF: Final = "the shared secret is wrong"


def judge_sender(plan: Plan, secret: Any, hops: Sequence[tuple[Any, Any]], raw: Any) -> str:
    """
    Return why the sender may not speak for users and tenants, or ``BELIEVED``.

    Args:
        plan: the compiled policy.
        secret: what stands in the shared secret's header, ``None`` where it
            is missing.
        hops: the lines of forwarding headers, as the protocol spells them.
        raw: the ``scope`` or ``environ``.
    """
    policy = plan.policy
    peers = policy.peers
    if peers.nobody and not plan.secrets:
        return NOBODY
    # A secret proves who speaks, not which of two spellings the server kept.
    if not policy.unsafe_server_ok and plan.wire.conflates(raw):
        return CONFLATES
    if secret is not None and _is_known(plan, secret):
        return BELIEVED
    if peers.everyone:
        return BELIEVED
    peer = plan.wire.peer(raw, policy)
    # Nothing of a stranger's is parsed.
    if not peers.trusts(peer):
        if not plan.secrets or (secret is None and not peers.nobody):
            return STRANGER
        return MISSING_PROOF if secret is None else WRONG_PROOF
    if plan.wire.relayed(raw):
        return RELAYED
    # Where the evidence is a path that the server listens on, no header has made it.
    if not hops or peer is None or (peer == UNIX and plan.binary and not policy.assume_unix):
        return BELIEVED
    assumed = peer == UNIX and policy.assume_unix
    lines = read_hops(plan, hops, empty=assumed)
    return REWRITTEN if lines and is_rewritten(peer, lines, nameless=assumed) else BELIEVED


def read_hops(plan: Plan, hops: Sequence[tuple[Any, Any]], *, empty: bool) -> list[Hop]:
    """
    Return the lines of forwarding headers as text, up to what is in doubt.

    Args:
        plan: the compiled policy.
        hops: the lines, as the protocol spells them.
        empty: whether empty ones count: where something takes the peer from
            such a line, an empty one makes a peer without an address.
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


def _is_known(plan: Plan, secret: Any) -> bool:
    from hmac import compare_digest

    line = plan.decode(secret).encode("latin-1", "replace")
    # Every secret is compared, so that the time tells nothing.
    matches = [compare_digest(line, known) for known in plan.secrets]
    return any(matches)

"""
Is this peer trusted? Parsed once, each verdict cached with a bound (R6, S19 to S22).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, TypeAlias

from idlanyard.exceptions import PolicyError

UNIX: Final = "unix"

LONGEST_LIST: Final = 8192
"""
The most characters of a list in a header that are read; a longer one is in doubt (S29).
"""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_LONGEST_ADDRESS: Final = 64


class Everyone:
    """
    The type of ``EVERYONE``: "nobody is checked", spelled out.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "EVERYONE"

    def __reduce__(self) -> str:
        return "EVERYONE"


EVERYONE: Final = Everyone()
"""
Every peer is believed. For networks that only trusted proxies can reach.
"""


def normalise(host: str) -> _Address | None:
    """
    Return the address that *host* spells, or ``None`` where it is none.

    IPv4 mapped into IPv6 is unmapped and a zone is dropped; names, short forms
    and leading zeros are no addresses.
    """
    # Text that is no address is kept by no cache, since senders choose its length.
    return None if len(host) > _LONGEST_ADDRESS else _parse_address(host)


@lru_cache(maxsize=4096)
def _parse_address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class TrustedPeers:
    """
    The peers that may speak for users and tenants.

    Args:
        peers: ``EVERYONE``, or an iterable of addresses, networks and
            ``"unix"``. Empty trusts nobody.

    Attributes:
        entries: what was given, as a tuple.
        everyone: whether nobody is checked.
        nobody: whether nobody is trusted.
        trusts: says whether a peer is trusted: an address, ``"unix"`` or
            ``None`` (unknown). Verdicts are cached, the last 1,024.
        unix: whether unix sockets are trusted.

    Raises:
        PolicyError: an entry means nothing; the message says what to write.
    """

    __slots__ = ("entries", "everyone", "nobody", "trusts", "unix")

    entries: tuple[object, ...]
    everyone: bool
    nobody: bool
    trusts: Callable[[str | None], bool]
    unix: bool

    def __init__(self, peers: Iterable[object] | Everyone) -> None:
        entries = _entries(peers)
        self.entries = entries
        self.everyone = any(isinstance(entry, Everyone) for entry in entries)
        self.unix = UNIX in entries
        self.nobody = not entries
        networks = tuple(
            _network(entry)
            for entry in entries
            if entry != UNIX and not isinstance(entry, Everyone)
        )

        @lru_cache(maxsize=1024)
        def trusts_short(peer: str) -> bool:
            if peer == UNIX:
                return self.unix
            address = normalise(peer)
            return address is not None and any(address in network for network in networks)

        def trusts(peer: str | None) -> bool:
            if self.everyone or peer is None or len(peer) > _LONGEST_ADDRESS:
                return self.everyone
            return trusts_short(peer)

        self.trusts = trusts


def _entries(peers: Iterable[object] | Everyone) -> tuple[object, ...]:
    if isinstance(peers, Everyone):
        return (peers,)
    if isinstance(peers, str | bytes):
        raise _wrong(f"is a list: write trusted_peers=[{peers!r}]", peers)
    try:
        return tuple(peers)
    except TypeError:
        raise _wrong("is a list of networks, 'unix', or EVERYONE", peers) from None


def _network(entry: object) -> _Network:
    if not isinstance(
        entry,
        str
        | ipaddress.IPv4Network
        | ipaddress.IPv6Network
        | ipaddress.IPv4Address
        | ipaddress.IPv6Address,
    ):
        raise _wrong(f"takes text such as '10.0.0.5/32', not {type(entry).__name__}", entry)
    text = str(entry)
    if text == "*":
        raise _wrong("has no wildcard: to believe every peer, write trusted_peers=EVERYONE", entry)
    if text == "localhost":
        raise _wrong("takes addresses: for localhost write '127.0.0.1' and '::1'", entry)
    try:
        return _unmapped(ipaddress.ip_network(text))
    except ValueError:
        raise _misspelled(text) from None


def _unmapped(network: _Network) -> _Network:
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
    return network


def _misspelled(text: str) -> PolicyError:
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return _wrong(
            f"takes no names and no wildcards, and {text!r} is no network: "
            f"write the proxy's address or network, such as '10.0.0.0/8'",
            text,
        )
    host = text.partition("/")[0]
    return _wrong(
        f"has {text!r}, whose host bits are set: write '{meant}' for the network "
        f"or '{host}' for the one address",
        text,
    )


def _wrong(sentence: str, value: object) -> PolicyError:
    return PolicyError(f"trusted_peers {sentence}", option="trusted_peers", value=value)

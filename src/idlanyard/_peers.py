"""
Is this peer trusted? Parsed once, each verdict cached with a bound.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from idlanyard._networks import (
    OBJECTS,
    Address,
    cover_everybody,
    parse_network,
    suggest_list,
    wrong_peers,
)

UNIX: Final = "unix"

LONGEST_LIST: Final = 8192
"""
The most characters of a list in a header that are read; a longer one is in doubt.
"""

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


def normalise(host: str) -> Address | None:
    """
    Return the address that *host* spells, or ``None`` where it is none.

    IPv4 mapped into IPv6 is unmapped and the zone of an IPv6 address is
    dropped; names, short forms and leading zeros are no addresses.
    """
    # Text that is no address is kept by no cache, since senders choose its length.
    return None if len(host) > _LONGEST_ADDRESS else _parse_address(host)


@lru_cache(maxsize=4096)
def _parse_address(host: str) -> Address | None:
    bare, zone, _ = host.partition("%")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return None if zone else address


class TrustedPeers:
    """
    The peers that may speak for users and tenants.

    Args:
        peers: ``EVERYONE``, or an iterable of addresses, networks and
            ``"unix"``. Empty trusts nobody.

    Attributes:
        anybody: whether everybody on the Internet is trusted: by ``EVERYONE``,
            or by networks that hold every public address.
        entries: what was given, as a tuple.
        everyone: whether nobody is checked.
        nobody: whether nobody is trusted.
        trusts: returns whether a peer is trusted: an address, ``"unix"`` or
            ``None`` (unknown). Verdicts are cached, the last 1,024.
        unix: whether unix sockets are trusted.

    Raises:
        PolicyError: an entry means nothing; the message says what to write.
    """

    __slots__ = ("anybody", "entries", "everyone", "nobody", "trusts", "unix")

    anybody: bool
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
            parse_network(entry)
            for entry in entries
            if entry != UNIX and not isinstance(entry, Everyone)
        )
        self.anybody = self.everyone or cover_everybody(networks)

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
    # A network is iterable as well, address by address.
    if isinstance(peers, (str, bytes, *OBJECTS)):
        text = peers.decode("latin-1") if isinstance(peers, bytes) else str(peers)
        raise wrong_peers(f"is a list: write {suggest_list(text)}", peers)
    try:
        return tuple(peers)
    except TypeError:
        raise wrong_peers(
            "is a list of networks, 'unix', or EVERYONE: write trusted_peers=[] to trust nobody",
            peers,
        ) from None

"""
Trusted peers: the networks that an option lists, and whether an address is in one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from idlanyard.exceptions import PolicyError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

OBJECTS: Final = (
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
)
_EVERYBODY: Final = frozenset({"*", "all", "any", "everyone"})
_LISTENING: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - refused, not listened on
_LOCALHOST: Final = ("127.0.0.1", "::1")
_WILDCARD: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,2})((?:\.\*){1,3})")
# Nobody on the Internet has one of these.
_RESERVED: Final = {
    4: "0.0.0.0/8 10.0.0.0/8 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/3",
    6: "::/3 4000::/2 8000::/1",
}


def parse_network(entry: object) -> Network:
    """
    Return the network that an entry of ``trusted_peers`` spells.

    Raises:
        PolicyError: it spells none; the message says what to write.
    """
    if not isinstance(entry, (str, *OBJECTS)):
        unset = ": is the variable set?" if entry is None else ""
        raise wrong_peers(
            f"takes text such as '10.0.0.5/32', not {type(entry).__name__}{unset}", entry
        )
    text = str(entry)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise wrong_peers(_sentence(text), text) from None
    if text in _LISTENING:
        raise wrong_peers(
            f"has {text!r}, on which servers listen and from which nobody connects: "
            f"write the proxy's address or network, such as '10.0.0.0/8'",
            text,
        )
    return _unmapped(network)


def _unmapped(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
    return network


def cover_everybody(networks: Sequence[Network]) -> bool:
    """
    Return whether *networks* together hold every public address of IPv4 or of IPv6.
    """
    return any(
        _are_all([network for network in networks if network.version == version], reserved)
        for version, reserved in _RESERVED.items()
    )


def _are_all(networks: Sequence[Network], reserved: str) -> bool:
    if not networks:
        return False
    every: list[Network] = [*networks, *map(ipaddress.ip_network, reserved.split())]
    end = 0
    for first, last in sorted((int(net[0]), int(net[-1])) for net in every):
        if first > end:
            return False
        end = max(end, last + 1)
    return end == 1 << every[0].max_prefixlen


def suggest_list(text: str) -> str:
    """
    Return how a list that was written as one text is written, as ``trusted_peers=[...]``.

    Raises:
        PolicyError: one of its parts means nothing; the message says what to write.
    """
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    if any(part.lower() in _EVERYBODY for part in parts):
        return "trusted_peers=EVERYONE"
    entries = [entry for part in parts for entry in _meant(part) or [part]]
    for entry in entries:
        if entry != "unix":
            parse_network(entry)
    return f"trusted_peers={entries!r}"


def _meant(text: str) -> list[str]:
    """
    Return the entries that *text* stands for, none where that cannot be told.
    """
    bare = text.strip()
    if bare.lower() in ("localhost", "testclient"):
        return [*_LOCALHOST] if bare.lower() == "localhost" else [_LOCALHOST[0]]
    if bare.lower().startswith(("unix", "/")):
        return ["unix"]
    wildcard = _WILDCARD.fullmatch(bare)
    if wildcard:
        given = wildcard[1].split(".")
        bare = f"{'.'.join((given + ['0'] * 4)[:4])}/{8 * len(given)}"
    bare = bare.rpartition("://")[2].strip('"')
    bare = bare[1:].partition("]")[0] if bare.startswith("[") else bare
    host = bare.partition(":")[0] if bare.count(":") == 1 else bare
    for candidate in (host, host.partition("/")[0]):
        try:
            return [str(ipaddress.ip_network(candidate))] if "/" in candidate else [_one(candidate)]
        except ValueError:
            continue
    return []


def _one(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _sentence(text: str) -> str:
    """
    Return what is wrong with an entry, and what to write.
    """
    word = text.strip().lower()
    if not word:
        return "has an empty entry: leave it out"
    if word in _EVERYBODY:
        return f"has no wildcard {text!r}: to believe every peer, write trusted_peers=EVERYONE"
    if word == "localhost":
        return "takes addresses: for localhost write '127.0.0.1' and '::1'"
    if word == "testclient":
        return (
            "takes addresses, and 'testclient' is none: write '127.0.0.1', and in the test "
            "TestClient(app, client=('127.0.0.1', 50000))"
        )
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    if len(parts) > 1:
        return f"has {text!r}, which are several: write {', '.join(map(repr, parts))}"
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        meant = _meant(text)
        if meant:
            return f"has {text!r}, which is no network: write {' and '.join(map(repr, meant))}"
        return (
            f"takes no names and no wildcards, and {text!r} is no network: "
            f"write the proxy's address or network, such as '10.0.0.0/8'"
        )
    host = text.partition("/")[0]
    return (
        f"has {text!r}, whose host bits are set: write '{network}' for the network "
        f"or '{host}' for the one address"
    )


def wrong_peers(sentence: str, value: object) -> PolicyError:
    """
    Return the error whose message says what to write for ``trusted_peers``.
    """
    return PolicyError.about("trusted_peers", sentence, value)


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

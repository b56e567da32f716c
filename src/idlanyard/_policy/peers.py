"""
``TrustedPeers``: the addresses and networks of ``trusted_peers``, ``"unix"`` or ``EVERYONE``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from idlanyard.exceptions import PolicyError

if TYPE_CHECKING:
    # Elsewhere imported where it is used: it is slow to import, and only a policy that trusts
    # peers needs it.
    import ipaddress

    Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_EVERYBODY: Final = frozenset({"*", "all", "any", "everyone"})
_LISTENING: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - refused, not listened on
_LOCALHOST: Final = ("127.0.0.1", "::1")
_WILDCARD: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,2})((?:\.\*){1,3})")
# No host on the public Internet has one of these addresses.
_RESERVED: Final = {
    4: "0.0.0.0/8 10.0.0.0/8 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/3",
    6: "::/3 4000::/2 8000::/1",
}


def parse_network(entry: object) -> Network:
    """
    Return an entry of ``trusted_peers`` as a network.

    Raises:
        PolicyError: the entry is no network; the message says what to write.
    """
    import ipaddress

    if not isinstance(entry, (str, *_address_types())):
        unset = ": is the variable set?" if entry is None else ""
        raise peers_error(
            f"takes text such as '10.0.0.5/32', not {type(entry).__name__}{unset}", entry
        )
    text = str(entry)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise peers_error(_explain_wrong_entry(text), text) from None
    if text in _LISTENING:
        raise peers_error(
            f"has {text!r}, on which servers listen and from which nobody connects: "
            f"write the proxy's address or network, such as '10.0.0.0/8'",
            text,
        )
    return _unmap_network(network)


def _address_types() -> tuple[type, ...]:
    """
    Return the types of addresses and networks.
    """
    import ipaddress

    return (
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
    )


def _unmap_network(network: Network) -> Network:
    import ipaddress

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
        _hold_all_addresses(
            [network for network in networks if network.version == version], reserved
        )
        for version, reserved in _RESERVED.items()
    )


def _hold_all_addresses(networks: Sequence[Network], reserved: str) -> bool:
    if not networks:
        return False
    import ipaddress

    every: list[Network] = [*networks, *map(ipaddress.ip_network, reserved.split())]
    end = 0
    for first, last in sorted((int(net[0]), int(net[-1])) for net in every):
        if first > end:
            return False
        end = max(end, last + 1)
    return end == 1 << every[0].max_prefixlen


def suggest_peers(text: str) -> str:
    """
    Return the code, ``trusted_peers=[...]``, to write in place of one text.

    Raises:
        PolicyError: a part of the text is no peer; the message says what to write.
    """
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    if any(part.lower() in _EVERYBODY for part in parts):
        return "trusted_peers=EVERYONE"
    entries = [entry for part in parts for entry in _suggest_entries(part) or [part]]
    for entry in entries:
        if entry != "unix":
            parse_network(entry)
    return f"trusted_peers={entries!r}"


def _suggest_entries(text: str) -> list[str]:
    """
    Return the entries that *text* was probably meant to be, if any.
    """
    import ipaddress

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
            parse = ipaddress.ip_network if "/" in candidate else ipaddress.ip_address
            return [str(parse(candidate))]
        except ValueError:
            continue
    return []


def _explain_wrong_entry(text: str) -> str:
    """
    Return the message for text that is no network: its fault, and what to write.
    """
    import ipaddress

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
        meant = _suggest_entries(text)
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


def peers_error(sentence: str, value: object) -> PolicyError:
    """
    Return the error for a wrong value of ``trusted_peers``.
    """
    return PolicyError.about("trusted_peers", sentence, value)


UNIX: Final = "unix"

LONGEST_LIST: Final = 8192
"""
The most characters of a header's list that are read; a peer behind a longer one is not trusted.
"""

_LONGEST_ADDRESS: Final = 64


class Everyone:
    """
    The type of ``EVERYONE``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "EVERYONE"

    def __reduce__(self) -> str:
        return "EVERYONE"


EVERYONE: Final = Everyone()
"""
Every peer is trusted: only for networks that nothing but a trusted proxy can reach.
"""


def parse_address(host: str) -> Address | None:
    """
    Return the address in the text *host*, or ``None`` if it is none.

    An IPv4 address mapped into IPv6 is unmapped, and the zone of an IPv6
    address is dropped. Names, short forms and leading zeros are no addresses.
    """
    # Senders choose the length of this text, so longer text must not fill the cache.
    return None if len(host) > _LONGEST_ADDRESS else _parse_short_address(host)


@lru_cache(maxsize=4096)
def _parse_short_address(host: str) -> Address | None:
    import ipaddress

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
            ``"unix"``. An empty one trusts nobody.

    Attributes:
        anybody: whether every public address is trusted, by ``EVERYONE`` or
            by networks that together hold them all.
        entries: the given entries as a tuple.
        everyone: whether ``EVERYONE`` was given.
        nobody: whether nobody is trusted.
        trusts: returns whether a peer is trusted: an address, ``"unix"`` or
            ``None`` (unknown). The last 1,024 verdicts are cached.
        unix: whether unix sockets are trusted.

    Raises:
        PolicyError: an entry is no peer; the message says what to write.
    """

    __slots__ = ("anybody", "entries", "everyone", "nobody", "trusts", "unix")

    anybody: bool
    entries: tuple[object, ...]
    everyone: bool
    nobody: bool
    trusts: Callable[[str | None], bool]
    unix: bool

    def __init__(self, peers: Iterable[object] | Everyone) -> None:
        entries = _list_entries(peers)
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
            address = parse_address(peer)
            return address is not None and any(address in network for network in networks)

        def trusts(peer: str | None) -> bool:
            if self.everyone or peer is None or len(peer) > _LONGEST_ADDRESS:
                return self.everyone
            return trusts_short(peer)

        self.trusts = trusts


def _list_entries(peers: Iterable[object] | Everyone) -> tuple[object, ...]:
    if isinstance(peers, Everyone):
        return (peers,)
    # A network is iterable as well: it would become millions of addresses.
    if not isinstance(peers, (list, tuple)) and isinstance(peers, (str, bytes, *_address_types())):
        text = peers.decode("latin-1") if isinstance(peers, bytes) else str(peers)
        raise peers_error(f"is a list: write {suggest_peers(text)}", peers)
    try:
        return tuple(peers)
    except TypeError:
        raise peers_error(
            "is a list of networks, 'unix', or EVERYONE: write trusted_peers=[] to trust nobody",
            peers,
        ) from None

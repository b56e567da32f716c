"""
Trusted peers: the entries that may be written, and the peers that they cover.
"""

from __future__ import annotations

import ipaddress
import pickle
import tracemalloc

import pytest

from idlanyard import EVERYONE, Policy, PolicyError
from idlanyard._policy.peers import UNIX, TrustedPeers, parse_address


@pytest.mark.parametrize(
    ("peers", "sentence"),
    [
        pytest.param("10.0.0.0/8", "is a list: write trusted_peers=['10.0.0.0/8']", id="text"),
        pytest.param(["localhost"], "for localhost write '127.0.0.1' and '::1'", id="localhost"),
        pytest.param(["nginx"], "takes no names", id="name"),
        pytest.param(["*"], "write trusted_peers=EVERYONE", id="wildcard"),
        pytest.param(["10.0.0.5/8"], "write '10.0.0.0/8' for the network", id="host bits"),
        pytest.param(5, "is a list of networks", id="number"),
        pytest.param([5], "takes text such as", id="number inside"),
    ],
)
def test_likely_mistakes_get_their_own_sentence(peers: object, sentence: str) -> None:
    """
    R6, S21: each likely mistake in trusted_peers has a message that says what to write.
    """
    with pytest.raises(PolicyError) as caught:
        Policy(trusted_peers=peers)  # type: ignore[arg-type]
    assert sentence in str(caught.value)
    assert caught.value.option == "trusted_peers"


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        pytest.param(["10.0.0.5/32"], "10.0.0.5", True, id="the address"),
        pytest.param(["10.0.0.5"], "10.0.0.6", False, id="its neighbour"),
        pytest.param(["10.0.0.0/8"], "::ffff:10.0.0.1", True, id="mapped peer"),
        pytest.param(["::ffff:10.0.0.0/104"], "10.1.2.3", True, id="mapped network"),
        pytest.param(["::/0"], "10.1.2.3", False, id="IPv6 is not IPv4"),
        pytest.param(["fd00::/8"], "fd00::1", True, id="IPv6"),
        pytest.param(["2001:db8::1/128"], "2001:db8::1", True, id="one IPv6 address"),
        pytest.param(["fe80::/10"], "fe80::1%eth0", True, id="zone"),
        pytest.param(["10.0.0.0/8"], "010.0.0.1", False, id="leading zero"),
        pytest.param(["10.0.0.0/8"], "10.1", False, id="short form"),
        pytest.param(["127.0.0.0/8"], "localhost", False, id="a name"),
        pytest.param(["127.0.0.0/8"], "", False, id="empty"),
        pytest.param(["127.0.0.0/8"], None, False, id="unknown"),
        pytest.param([], "127.0.0.1", False, id="nobody"),
        pytest.param([UNIX], UNIX, True, id="unix"),
        pytest.param(["127.0.0.1"], UNIX, False, id="unix is not loopback"),
        pytest.param([UNIX], "127.0.0.1", False, id="loopback is not unix"),
        pytest.param(EVERYONE, None, True, id="everyone"),
        pytest.param([EVERYONE], "203.0.113.9", True, id="everyone in a list"),
        pytest.param([ipaddress.ip_network("10.0.0.0/8")], "10.2.3.4", True, id="a network object"),
        pytest.param([ipaddress.ip_address("10.0.0.1")], "10.0.0.1", True, id="an address object"),
    ],
)
def test_trust_covers_what_it_says(trusted: object, peer: str | None, believed: bool) -> None:
    """
    R6, S20, S21: an address is trusted by the networks written, in any of its spellings.
    """
    assert TrustedPeers(trusted).trusts(peer) is believed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("trusted", "is_anybody"),
    [
        pytest.param(EVERYONE, True, id="everyone"),
        pytest.param(["0.0.0.0/0"], True, id="IPv4"),
        pytest.param(["::/0"], True, id="IPv6"),
        pytest.param(["::ffff:0:0/96"], True, id="IPv4 mapped"),
        pytest.param(["::ffff:0:0/97", "128.0.0.0/1"], True, id="half of it mapped"),
        pytest.param(["0.0.0.0/1", "128.0.0.0/1"], True, id="halves"),
        pytest.param(["::/1", "8000::/1"], True, id="halves of IPv6"),
        pytest.param(["2000::/3"], True, id="all that is public"),
        pytest.param(["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"], True, id="all but multicast"),
        pytest.param([f"{n}.0.0.0/8" for n in range(1, 224)], True, id="every network of eight"),
        pytest.param([ipaddress.ip_network("0.0.0.0/0")], True, id="an object"),
        pytest.param(["10.0.0.0/8", "0.0.0.0/0", UNIX], True, id="among others"),
        pytest.param(["0.0.0.0/1"], False, id="half"),
        pytest.param(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], False, id="private"),
        pytest.param(["fc00::/7", "fe80::/10"], False, id="private IPv6"),
        pytest.param([UNIX], False, id="unix"),
        pytest.param([], False, id="nobody"),
    ],
)
def test_networks_that_are_everybody_are_known_for_it(trusted: object, is_anybody: bool) -> None:
    """
    R6: all public addresses, in one network or in many, are everybody.
    """
    assert TrustedPeers(trusted).anybody is is_anybody  # type: ignore[arg-type]


def test_text_that_is_no_address_is_kept_by_no_cache() -> None:
    """
    The memory of verdicts is bounded, however many and however long the peers are.
    """
    peers = TrustedPeers(["10.0.0.0/8"])
    tracemalloc.start()
    try:
        for number in range(5_000):
            text = f"{number}".rjust(20_000, "x")
            assert not peers.trusts(text)
            assert parse_address(text) is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


def test_everyone_says_its_name_and_travels() -> None:
    """
    R6: EVERYONE is one named constant, also after pickling.
    """
    assert repr(EVERYONE) == "EVERYONE"
    assert pickle.loads(pickle.dumps(EVERYONE)) is EVERYONE
    assert parse_address("not an address") is None

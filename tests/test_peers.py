"""
Who is trusted: what may be written, and which peer it covers.
"""

from __future__ import annotations

import ipaddress
import pickle

import pytest

from idlanyard import EVERYONE, Policy, PolicyError
from idlanyard._peers import UNIX, TrustedPeers, normalise, rewritten


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
    R6, S21: each likely mistake in trusted_peers is told apart and says what to write.
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


def test_the_verdicts_kept_are_bounded() -> None:
    """
    S21, performance P10: however many peers ask, a bounded number of verdicts is kept.
    """
    peers = TrustedPeers(["10.0.0.0/8"])
    for number in range(3000):
        assert peers.trusts(f"10.0.{number // 256}.{number % 256}")
    assert peers.trusts.cache_info().currsize == 1024  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("hops", "is_rewritten"),
    [
        pytest.param([], False, id="none"),
        pytest.param(["10.0.0.5"], True, id="alone"),
        pytest.param(["203.0.113.9, 10.0.0.5"], True, id="last"),
        pytest.param(["10.0.0.5,203.0.113.9"], True, id="first"),
        pytest.param(["203.0.113.9", "10.0.0.5"], True, id="second line"),
        pytest.param(["10.0.0.5:443"], True, id="with a port"),
        pytest.param(['"10.0.0.5"'], True, id="quoted"),
        pytest.param(["::ffff:10.0.0.5"], True, id="mapped"),
        pytest.param(["[::ffff:10.0.0.5]:443"], True, id="in brackets"),
        pytest.param(["for=10.0.0.5;proto=https"], True, id="Forwarded"),
        pytest.param(['for="[::ffff:10.0.0.5]:8080"'], True, id="Forwarded IPv6"),
        pytest.param(["For = 10.0.0.5"], True, id="Forwarded with spaces"),
        pytest.param(["10.0.0.55"], False, id="another"),
        pytest.param(["unknown, _hidden"], False, id="names"),
        pytest.param(["," * 1000], False, id="commas"),
        pytest.param(["," * 9000], True, id="absurdly long"),
        pytest.param(["," * 5000, "," * 5000], True, id="absurdly long together"),
    ],
)
def test_a_peer_that_stands_among_the_hops_was_rewritten(
    hops: list[str], is_rewritten: bool
) -> None:
    """
    S19: a peer that also stands in a forwarding header, in any spelling, is unknown.
    """
    assert rewritten("10.0.0.5", hops) is is_rewritten
    assert rewritten("testclient", hops) is False
    assert rewritten(None, hops) is False


def test_everyone_says_its_name_and_travels() -> None:
    """
    R6: EVERYONE is one named constant, also after pickling.
    """
    assert repr(EVERYONE) == "EVERYONE"
    assert pickle.loads(pickle.dumps(EVERYONE)) is EVERYONE
    assert normalise("not an address") is None

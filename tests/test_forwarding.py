"""
A peer whose address may come from a forwarding header proves nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive import ask_asgi, http_scope
from idlanyard import Policy, get_user_id
from idlanyard._decision.forwarding import (
    NAMELESS,
    read_elements,
    read_forwarded,
    read_list,
    read_node,
)
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import ASGI
from idlanyard._decision.trust import REWRITTEN, TRUSTED, judge_sender
from idlanyard._policy.peers import LONGEST_LIST
from idlanyard.asgi import SessionContextMiddleware

PEER = "10.0.0.5"
PLAN = compile_policy(Policy(trusted_peers=["10.0.0.0/8", "2001:db8::/32"]), ASGI)
ASSUMING = compile_policy(Policy(trusted_peers=["unix"], assume_unix=True), ASGI)


def is_rewritten(
    lines: list[str], peer: str | None = PEER, header: str = "x-forwarded-for"
) -> bool:
    """
    Return whether a peer is not trusted because of lines of one forwarding header.
    """
    headers = [(header.encode(), line.encode("latin-1", "replace")) for line in lines]
    scope = {"headers": headers, "client": peer and (peer, 1)}
    verdict = judge_sender(ASSUMING if peer is None else PLAN, None, scope)
    assert verdict in (REWRITTEN, TRUSTED)
    return verdict is REWRITTEN


@pytest.mark.parametrize(
    ("lines", "rewritten"),
    [
        pytest.param([], False, id="none"),
        pytest.param(["10.0.0.5"], True, id="alone"),
        pytest.param(["203.0.113.9, 10.0.0.5"], True, id="last"),
        pytest.param(["10.0.0.5,203.0.113.9"], True, id="first"),
        pytest.param(["203.0.113.9", "10.0.0.5"], True, id="second line"),
        pytest.param(["10.0.0.5:443"], True, id="with a port"),
        pytest.param(["::ffff:10.0.0.5"], True, id="mapped"),
        pytest.param(["[::ffff:10.0.0.5]:443"], True, id="in brackets"),
        pytest.param(["10.0.0.55"], False, id="another"),
        pytest.param(["[2001:db8::1]:80"], False, id="another, in brackets with a port"),
        pytest.param(["[2001:db8::1]x80"], True, id="in doubt, something before the port"),
        pytest.param(["10.0.0.55:443, [2001:db8::1], 2001:db8::2"], False, id="others"),
        pytest.param(["unknown, _hidden"], False, id="names that the RFC allows"),
        pytest.param(["10.0.0.5 :80"], True, id="a space before the port"),
        pytest.param(["10.0.0.99:x"], True, id="a port that is none"),
        pytest.param(["10.0.0.99:"], True, id="an empty port"),
        pytest.param(['"10.0.0.99"'], True, id="quotes"),
        pytest.param(["[10.0.0.99]"], True, id="IPv4 in brackets"),
        pytest.param(["[2001:db8::1"], True, id="an open bracket"),
        pytest.param(["[2001:db8::1]x"], True, id="text behind the bracket"),
        pytest.param(["2001:db8::zz"], True, id="no address"),
        pytest.param(["10.0.0.99,"], True, id="an empty element"),
        pytest.param(["proxy.example"], True, id="a name"),
        pytest.param(["010.0.0.5"], True, id="a leading zero"),
        pytest.param(["1.2.3.4," * 1200], True, id="over 8,192 characters"),
        pytest.param(["1.2.3.4," * 600 + "1.2.3.4"] * 2, True, id="over 8,192 together"),
    ],
)
def test_a_peer_that_a_list_may_have_set_is_rewritten(lines: list[str], rewritten: bool) -> None:
    """
    S19: a peer is rewritten if it is in the list, or if an element of the list is not exactly an
    address.
    """
    assert is_rewritten(lines) is rewritten


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        pytest.param("for=10.0.0.5;proto=https", True, id="the peer"),
        pytest.param('for="[::ffff:10.0.0.5]:8080"', True, id="mapped, quoted"),
        pytest.param('FOR="10.0.0.5:_port"', True, id="a hidden port"),
        pytest.param("for=203.0.113.9, for=10.0.0.5", True, id="the second element"),
        pytest.param("for=203.0.113.9;for=10.0.0.5", True, id="twice in one element"),
        pytest.param("proto=https;by=10.0.0.5", False, id="by is not for"),
        pytest.param('for="[2001:db8::1]:443";host="a;b,c"', False, id="separators in quotes"),
        pytest.param('host="a;for=10.0.0.5;b"', True, id="the peer, in the quotes of another"),
        pytest.param('host="a,for=10.0.0.5"', True, id="an element in the quotes of another"),
        pytest.param('by="a; FOR = 10.0.0.5"', True, id="in quotes, spelled at will"),
        pytest.param("for=unknown, for=_x", False, id="names that the RFC allows"),
        pytest.param("for = 10.0.0.99", True, id="spaces"),
        pytest.param("for=2001:db8::1:80", True, id="IPv6 without brackets"),
        pytest.param('for="10.0.0.99', True, id="an open quote"),
        pytest.param('for="10.0.\\0.99"', True, id="an escape"),
        pytest.param("10.0.0.99", True, id="no parameter"),
        pytest.param("for=[;" * 1000, True, id="many open brackets"),
    ],
)
def test_a_peer_that_forwarded_may_have_set_is_rewritten(line: str, rewritten: bool) -> None:
    """
    S19: the same for RFC 7239, whose addresses are behind ``for=``.
    """
    assert is_rewritten([line], header="forwarded") is rewritten


def test_an_ipv6_address_without_brackets_may_end_in_a_port() -> None:
    """
    S19: both readings of an unbracketed IPv6 address are compared with the peer.
    """
    assert is_rewritten(["2001:db8::1:80"], "2001:db8::1")
    assert is_rewritten(["2001:db8::1:80"], "2001:db8::1:80")
    assert not is_rewritten(["2001:db8::1:80"], "2001:db8::2")


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        pytest.param("203.0.113.9", False, id="an address"),
        pytest.param("_hidden", True, id="a hidden name"),
        pytest.param("unknown", True, id="unknown"),
        pytest.param(",", True, id="empty elements"),
    ],
)
def test_a_peer_without_an_address_may_come_from_an_element_without_one(
    line: str, rewritten: bool
) -> None:
    """
    S20: if a unix socket is only assumed, a nameless element of a list may have made the peer.
    """
    assert is_rewritten([line], None) is rewritten


@pytest.mark.parametrize(
    "others", [pytest.param([1_023], id="one line"), pytest.param([511, 511], id="two lines")]
)
def test_lists_are_read_up_to_their_bound(others: list[int]) -> None:
    """
    S19, S29: of all lists together 8,192 characters are read, and behind more nobody is trusted.
    """
    lines = ["1.1.1.1," * number + "11.1.1.1" for number in others]
    assert sum(map(len, lines)) == LONGEST_LIST == 8_192
    assert not is_rewritten(lines)
    assert is_rewritten([*lines[:-1], f"{lines[-1]}1"])


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_read_or_in_doubt(text: str, structured: bool) -> None:
    """
    No text makes the reader of forwarding headers raise, and every reading is part of the text.
    """
    readings = read_node(text, structured=structured)
    assert readings is None or all(reading in text for reading in readings)
    is_rewritten([text], header="forwarded" if structured else "x-forwarded-for")


ELEMENTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.sampled_from(["256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4:80", "unknown", "", "1.2.3.4\n"]),
)
BLANKS = st.sampled_from(["", " ", "\t", " \t "])


@given(st.lists(st.builds("{}{}{}".format, BLANKS, ELEMENTS, BLANKS), min_size=1, max_size=4))
def test_a_list_of_ipv4_addresses_is_read_as_any_other(elements: list[str]) -> None:
    """
    S19: most lines are read by one pattern, which reads the same as the reader of elements.
    """
    assert read_list(",".join(elements)) == read_elements(elements, structured=False)


def test_a_line_is_read_as_addresses_that_can_be_compared() -> None:
    """
    S19: whatever way an address is written in, it is read as the one text that stands for it.
    """
    read = read_list("10.0.0.5, [::FFFF:10.0.0.6], [2001:DB8:0::1]:80, unknown")
    assert read == frozenset({"10.0.0.5", "10.0.0.6", "2001:db8::1", NAMELESS})
    read = read_forwarded('for=_x;by=1.2.3.4, for="[2001:db8::1]"')
    assert read == frozenset({"2001:db8::1", NAMELESS})


@pytest.mark.parametrize(("lines", "user"), [(40, "u1"), (40_000, None)], ids=["few", "many"])
def test_a_list_that_no_proxy_writes_proves_nothing(lines: int, user: str | None) -> None:
    """
    S19: the unread rest of very many forwarding lines may name the peer.
    """
    seen: list[str | None] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(get_user_id())

    hops = [("x-forwarded-for", "203.0.113.9")] * lines
    door = SessionContextMiddleware(app, Policy(trusted_peers=[PEER]))
    ask_asgi(door, http_scope([("x-user-id", "u1"), *hops], peer=PEER))
    assert seen == [user]

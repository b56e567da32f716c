"""
SignedHeader: the lines that it believes, and every other line.
"""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import Header, IDSpec, Policy, PolicyError, tenant_spec, user_spec
from idlanyard._policy.spec import sources_of
from idlanyard.signing import SignedHeader
from idlanyard.signing._signed_header import LEEWAY
from signing.forging import AUDIENCE, KEY, OLD, SIGNATURE, UNKNOWN, forge

MAX_AGE = 300
# A test may stall for as long between making a line and showing it.
STALL = 60
OPTIONS: dict[str, Any] = {"field": "user_id", "keys": [KEY], "audience": AUDIENCE}


def header(**changes: Any) -> SignedHeader:
    """
    Return the source of the tests, with changes.
    """
    return SignedHeader("X-Signed-User-ID", **OPTIONS | changes)


def verify(line: str, **changes: Any) -> str | None:
    """
    Return what the source makes of a line.
    """
    return header(**changes).verify(line)


def test_it_is_a_header() -> None:
    """
    A policy takes it wherever it takes a header.
    """
    assert isinstance(header(), Header)
    assert header().spellings() == Header("X-Signed-User-ID").spellings()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("alice", id="plain"),
        pytest.param("a", id="one character"),
        pytest.param("a" * 1024, id="the longest"),
        pytest.param("urn:x:1.2.3", id="dots"),
        pytest.param("{5f9c2b1e}|7a1b.", id="visible"),
        pytest.param("1795761234.", id="like a time"),
    ],
)
def test_a_signed_value_is_returned(value: str) -> None:
    """
    S23: a line that is signed as the page describes it has its value.
    """
    assert verify(forge(value)) == value


@pytest.mark.parametrize(
    ("made", "changes"),
    [
        pytest.param({"field": "tenant_id"}, {}, id="signed for another field"),
        pytest.param({"audience": "https://orders.internal"}, {}, id="for another service"),
        pytest.param({"audience": "https://billing.internal.evil"}, {}, id="longer audience"),
        pytest.param({"audience": "https://billing"}, {}, id="shorter audience"),
        pytest.param({"age": MAX_AGE + 1}, {}, id="replayed after max_age"),
        pytest.param({"age": 11}, {"max_age": 10}, id="replayed after a shorter max_age"),
        pytest.param({"age": 10**9}, {}, id="replayed years later"),
        pytest.param({"age": -LEEWAY - STALL}, {}, id="of the future"),
        pytest.param({"key": UNKNOWN}, {}, id="an unknown key"),
        pytest.param({"key": KEY[::-1]}, {}, id="the key backwards"),
        pytest.param({"key": KEY}, {"keys": [UNKNOWN]}, id="a key that was withdrawn"),
        pytest.param({"key": OLD}, {"keys": [KEY]}, id="an old key that was withdrawn"),
        pytest.param({"text": f"{AUDIENCE} alice"}, {}, id="no time"),
        pytest.param({"text": f"{AUDIENCE} alice "}, {}, id="an empty time"),
        pytest.param({"text": f"{AUDIENCE} alice -1"}, {}, id="a time below zero"),
        pytest.param({"text": f"{AUDIENCE} alice 1e9"}, {}, id="a time in words"),
        pytest.param({"text": f"{AUDIENCE} alice {'9' * 12}"}, {}, id="a time far away"),
        pytest.param({"text": f"{AUDIENCE} alice {'9' * 5000}"}, {}, id="an endless time"),
        pytest.param({"text": f"{AUDIENCE} alice \u0661\u0662"}, {}, id="other digits"),
        pytest.param({"text": "alice"}, {}, id="a value alone"),
        pytest.param({"text": ""}, {}, id="nothing, signed"),
        pytest.param({"value": "alice mallory"}, {}, id="a value with a space"),
        pytest.param({"value": "ali\tce"}, {}, id="a value with a tab"),
        pytest.param({"value": "Jos\u00e9"}, {}, id="a value beyond ASCII"),
        pytest.param({"value": "\ud800"}, {}, id="half a character"),
        pytest.param({"value": ""}, {}, id="an empty value"),
        pytest.param({"value": "a" * 1025}, {}, id="a value longer than any ID"),
        pytest.param({"value": "a" * 1_000_000}, {}, id="a megabyte"),
        pytest.param("", {}, id="empty"),
        pytest.param("alice", {}, id="unsigned"),
        pytest.param(".", {}, id="a dot"),
        pytest.param("." * 100_000, {}, id="dots"),
        pytest.param(" " * 100_000, {}, id="spaces"),
        pytest.param(f"{AUDIENCE} alice 1.{'A' * SIGNATURE}", {}, id="made up"),
        pytest.param("\x00\r\n\x85\xa0", {}, id="control characters"),
        pytest.param("\ud800\U0001f600", {}, id="no text that could be encoded"),
    ],
)
def test_an_attack_gives_nothing(made: str | dict[str, Any], changes: dict[str, Any]) -> None:
    """
    S23: another field's salt, another audience, a replay, an unknown key, and broken lines.
    """
    # Signed now: while the tests before this one ran, it would have become old.
    line = made if isinstance(made, str) else forge(**made)
    assert verify(line, **changes) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda line: line[:-1], id="truncated by one"),
        pytest.param(lambda line: line[:-SIGNATURE], id="without its signature"),
        pytest.param(lambda line: line[: -SIGNATURE - 1], id="without signature and dot"),
        pytest.param(lambda line: line[1:], id="truncated in front"),
        pytest.param(lambda line: line + "A", id="extended"),
        pytest.param(lambda line: line + "=", id="padded"),
        pytest.param(lambda line: line + "\n", id="with a line feed"),
        pytest.param(lambda line: line + " ", id="with a space"),
        pytest.param(lambda line: " " + line, id="with a space in front"),
        pytest.param(lambda line: line + "," + line, id="twice, with a comma"),
        pytest.param(lambda line: line + ".", id="with a dot"),
        pytest.param(lambda line: line.replace("alice", "admin"), id="another value"),
        pytest.param(lambda line: line.replace("alice", "Alice"), id="another case"),
        pytest.param(lambda line: line.replace(" alice", "/ alice"), id="another audience"),
        pytest.param(lambda line: line.replace(" alice ", " alice 1"), id="another time"),
        pytest.param(lambda line: line.swapcase(), id="another case throughout"),
        pytest.param(lambda line: line.replace(".", "%2E"), id="encoded"),
        pytest.param(
            lambda line: line[:-SIGNATURE] + forge("bob")[-SIGNATURE:], id="another's signature"
        ),
        pytest.param(
            lambda line: line[:-SIGNATURE] + line[-1 : -SIGNATURE - 1 : -1], id="backwards"
        ),
    ],
)
def test_a_changed_line_is_none(change: Callable[[str], str]) -> None:
    """
    S23: a line that was signed, and then changed in any way, has no value.
    """
    line = forge()
    assert verify(line) == "alice"
    assert verify(change(line)) is None


def test_no_other_text_has_the_same_signature() -> None:
    """
    S23: base64 has spare bits in the last letter, and every other letter there is refused.
    """
    line = forge()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= "
    assert [letter for letter in letters if verify(line[:-1] + letter)] == [line[-1]]


@pytest.mark.parametrize(
    "age",
    [
        pytest.param(0, id="now"),
        pytest.param(MAX_AGE - STALL, id="some minutes ago"),
        pytest.param(-LEEWAY, id="by a clock that is ahead"),
    ],
)
def test_a_line_is_good_for_its_max_age(age: int) -> None:
    """
    S23: until max_age is over, and from a clock that is a little ahead.
    """
    assert verify(forge(age=age)) == "alice"


def test_keys_are_rotated_without_a_gap() -> None:
    """
    S23: a new key is known before it signs, the old one is accepted until it is withdrawn.
    """
    for keys in ([OLD], [OLD, KEY], [KEY, OLD]):
        assert verify(forge(key=OLD), keys=keys) == "alice"
    for keys in ([OLD, KEY], [KEY, OLD], [KEY]):
        assert verify(forge(key=KEY), keys=keys) == "alice"
        assert verify(forge(key=UNKNOWN), keys=keys) is None
    assert verify(forge(key=OLD), keys=[KEY]) is None


def test_a_service_may_have_several_names() -> None:
    """
    S23: each is accepted exactly, and no other.
    """
    names = [AUDIENCE, "http://10.0.0.7:8000", "billing"]
    for name in names:
        assert verify(forge(audience=name), audience=names) == "alice"
    assert verify(forge(audience="orders"), audience=names) is None


@pytest.mark.parametrize(
    "audience",
    [
        pytest.param("HTTPS://Billing.Internal", id="case"),
        pytest.param("https://billing.internal/", id="slash"),
        pytest.param("https://billing.internal:443", id="port"),
        pytest.param("https://billing.internal.", id="dot"),
    ],
)
def test_an_origin_may_be_spelled_in_any_way(audience: str) -> None:
    """
    The audience is compared as an origin, as the sender spells it.
    """
    assert header(audience=audience) == header(audience=AUDIENCE)
    assert verify(forge(), audience=audience) == "alice"


LINES = st.one_of(
    st.text(),
    st.binary().map(lambda raw: raw.decode("latin-1")),
    st.text(st.characters(codec=None)),
    st.from_regex(r"https://billing\.internal [!-~]{1,9} [0-9]{1,11}\.[\w-]{43}", fullmatch=True),
)


@given(LINES)
def test_any_text_is_absent(line: str) -> None:
    """
    S23: no text that was not signed has a value, and none raises.
    """
    assert verify(line) is None


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), st.data())
def test_a_value_comes_back_or_nothing_does(value: str, data: st.DataObject) -> None:
    """
    S23: a signed line gives its value; with one place changed it gives nothing.
    """
    line = forge(value)
    assert verify(line) == value
    place = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.characters().filter(lambda letter: letter != line[place]))
    assert verify(line[:place] + other + line[place + 1 :]) is None


@given(st.text(), st.integers(-20, 320), st.sampled_from([KEY, UNKNOWN]))
def test_whatever_is_signed_does_not_raise(value: str, age: int, key: str) -> None:
    """
    S23: somebody who has the key may sign anything, and a value is what was signed.
    """
    line = forge(value, age=age, key=key)
    assert verify(line) in (None, value)
    assert header().explain(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"keys": None}, r"write keys=\[os.environ", id="no keys"),
        pytest.param({"keys": [None]}, "is the variable set", id="no key"),
        pytest.param({"keys": [""]}, "is the variable set", id="an empty key"),
        pytest.param({"keys": []}, r"write keys=\[os.environ", id="an empty list"),
        pytest.param({"keys": KEY}, r"write keys=\[os.environ", id="text"),
        pytest.param({"keys": KEY.encode()}, r"write keys=\[os.environ", id="bytes"),
        pytest.param({"keys": {KEY}}, r"write keys=\[os.environ", id="a set"),
        pytest.param({"keys": [KEY + "\n"]}, r"Write key\.strip", id="a line feed"),
        pytest.param({"keys": [f"{KEY}\n".encode()]}, r"Write key\.strip", id="in bytes"),
        pytest.param({"keys": [KEY, "\xa0" + OLD]}, r"Write key\.strip", id="a hard space"),
        pytest.param({"keys": 5}, r"write keys=\[os.environ", id="a number"),
        pytest.param({"keys": [5]}, "takes text or bytes", id="a number as a key"),
        pytest.param({"keys": ["k" * 31]}, "at least 32 bytes", id="a short key"),
        pytest.param({"keys": [KEY, "k" * 31]}, "at least 32 bytes", id="a short old key"),
        pytest.param({"max_age": 301}, "write max_age=300, or add unsafe", id="long"),
        pytest.param({"max_age": 0}, "write max_age=300", id="zero"),
        pytest.param({"max_age": -1}, "write max_age=300", id="below zero"),
        pytest.param({"max_age": True}, "write max_age=300", id="a boolean"),
        pytest.param({"max_age": "300"}, "write max_age=300", id="text for a number"),
        pytest.param({"max_age": 301, "unsafe_max_age_ok": 1}, "unsafe", id="not True"),
        pytest.param({"audience": ""}, "write audience='https", id="no audience"),
        pytest.param({"audience": []}, "write audience='https", id="no audience in a list"),
        pytest.param({"audience": None}, "write audience='https", id="None for an audience"),
        pytest.param({"audience": ["a", None]}, "write audience='https", id="None among them"),
        pytest.param({"audience": "a b"}, "without spaces", id="a space"),
        pytest.param({"audience": "a,b"}, "without spaces", id="a comma"),
        pytest.param({"audience": "b\u00fccher"}, "without spaces", id="beyond ASCII"),
        pytest.param({"audience": "https://a.example/v1"}, "no origin", id="a path"),
        pytest.param({"audience": "https://a.example?q"}, "no origin", id="a query"),
        pytest.param({"audience": "https://*.a.example"}, "no origin", id="many hosts"),
        pytest.param({"audience": "ftp://a.example"}, "no origin", id="no scheme of HTTP"),
        pytest.param({"field": "User"}, "write field='user_id'", id="no name of an ID"),
        pytest.param({"field": ""}, "write field='user_id'", id="an empty name"),
        pytest.param({"field": None}, "write field='user_id'", id="None for a name"),
        pytest.param({"field": KEY}, "write field='user_id'", id="a key for a name"),
        pytest.param({"field": KEY.encode()}, "write field='user_id'", id="bytes for a name"),
        pytest.param({"audience": KEY}, "write audience='https", id="a key for an audience"),
        pytest.param({"audience": ["a", KEY]}, "write audience='https", id="a key among them"),
        pytest.param({"audience": f"x://{KEY.replace(' ', '')}"}, "no origin", id="a key in a URL"),
    ],
)
def test_a_wrong_option_is_told(changes: dict[str, Any], message: str) -> None:
    """
    S23: the message says what to write, and repeats no key.
    """
    with pytest.raises(PolicyError, match=message) as caught:
        header(**changes)
    told = f"{caught.value}{caught.value.value}"
    assert not any(key in told for key in (KEY, KEY.replace(" ", ""), "k" * 31))


@pytest.mark.parametrize("option", ["field", "audience"])
def test_no_text_that_may_be_a_key_is_repeated(option: str) -> None:
    """
    S23: from 32 bytes on, a wrong name may be a key; a shorter one is shown.
    """
    for text, shown in (("\xe9" * 15 + " ", True), ("\xe9" * 15 + "  ", False)):
        with pytest.raises(PolicyError) as caught:
            header(**{option: text})
        assert (text in str(caught.value)) is shown
        assert caught.value.value == (text if shown else None)


def test_random_bytes_are_a_key() -> None:
    """
    A key of random bytes may end as a line does, and is taken as it is.
    """
    key = bytes(range(200, 240)) + b"\n"
    assert header(keys=[key]).keys == (key,)


def test_a_customer_is_a_tenant() -> None:
    """
    Under its other name, the tenant is signed and verified as the tenant.
    """
    source = header(field="customer_id")
    assert source == header(field="tenant_id")
    assert source.verify(forge("acme", field="tenant_id")) == "acme"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        pytest.param("Authorization", "X-Signed-User-ID", id="a meaning of its own"),
        pytest.param("X User ID", "X-User-ID", id="spaces"),
        pytest.param("HTTP_X_USER_ID", "X-User-ID", id="a key of environ"),
        pytest.param(None, "X-Signed-User-ID", id="None"),
    ],
)
def test_a_wrong_name_is_told(name: Any, instead: str) -> None:
    """
    The message says which name may be used.
    """
    with pytest.raises(PolicyError, match=f"SignedHeader has .*: write '{instead}'"):
        SignedHeader(name, **OPTIONS)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        pytest.param({}, "valid", id="valid"),
        pytest.param("alice", "not a line that a Signer makes", id="unsigned"),
        pytest.param({"key": UNKNOWN}, "not signed with one of the keys", id="key"),
        pytest.param({"field": "tenant_id"}, "signed for another field", id="field"),
        pytest.param({"audience": "orders"}, f"for orders, and not for {AUDIENCE}", id="audience"),
        pytest.param({"age": 4_000}, "seconds ago, and max_age is 300", id="age"),
        pytest.param({"age": -4_000}, "in the future: compare the clocks", id="future"),
    ],
)
def test_a_line_is_explained(made: str | dict[str, Any], told: str) -> None:
    """
    The reason, which no log line and no response tells, is found by hand.
    """
    line = made if isinstance(made, str) else forge(**made)
    assert told in header().explain(line)
    assert (verify(line) is not None) == (header().explain(line) == "valid")


def test_a_longer_age_is_spelled_out() -> None:
    """
    S23: more than five minutes are possible for those who write that they know.
    """
    line = forge(age=3_000)
    assert verify(line, max_age=3_600, unsafe_max_age_ok=True) == "alice"
    assert verify(line) is None


def test_no_key_is_shown() -> None:
    """
    A source is shown in messages and debuggers, its keys are not.
    """
    source = header(keys=[KEY, OLD])
    shown = f"{source!r} {Policy(user=user_spec(sources=[source]))!r}"
    assert "X-Signed-User-ID" in shown
    assert (KEY in shown, OLD in shown) == (False, False)


def test_a_source_is_a_value() -> None:
    """
    Equal options make equal sources, also by way of a copy, a pickle or a change.
    """
    source = header()
    assert source == header(keys=[KEY.encode()])
    assert hash(source) == hash(header())
    assert source != header(keys=[OLD])
    for same in (copy.deepcopy(source), pickle.loads(pickle.dumps(source)), replace(source)):
        assert same == source
        assert same.verify(forge()) == "alice"
    tenant = replace(source, field="tenant_id")
    assert (tenant.verify(forge()), tenant.verify(forge(field="tenant_id"))) == (None, "alice")


@pytest.mark.parametrize(
    ("name", "field", "signed_for"),
    [
        pytest.param("tenant_id", "user_id", "user_id", id="a user's for a tenant"),
        pytest.param("user_id", "tenant_id", "tenant_id", id="a tenant's for a user"),
        pytest.param("user_id", "customer_id", "tenant_id", id="a customer's for a user"),
        pytest.param("team_id", "user_id", "user_id", id="a user's for a further ID"),
    ],
)
def test_no_id_is_read_from_the_signature_of_another(
    name: str, field: str, signed_for: str
) -> None:
    """
    S23: with the signature of a user, anybody who has one would be the tenant of that name.
    """
    own, other = header(field=name), header(field=field)
    for sources in ([other], [own, other]):
        with pytest.raises(PolicyError, match=f"of {name} has .* is signed for {signed_for}: "):
            IDSpec(name=name, header="X-Any-ID", sources=sources)
    assert sources_of(IDSpec(name=name, header="X-Any-ID", sources=[own])) == (own,)


def test_the_signature_of_a_customer_is_read_for_the_tenant() -> None:
    """
    Both names of the ID mean the same, so that the policy takes either.
    """
    source = header(field="customer_id")
    assert Policy(tenant=tenant_spec(sources=[source])) == Policy(
        tenant=tenant_spec(sources=[header(field="tenant_id")])
    )


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """
    S8: the verifier itself writes no line, whatever it reads.
    """
    with caplog.at_level(logging.DEBUG):
        for line in (forge(), forge(key=UNKNOWN), "x" * 10_000, "\x00"):
            verify(line)
    assert caplog.records == []


def test_without_the_extra_it_is_told_what_to_install() -> None:
    """
    The package can be imported without itsdangerous, and says how to get it where it is needed.
    """
    code = (
        "import sys; sys.modules['itsdangerous'] = None\n"
        "from idlanyard.signing import SignedHeader\n"
        "try: SignedHeader('X-Signed', field='user_id', keys=['k' * 32], audience='a')\n"
        "except ImportError as error: print(error, error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "run pip install 'idlanyard[signing]' itsdangerous" in done.stdout

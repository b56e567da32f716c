"""
Signer: the IDs that it vouches for, to whom, and by inject.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import (
    EVERYONE,
    Policy,
    PolicyError,
    Provenance,
    dump,
    get_session_id,
    inject,
    new_session_id,
    request_spec,
    restore,
    session_context,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard.signing import SignedHeader, Signer
from signing.forging import AUDIENCE, KEY, OLD, UNKNOWN, forge

URL = f"{AUDIENCE}/invoices?year=2026"
SIGN = Signer(keys=[KEY])


def injected(
    sign: Signer = SIGN, *, url: str = URL, headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """
    Return the headers that inject makes of those that are given.
    """
    made = dict(headers or {})
    inject(made, to=[AUDIENCE, "https://*.internal:8443"], url=url, sign=sign)
    return made


def read(line: str | None, **changes: Any) -> str | None:
    """
    Return the value that the called service reads.
    """
    options: dict[str, Any] = {"field": "user_id", "keys": [KEY], "audience": AUDIENCE}
    assert line is not None
    return SignedHeader("X-Signed", **options | changes).verify(line)


def test_what_is_signed_is_verified() -> None:
    """
    S23: the called service reads user and tenant, each in its own header, beside the plain ones.
    """
    with session_context("s1", user_id="alice", tenant_id="acme"):
        made = injected()
    assert read(made.pop("X-Signed-User-ID")) == "alice"
    assert read(made.pop("X-Signed-Tenant-ID"), field="tenant_id") == "acme"
    assert made == {"X-Session-ID": "s1", "X-User-ID": "alice", "X-Tenant-ID": "acme"}


def test_a_signature_of_one_id_is_none_of_another() -> None:
    """
    S23: a tenant who is called as a user is, is no user.
    """
    line = SIGN.sign("tenant_id", "alice", URL)
    assert read(line, field="tenant_id") == "alice"
    assert read(line) is None


def test_the_text_is_as_the_page_describes_it() -> None:
    """
    A service in another language makes the same line.
    """
    lines = set()
    for _ in range(100):
        before = forge()
        signed = SIGN.sign("user_id", "alice", URL)
        lines = {signed, before}
        if len(lines) == 1:
            break
    assert len(lines) == 1


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}", fullmatch=True))
def test_any_id_is_signed_and_verified(value: str) -> None:
    """
    S23: each value that an ID may have comes back as it was, and does so for its own field only.
    """
    line = SIGN.sign("user_id", value, URL)
    assert read(line) == value
    assert read(line, field="tenant_id") is None


@pytest.mark.parametrize("how", [pytest.param(how, id=how.value) for how in Provenance])
def test_only_proven_ids_are_signed(how: Provenance) -> None:
    """
    S1: the word of a client or the environment is passed on as before, and never signed.
    """
    undo = use_policy(Policy(trusted_queue=True))
    try:
        with restore({name: ["x1", how.value] for name in ("session_id", "user_id", "tenant_id")}):
            made = injected(Signer(keys=[KEY], headers={"user_id": "X-U", "session_id": "X-S"}))
    finally:
        undo()
    signed = {"X-U", "X-S"} if how.proven else set()
    assert set(made) == {"X-Session-ID", "X-User-ID", "X-Tenant-ID"} | signed


@pytest.mark.parametrize("accept", ["anyone", "proven"])
def test_no_policy_makes_a_clients_word_proven(accept: Any) -> None:
    """
    S1: also an ID that anyone may set is signed only if it is proven.
    """
    undo = use_policy(Policy(user=user_spec(accept=accept)))
    try:
        with restore({"X-User-ID": "alice"}):
            made = injected()
    finally:
        undo()
    assert made == {"X-User-ID": "alice"}


@pytest.mark.parametrize(
    ("headers", "added"),
    [
        pytest.param({}, {"X-User-ID", "X-Signed-User-ID"}, id="none"),
        pytest.param({"x-user-id": "bob"}, set(), id="the plain one"),
        pytest.param({"x-signed-user-id": "own"}, {"X-User-ID"}, id="the signed one"),
        pytest.param({"X-USER-ID": "bob", "X-SIGNED-USER-ID": "own"}, set(), id="both"),
    ],
)
def test_the_callers_header_wins(headers: dict[str, str], added: set[str]) -> None:
    """
    S15: no signature for one user stands beside another user whom the caller has written.
    """
    with session_context(user_id="alice"):
        made = injected(headers=headers)
    assert set(made) - set(headers) == added
    assert headers.items() <= made.items()


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        pytest.param(URL, AUDIENCE, id="with a path"),
        pytest.param("https://BILLING.internal.:443/", AUDIENCE, id="spelled otherwise"),
        pytest.param("https://a.internal:8443/", "https://a.internal:8443", id="port"),
        pytest.param("http://[::1]:8000/", "http://[::1]:8000", id="address"),
    ],
)
def test_a_signature_is_for_the_origin_that_is_called(url: str, audience: str) -> None:
    """
    S23: the called service cannot use the signature at another one.
    """
    line = SIGN.sign("user_id", "alice", url)
    assert read(line, audience=audience) == "alice"
    assert read(line, audience="https://orders.internal") is None


def test_a_signature_may_be_for_a_name() -> None:
    """
    S23: sender and receiver may agree on another name than the origin.
    """
    line = Signer(keys=[KEY], audience="billing").sign("user_id", "alice", URL)
    assert read(line, audience="billing") == "alice"
    assert read(line) is None
    spelled = Signer(keys=[KEY], audience="HTTPS://billing.internal:443/")
    assert read(spelled.sign("user_id", "alice", "https://proxy.internal/")) == "alice"


def test_a_url_in_doubt_has_no_signature() -> None:
    """
    S13: inject adds nothing for it, and a signer that is called by hand raises.
    """
    with session_context(user_id="alice"):
        assert injected(url="https://billing.internal\\@evil.example/") == {}
        assert injected(url="https://evil.example/") == {}
    with pytest.raises(ValueError, match="no origin"):
        SIGN.sign("user_id", "alice", "https://billing.internal\\@evil.example/")


def test_the_first_key_signs() -> None:
    """
    S23: others may stay in the list, as in that of the receiver.
    """
    line = Signer(keys=[KEY, OLD]).sign("user_id", "alice", URL)
    assert read(line, keys=[KEY]) == "alice"
    assert read(line, keys=[OLD]) is None


def test_other_ids_and_headers_are_possible() -> None:
    """
    The headers are those that are named, for the IDs that are named.
    """
    undo = use_policy(Policy(tenant=tenant_spec(propagate=False), extra=[request_spec()]))
    headers = {"user_id": "X-U", "tenant_id": "X-T", "request_id": "X-R", "nobody_id": "X-N"}
    try:
        with session_context(user_id="alice", tenant_id="acme", request_id="r1"):
            made = injected(Signer(keys=[KEY], headers=headers))
    finally:
        undo()
    assert set(made) == {"X-User-ID", "X-U", "X-Request-ID", "X-R"}
    assert read(made["X-R"], field="request_id") == "r1"


def test_a_customer_is_signed_as_the_tenant() -> None:
    """
    Both names of the ID may be used, and mean the same.
    """
    sign = Signer(keys=[KEY], headers={"customer_id": "X-T"})
    assert sign == Signer(keys=[KEY], headers={"tenant_id": "X-T"})
    with session_context(tenant_id="acme"):
        made = injected(sign)
    assert read(made["X-T"], field="tenant_id") == "acme"
    assert read(sign.sign("customer_id", "acme", URL), field="customer_id") == "acme"
    with pytest.raises(KeyError):
        sign.sign("user_id", "alice", URL)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a\nb", id="a line feed"),
        pytest.param("alice\r", id="a carriage return"),
        pytest.param("alice bob", id="a space"),
        pytest.param("", id="empty"),
        pytest.param("a" * 1025, id="longer than any ID"),
        pytest.param("Jos\u00e9", id="beyond ASCII"),
        pytest.param("\ud800", id="half a character"),
    ],
)
def test_text_that_is_no_id_is_not_signed(value: str) -> None:
    """
    S7: a signer that is called by hand makes one line, or raises and repeats nothing.
    """
    with pytest.raises(ValueError, match="only visible ASCII") as caught:
        SIGN.sign("user_id", value, URL)
    assert not value or value not in str(caught.value)


def test_minting_only_what_is_missing_vouches_for_no_client() -> None:
    """
    S1: as the pages for consumers have it, a session that a client has sent stays the client's.
    """
    sign, signed = Signer(keys=[KEY], headers={"session_id": "X-S"}), []
    for headers in ({"X-Session-ID": "s1"}, {}):
        with restore(headers), session_context(None if get_session_id() else new_session_id()):
            signed.append(sorted(injected(sign)))
    assert signed == [["X-Session-ID"], ["X-S", "X-Session-ID"]]


def test_ids_that_are_dumped_and_restored_are_no_more_proven() -> None:
    """
    S1: bound again, each keeps its provenance, and a client's is not signed.
    """
    with restore({"X-User-ID": "alice"}), session_context(tenant_id="acme"):
        carrier = dump()
    with restore(carrier):
        assert set(injected()) == {"X-User-ID", "X-Tenant-ID", "X-Signed-Tenant-ID"}


@pytest.mark.parametrize("how", ["peer", "signed", "code", "minted"])
def test_the_word_of_a_queue_is_not_signed(how: str) -> None:
    """
    S1: IDs that an unsigned message calls proven go on as before, and unsigned.
    """
    with restore({"user_id": ["alice", how], "tenant_id": ["acme", how]}):
        assert injected() == {"X-User-ID": "alice", "X-Tenant-ID": "acme"}


PEER_IDS = {name: ["x1", "peer"] for name in ("user_id", "tenant_id")}


@pytest.mark.parametrize(
    ("peers", "signed"),
    [
        pytest.param(EVERYONE, False, id="everyone"),
        pytest.param(["0.0.0.0/0"], False, id="every address"),
        pytest.param(["0.0.0.0/1", "128.0.0.0/1"], False, id="every address in halves"),
        pytest.param(["10.0.0.0/8"], True, id="a network"),
    ],
)
def test_where_everybody_is_trusted_no_peer_is_vouched_for(peers: Any, signed: bool) -> None:
    """
    S1: a client is a peer there, and its word goes on unsigned; other proofs count as ever.
    """
    undo = use_policy(Policy(trusted_peers=peers, trusted_queue=True))
    try:
        with restore(PEER_IDS):
            made = injected()
        with restore({"user_id": ["x1", "signed"]}):
            others = injected()
    finally:
        undo()
    assert ({"X-Signed-User-ID", "X-Signed-Tenant-ID"} <= set(made)) is signed
    assert {"X-User-ID", "X-Tenant-ID"} <= set(made)
    assert "X-Signed-User-ID" in others


def test_a_signed_header_may_be_the_ids_own() -> None:
    """
    Under the name of the plain header, the signed value takes its place.
    """
    with session_context(user_id="alice"):
        made = injected(Signer(keys=[KEY], headers={"user_id": "x-user-id"}))
    assert (list(made), read(made["x-user-id"])) == (["x-user-id"], "alice")


def test_names_may_be_in_lower_case() -> None:
    """
    Signed headers are written as the plain ones are.
    """
    made: dict[str, str] = {}
    with session_context(user_id="alice"):
        inject(made, to=[AUDIENCE], url=URL, lower=True, sign=SIGN)
    assert list(made) == ["x-user-id", "x-signed-user-id"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"sign": SIGN}, r"give to=\[...\] and url=... too", id="no list"),
        pytest.param({"sign": SIGN, "url": URL}, r"give to=\[...\]", id="no list, a URL"),
        pytest.param({"sign": SIGN, "to": [AUDIENCE]}, "give url=... as well", id="no URL"),
        pytest.param({"sign": KEY}, r"not str: write sign=Signer\(keys", id="a key"),
        pytest.param({"sign": Signer}, "not Signer: write", id="the class"),
        pytest.param({"sign": lambda value: value}, "not function: write", id="a function"),
    ],
)
def test_a_wrong_call_is_told(options: dict[str, Any], message: str) -> None:
    """
    S13: a signature is for one receiver on a list, and the message says what to write.
    """
    made: dict[str, str] = {}
    with session_context(user_id="alice"), pytest.raises(TypeError, match=message):
        inject(made, **options)
    assert made == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"keys": KEY}, r"write keys=\[os", id="text"),
        pytest.param({"keys": ["k" * 31]}, "at least 32 bytes", id="a short key"),
        pytest.param({"keys": []}, r"write keys=\[os", id="no key"),
        pytest.param({"audience": ""}, "write audience=", id="no audience"),
        pytest.param({"audience": "a b"}, "write audience=", id="a space"),
        pytest.param({"headers": {}}, "write headers={'user_id'", id="no headers"),
        pytest.param({"headers": ["X-U"]}, "write headers={'user_id'", id="a list"),
        pytest.param({"headers": {"user_id": "Cookie"}}, "'X-Signed-User-ID'", id="owned"),
        pytest.param({"headers": {"user_id": None}}, "'X-Signed-User-ID'", id="None"),
        pytest.param({"headers": {"User": "X-U"}}, "write field='user_id'", id="no ID"),
        pytest.param({"headers": {KEY: "X-U"}}, "write field='user_id'", id="a key for an ID"),
        pytest.param({"audience": KEY}, "write audience=", id="a key for an audience"),
        pytest.param(
            {"headers": {"tenant_id": "X-T", "customer_id": "X-C"}}, "name one ID", id="one ID"
        ),
        pytest.param(
            {"headers": {"user_id": "X-U", "tenant_id": "x-u"}}, "one header for two", id="twice"
        ),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, Any], message: str) -> None:
    """
    S23: the message says what to write, and repeats no key.
    """
    with pytest.raises(PolicyError, match=message) as caught:
        Signer(**{"keys": [KEY]} | options)
    assert KEY not in f"{caught.value}{caught.value.value}"


def test_a_signer_is_a_value() -> None:
    """
    Equal options make equal signers, also by way of a copy or a pickle; no key is shown.
    """
    assert (KEY in repr(SIGN), "X-Signed-User-ID" in repr(SIGN)) == (False, True)
    assert Signer(keys=[KEY.encode()]) == SIGN
    assert hash(Signer(keys=[KEY])) == hash(SIGN)
    assert Signer(keys=[UNKNOWN]) != SIGN
    given = {"user_id": "X-U"}
    sign = Signer(keys=[KEY], headers=given)
    given["tenant_id"] = "X-T"
    assert sign.headers == {"user_id": "X-U"}
    for same in (copy.deepcopy(SIGN), pickle.loads(pickle.dumps(SIGN))):
        assert same == SIGN
        assert read(same.sign("user_id", "alice", URL)) == "alice"


class Failing:
    """
    A signer that fails.
    """

    headers: Mapping[str, str] = {"tenant_id": "X-T"}

    def sign(self, name: str, value: str, url: str) -> str:
        raise LookupError(name)


def test_a_signer_that_fails_leaves_no_half() -> None:
    """
    Its exception is the caller's where inject is called by hand, and no header is added.
    """
    made: dict[str, str] = {}
    with session_context(user_id="u1", tenant_id="t1"), pytest.raises(LookupError):
        inject(made, to=[AUDIENCE], url=URL, sign=Failing())
    assert made == {}


@pytest.mark.parametrize("made", ["", "a\r\nSet-Cookie: s=evil", "Jos\u00e9", b"alice", None, 5])
def test_a_signer_that_returns_no_line_fails(made: Any) -> None:
    """
    S7: only a line that a header can have is added, and none of the other headers without it.
    """

    class Odd(Failing):
        def sign(self, name: str, value: str, url: str) -> Any:
            return made

    headers: dict[str, str] = {}
    refused = pytest.raises(ValueError, match="no text for tenant_id that a header can have")
    with session_context(user_id="u1", tenant_id="t1"), refused:
        inject(headers, to=[AUDIENCE], url=URL, sign=Odd())
    assert headers == {}

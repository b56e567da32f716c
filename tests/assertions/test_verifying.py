"""
A token is believed if everything about it is as it has to be, and no byte of it does harm.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1
from hypothesis import given
from hypothesis import strategies as st

from assertions.minting import (
    AUDIENCE,
    ISSUER,
    claims,
    ec_key,
    ed_key,
    encode,
    jwk_of,
    jwks_of,
    pem_of,
    rsa_key,
    sign,
)
from idlanyard.signing._assertions.key_source import KeySource
from idlanyard.signing._assertions.keys import ALGORITHMS, Keys, read_key_set, read_pem
from idlanyard.signing._assertions.tokens import TokenRefused, follow_path
from idlanyard.signing._assertions.verifier import TokenRules, Verifier

OURS = rsa_key("ours")
THEIRS = rsa_key("theirs")


class Source(KeySource):
    """
    Keys that a test replaces, and the key IDs that were asked for.
    """

    def __init__(self, keys: Keys | None) -> None:
        super().__init__(keys)
        self.asked: list[str | None] = []

    def put(self, keys: Keys) -> None:
        """
        Replace the keys.
        """
        self._keys = keys

    def ask_for(self, kid: str | None) -> None:
        """
        Note the key ID.
        """
        self.asked.append(kid)


def keys_of(*found: dict[str, Any], algorithm: str = "RS256") -> Keys:
    """
    Return keys of a JWKS.
    """
    return read_key_set(jwks_of(*found), algorithm)


def verifier(
    keys: Keys | None = None,
    *,
    clock: Callable[[], float] = time.time,
    **rules: Any,
) -> Verifier:
    """
    Return a verifier of tokens that we have signed.
    """
    usual: dict[str, Any] = {
        "algorithm": "RS256",
        "issuer": ISSUER,
        "audiences": frozenset([AUDIENCE]),
        "leeway": 30,
    }
    source = KeySource(keys or keys_of(jwk_of(OURS, "k1")))
    return Verifier(TokenRules(**usual | rules), source, clock=clock)


def refusal(token: str, by: Verifier | None = None) -> str:
    """
    Return the reason for which a token is refused.
    """
    with pytest.raises(TokenRefused) as caught:
        (by or verifier()).verify_token(token)
    return str(caught.value)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", OURS),
        ("ES256", ec_key("ours")),
        ("ES384", ec_key("ours 384", SECP384R1)),
        ("EdDSA", ed_key("ours")),
    ],
)
@pytest.mark.parametrize("form", ["jwk", "pem"])
def test_a_good_token_is_believed(algorithm: str, key: Any, form: str) -> None:
    """
    Each algorithm verifies with a key of its own kind, from a key set or in PEM.
    """
    keys = Keys(unnamed=[read_pem(pem_of(key), algorithm)])
    if form == "jwk":
        keys = keys_of(jwk_of(key, "k1"), algorithm=algorithm)
    by = verifier(keys, algorithm=algorithm)
    assert by.verify_token(sign(key, claims()))["sub"] == "alice"
    assert refusal(sign(key, claims(), kid="k1")[:-8] + "AAAAAAAA", by) == "has a wrong signature"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_the_one_of_pyjwt(algorithm: str) -> None:
    """
    A token that PyJWT has signed is believed with this algorithm, and with no other.
    """
    kind = ALGORITHMS[algorithm]
    curves = {"P-256": SECP256R1, "P-384": SECP384R1, "P-521": SECP521R1}
    key: Any = OURS if kind.kty == "RSA" else ed_key("ours")
    if kind.kty == "EC":
        key = ec_key(f"ours {kind.crv}", curves[kind.crv or ""])
    keys = Keys(unnamed=[read_pem(pem_of(key), algorithm)])
    token = jwt.encode(claims(), key, algorithm)
    assert verifier(keys, algorithm=algorithm).verify_token(token)["sub"] == "alice"
    other = "ES256" if algorithm != "ES256" else "RS256"
    assert "another algorithm" in refusal(token, verifier(keys, algorithm=other))


NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param({"iss": None}, "has another issuer (iss)", id="no issuer"),
        pytest.param({"iss": "https://evil.example"}, "has another issuer (iss)", id="issuer"),
        pytest.param({"iss": f"{ISSUER}/"}, "has another issuer (iss)", id="issuer with a slash"),
        pytest.param({"iss": [ISSUER]}, "has another issuer (iss)", id="issuers"),
        pytest.param({"aud": None}, "has another audience (aud)", id="no audience"),
        pytest.param({"aud": "https://other.example"}, "has another audience (aud)", id="audience"),
        pytest.param({"aud": AUDIENCE.upper()}, "has another audience (aud)", id="in capitals"),
        pytest.param({"aud": ["a", "b"]}, "has another audience (aud)", id="audiences"),
        pytest.param({"aud": []}, "has another audience (aud)", id="no audience in the list"),
        pytest.param({"aud": [AUDIENCE, 1]}, "has another audience (aud)", id="a number in it"),
        pytest.param({"aud": {AUDIENCE: 1}}, "has another audience (aud)", id="an object"),
        pytest.param({"exp": None}, "never expires (exp)", id="no expiry"),
        pytest.param({"exp": NOW - 30}, "has expired (exp)", id="expired"),
        pytest.param({"exp": str(NOW + 60)}, "has no number in exp", id="expiry in text"),
        pytest.param({"exp": True}, "has no number in exp", id="a true expiry"),
        pytest.param({"exp": 10**400}, "has no number in exp", id="a huge expiry"),
        pytest.param({"exp": NOW * 1000}, "has no number in exp", id="expiry in milliseconds"),
        pytest.param({"nbf": NOW + 31}, "is not valid yet (nbf)", id="not before"),
        pytest.param({"nbf": "now"}, "has no number in nbf", id="not before in text"),
        pytest.param({"iat": NOW + 31}, "is not valid yet (iat)", id="issued in the future"),
        pytest.param({"iat": []}, "has no number in iat", id="issued at a list"),
    ],
)
def test_claims_are_what_they_have_to_be(changed: dict[str, Any], why: str) -> None:
    """
    S23: issuer and audience are compared exactly, times as numbers; a token without expiry is none.
    """
    good: dict[str, Any] = {"iat": NOW, "exp": NOW + 300}
    token = sign(OURS, claims(**good | changed))
    assert refusal(token, verifier(clock=lambda: NOW)) == why


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="as usual"),
        pytest.param({"aud": ["other", AUDIENCE]}, id="one of several audiences"),
        pytest.param({"exp": NOW - 29}, id="expired within the leeway"),
        pytest.param({"exp": NOW + 0.5}, id="a fraction of a second"),
        pytest.param({"nbf": NOW + 30, "iat": NOW + 30}, id="early within the leeway"),
        pytest.param({"iat": None}, id="without iat"),
    ],
)
def test_clocks_may_differ_and_audiences_be_several(changed: dict[str, Any]) -> None:
    """
    The leeway is taken into account on both sides, and a list may name other services besides.
    """
    good: dict[str, Any] = {"iat": NOW, "exp": NOW + 300}
    by = verifier(clock=lambda: NOW)
    assert by.verify_token(sign(OURS, claims(**good | changed)))["sub"] == "alice"


def hmac_token(key: bytes) -> str:
    """
    Return a token with the public key as the secret of HS256.
    """
    header = json.dumps({"alg": "HS256", "typ": "JWT", "kid": "k1"}).encode()
    signed = f"{encode(header)}.{encode(json.dumps(claims()).encode())}"
    return f"{signed}.{encode(hmac.digest(key, signed.encode(), 'sha256'))}"


def unsigned(alg: str, signature: str = "") -> str:
    """
    Return a token that no key has signed.
    """
    header = json.dumps({"alg": alg, "typ": "JWT", "kid": "k1"}).encode()
    return f"{encode(header)}.{encode(json.dumps(claims()).encode())}.{signature}"


def with_own_key(**more: Any) -> str:
    """
    Return a token of a forger that brings the key with it.
    """
    return sign(THEIRS, claims(), {"jwk": jwk_of(THEIRS, "k1"), **more})


OTHER_ALGORITHM = "has another algorithm than RS256"
WRONG = "has a wrong signature"
NO_OBJECT = "has a part that is no JSON object"
NO_JWT = "is no signed JWT"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        pytest.param(unsigned("none"), NO_JWT, id="alg none"),
        pytest.param(unsigned("none", "AAAA"), OTHER_ALGORITHM, id="alg none with a signature"),
        pytest.param(unsigned("None", "AAAA"), OTHER_ALGORITHM, id="alg None"),
        pytest.param(unsigned("RS256", "AAAA"), WRONG, id="no signature"),
        pytest.param(hmac_token(pem_of(OURS).encode()), OTHER_ALGORITHM, id="HS256, public key"),
        pytest.param(sign(ec_key("ours"), claims()), OTHER_ALGORITHM, id="ES256"),
        pytest.param(sign(OURS, claims(), {"alg": ["RS256"]}), OTHER_ALGORITHM, id="a list"),
        pytest.param(sign(OURS, claims(), b'{"kid": "k1"}'), OTHER_ALGORITHM, id="no alg"),
        pytest.param(sign(THEIRS, claims()), WRONG, id="another key"),
        pytest.param(with_own_key(), WRONG, id="embedded jwk"),
        pytest.param(with_own_key(jku="http://127.0.0.1:1/"), WRONG, id="jku"),
        pytest.param(with_own_key(x5u="http://127.0.0.1:1/"), WRONG, id="x5u"),
        pytest.param(with_own_key(x5c=["AAAA"]), WRONG, id="x5c"),
        pytest.param(sign(OURS, claims(), {"crit": ["x"]}), "has an extension (crit)", id="crit"),
        pytest.param(sign(OURS, claims(), {"b64": False}), "has an extension (crit)", id="b64"),
        pytest.param(
            sign(OURS, claims(), kid="../x"), "has an unusual key ID (kid)", id="kid of a path"
        ),
        pytest.param(
            sign(OURS, claims(), {"kid": 1}), "has an unusual key ID (kid)", id="kid of a number"
        ),
        pytest.param(
            sign(OURS, claims(), kid="k" * 201), "has an unusual key ID (kid)", id="a long kid"
        ),
        pytest.param(
            sign(OURS, claims(), kid="k1\n"), "has an unusual key ID (kid)", id="kid with a newline"
        ),
        pytest.param(
            sign(OURS, claims(), kid="k2"), "names an unknown key (kid)", id="unknown kid"
        ),
        pytest.param(
            sign(OURS, b'{"sub": "eve", "sub": "alice", "exp": 9}'), NO_OBJECT, id="claim twice"
        ),
        pytest.param(
            sign(OURS, claims(), b'{"alg": "none", "alg": "RS256"}'), NO_OBJECT, id="alg twice"
        ),
        pytest.param(sign(OURS, b'{"a": {"b": 1, "b": 2}}'), NO_OBJECT, id="twice inside"),
        pytest.param(sign(OURS, b'{"exp": NaN}'), NO_OBJECT, id="NaN"),
        pytest.param(sign(OURS, b'{"exp": -Infinity}'), NO_OBJECT, id="Infinity"),
        pytest.param(sign(OURS, b'["sub"]'), NO_OBJECT, id="a list for claims"),
        pytest.param(sign(OURS, b""), NO_JWT, id="nothing for claims"),
        pytest.param(sign(OURS, b'{"sub": "\xff"}'), NO_OBJECT, id="malformed UTF-8"),
        pytest.param(sign(OURS, "{}".encode("utf-16")), NO_OBJECT, id="UTF-16"),
        pytest.param(sign(OURS, b"[" * 4000), NO_OBJECT, id="nested deeply"),
        pytest.param(sign(OURS, b'{"a":' * 900), NO_OBJECT, id="objects nested deeply"),
        pytest.param(sign(OURS, b"1" * 5000), NO_OBJECT, id="a huge number"),
        pytest.param(sign(OURS, claims(), b"{}{}"), NO_OBJECT, id="two headers"),
        pytest.param(
            sign(OURS, sign(OURS, claims()).encode()), NO_OBJECT, id="a token in the token"
        ),
        pytest.param(sign(OURS, claims(x="x" * 7000)), "is longer than 8192 characters", id="huge"),
        pytest.param("x" * 10_000_000, "is longer than 8192 characters", id="10 MB"),
        pytest.param("", NO_JWT, id="empty"),
        pytest.param("a.b", NO_JWT, id="two parts"),
        pytest.param("a.b.c.d.e", NO_JWT, id="encrypted"),
        pytest.param("a.b.c", NO_JWT, id="no base64"),
        pytest.param("e30.e30.\xe9", NO_JWT, id="not ASCII"),
        pytest.param("e30.e30.\udc80", NO_JWT, id="a surrogate"),
        pytest.param(sign(OURS, claims()) + "\n", NO_JWT, id="a newline at the end"),
        pytest.param(sign(OURS, claims()) + ".", NO_JWT, id="a dot at the end"),
        pytest.param(" " + sign(OURS, claims()), NO_JWT, id="a space before"),
        pytest.param(sign(OURS, claims())[:-10], WRONG, id="cut off"),
        pytest.param(sign(OURS, claims())[:-9], NO_JWT, id="cut off within three bytes"),
        pytest.param(sign(OURS, claims()) + "AAAA", WRONG, id="extended"),
    ],
)
def test_a_forged_token_is_refused(token: str, why: str) -> None:
    """
    S23: one algorithm, one key set, and no key, address or extension that the token brings.
    """
    assert refusal(token) == why


@pytest.mark.parametrize("typ", [None, "JWT", "at+jwt", 1])
def test_a_type_that_is_asked_for_is_required(typ: Any) -> None:
    """
    A token of another kind, which the same issuer has signed for something else, is refused.
    """
    by = verifier(typ="txntoken+jwt")
    why = refusal(sign(OURS, claims(), {"typ": typ}), by)
    assert why == "has another type (typ) than txntoken+jwt"
    for same in ("TxnToken+JWT", "application/txntoken+jwt"):
        assert by.verify_token(sign(OURS, claims(), {"typ": same}))["sub"] == "alice"


SIGNER = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/ours/0123456789"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"signer": SIGNER.replace("ours", "theirs")}, "has another signer"),
        ({"signer": None}, "has another signer"),
        ({"client": "other"}, "has another audience (client)"),
        ({"iss": "https://evil.example"}, "has another issuer (iss)"),
        ({"exp": NOW - 60}, "has expired (exp)"),
        ({"exp": None}, "never expires (exp)"),
    ],
)
def test_a_load_balancer_says_everything_in_the_header(changed: dict[str, Any], why: str) -> None:
    """
    S23: signer, client, issuer and expiry are read in the token's header, padded or not; what the
    claims say of them does not count.
    """
    key = ec_key("ours")
    header: dict[str, Any] = {"signer": SIGNER, "client": "c1", "iss": ISSUER, "exp": NOW + 120}
    by = verifier(
        keys_of(jwk_of(key, "k1"), algorithm="ES256"),
        clock=lambda: NOW,
        algorithm="ES256",
        audiences=frozenset(["c1"]),
        signer=SIGNER,
    )
    good = sign(key, {"sub": "alice"}, header, padded=True)
    assert good.partition(".")[0].endswith("=")
    assert by.verify_token(good) == {"sub": "alice"}
    inside = {"sub": "alice", "iss": ISSUER, "aud": "c1", "client": "c1", "exp": NOW + 120}
    assert refusal(sign(key, inside, header | changed), by) == why


def test_a_token_without_a_key_id_takes_the_only_key() -> None:
    """
    Of several keys with IDs none is tried by chance, while those without an ID all are.
    """
    token = sign(OURS, claims(), kid=None)
    first, second = jwk_of(THEIRS, "k1"), jwk_of(OURS, "k2")
    assert verifier(keys_of(second)).verify_token(token)["sub"] == "alice"
    assert refusal(token, verifier(keys_of(first, second))) == "names an unknown key (kid)"
    unnamed = keys_of(jwk_of(THEIRS), jwk_of(OURS))
    assert verifier(unnamed).verify_token(token)["sub"] == "alice"
    assert verifier(unnamed).verify_token(sign(OURS, claims(), kid="any"))["sub"] == "alice"


def test_a_verified_token_is_remembered_until_it_expires() -> None:
    """
    The second look takes no signature, and the clock is looked at all the same.
    """
    now = [float(NOW)]
    by = verifier(clock=lambda: now[0], leeway=0)
    token = sign(OURS, claims(iat=NOW, exp=NOW + 60))
    first = by.verify_token(token)
    assert by.verify_token(token) is first
    now[0] += 60
    assert refusal(token, by) == "has expired (exp)"


def test_a_remembered_token_is_forgotten_with_its_key() -> None:
    """
    A token whose key has left the key set is refused, remembered or not.
    """
    source = Source(keys_of(jwk_of(OURS, "k1")))
    rules = TokenRules("RS256", ISSUER, frozenset([AUDIENCE]), 0)
    by = Verifier(rules, source)
    token = sign(OURS, claims())
    assert by.verify_token(token)["sub"] == "alice"
    source.put(keys_of(jwk_of(THEIRS, "k2")))
    assert refusal(token, by) == "names an unknown key (kid)"
    assert source.asked == ["k1"]


def test_the_memory_of_tokens_is_bounded() -> None:
    """
    Of more than 256 tokens the first ones are forgotten, and verified anew.
    """
    key = ed_key("ours")
    by = verifier(keys_of(jwk_of(key, "k1"), algorithm="EdDSA"), algorithm="EdDSA")
    tokens = [sign(key, claims(sub=f"u{n}")) for n in range(257)]
    found = [by.verify_token(token) for token in tokens]
    assert by.verify_token(tokens[256]) is found[256]
    again = by.verify_token(tokens[0])
    assert (again, again is found[0]) == (found[0], False)


def test_tokens_are_verified_by_many_threads_at_once() -> None:
    """
    Threads that verify the same and other tokens at the same moment each have their own answer.
    """
    key = ed_key("ours")
    by = verifier(keys_of(jwk_of(key, "k1"), algorithm="EdDSA"), algorithm="EdDSA")
    tokens = {f"u{n}": sign(key, claims(sub=f"u{n}")) for n in range(300)}
    barrier = threading.Barrier(8)
    wrong: list[object] = []

    def verify() -> None:
        barrier.wait(30)
        wrong.extend(
            name for name, token in tokens.items() if by.verify_token(token)["sub"] != name
        )

    threads = [threading.Thread(target=verify) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_missing_key_is_asked_for() -> None:
    """
    An unknown key ID, and a signature by none of the keys without ID, ask for a refresh; a wrong
    signature with a known ID and an odd key ID do not.
    """
    named, unnamed = Source(keys_of(jwk_of(OURS, "k1"))), Source(keys_of(jwk_of(OURS)))
    rules = TokenRules("RS256", ISSUER, frozenset([AUDIENCE]), 0)
    for kid in ("k1", "../x", "k2"):
        refusal(sign(THEIRS, claims(), kid=kid), Verifier(rules, named))
    refusal(sign(THEIRS, claims(), kid=None), Verifier(rules, unnamed))
    assert (named.asked, unnamed.asked) == (["k2"], [None])
    nothing = Verifier(rules, Source(None))
    assert refusal(sign(OURS, claims()), nothing) == "came before the keys were there"


def test_a_refused_token_is_verified_once_a_second() -> None:
    """
    Several IDs that are read out of one forged token cost its signatures once, and none of them
    waits again; a key that arrives meanwhile counts at once.
    """
    source = Source(keys_of(jwk_of(THEIRS)))
    now = [float(NOW)]
    rules = TokenRules("RS256", ISSUER, frozenset([AUDIENCE]), 30)
    by = Verifier(rules, source, clock=lambda: now[0])
    token = sign(OURS, claims(iat=NOW, exp=NOW + 60))
    for seconds, asked in ((0, 1), (0, 1), (0.9, 1), (0.1, 2), (0, 2), (-20, 3), (0, 3)):
        now[0] += seconds
        assert refusal(token, by) == WRONG
        assert len(source.asked) == asked
    source.put(keys_of(jwk_of(OURS, "k1")))
    assert by.verify_token(token)["sub"] == "alice"


def test_no_key_is_asked_for_in_the_name_of_another() -> None:
    """
    A token that is not for this service by its header names no key that is fetched.
    """
    key = ec_key("ours")
    source = Source(Keys())
    rules = TokenRules("ES256", ISSUER, frozenset(["c1"]), 0, signer=SIGNER)
    by = Verifier(rules, source, clock=lambda: NOW)
    good: dict[str, Any] = {"signer": SIGNER, "client": "c1", "iss": ISSUER, "exp": NOW + 120}
    for changed in ({"signer": "x"}, {"client": "x"}, {"iss": "x"}, {"exp": NOW}, {"exp": None}):
        refusal(sign(key, {"sub": "alice"}, good | changed, kid="k2"), by)
    assert source.asked == []
    assert refusal(sign(key, {"sub": "alice"}, good), by) == "names an unknown key (kid)"
    assert source.asked == ["k1"]


def test_a_key_that_fails_has_not_signed() -> None:
    """
    An error of the cryptography is no signature, and no error of the request.
    """
    unfit = Keys({"k1": ed_key("ours").public_key()})
    assert refusal(sign(OURS, claims()), verifier(unfit)) == WRONG


def test_a_token_has_one_text() -> None:
    """
    The last character of a part has bits that mean nothing, and has to have none of them set; the
    padding that load balancers write is all there or not at all.
    """
    key = ed_key("ours")
    by = verifier(keys_of(jwk_of(key, "k1"), algorithm="EdDSA"), algorithm="EdDSA")
    token = sign(key, claims())
    assert by.verify_token(token)["sub"] == "alice"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(token[-1])
    assert len(token.rpartition(".")[2]) % 4 == 2
    for change in (letters[last + 1], token[-1] + "="):
        assert refusal(token[:-1] + change, by) == NO_JWT
    assert by.verify_token(token + "==")["sub"] == "alice"


PATHS = [
    pytest.param({"sub": "alice"}, ("sub",), "alice", id="a name"),
    pytest.param({"realm": {"tenant": "acme"}}, ("realm", "tenant"), "acme", id="a path"),
    pytest.param({"a.b": "acme"}, ("a.b",), "acme", id="a name with a dot"),
    pytest.param({"a": {"b": {"c": {"d": "x"}}}}, tuple("abcd"), "x", id="a deep path"),
    pytest.param({}, ("sub",), None, id="no claim"),
    pytest.param({"sub": ""}, ("sub",), None, id="empty"),
    pytest.param({"sub": 1}, ("sub",), None, id="a number"),
    pytest.param({"sub": True}, ("sub",), None, id="true"),
    pytest.param({"sub": None}, ("sub",), None, id="null"),
    pytest.param({"sub": ["alice"]}, ("sub",), None, id="a list"),
    pytest.param({"sub": {"sub": "alice"}}, ("sub",), None, id="an object"),
    pytest.param({"sub": "alice"}, ("sub", "x"), None, id="a path into text"),
    pytest.param({"sub": ["alice"]}, ("sub", "0"), None, id="a path into a list"),
]


@pytest.mark.parametrize(("found", "path", "value"), PATHS)
def test_only_text_is_an_id(found: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    """
    A path leads through objects to text; anything else is no ID.
    """
    assert follow_path(found, path) == value


ANYTHING = verifier()


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"[A-Za-z0-9_-]{0,40}=?\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"),
    )
)
def test_any_text_is_refused_and_nothing_more(token: str) -> None:
    """
    No text that is not signed makes any other error than a refusal.
    """
    assert refusal(token, ANYTHING)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SMALL = ed_key("small")
BY_SMALL = verifier(keys_of(jwk_of(SMALL, "k1"), algorithm="EdDSA"), algorithm="EdDSA")


@given(
    st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub"]), JSON),
    st.dictionaries(st.sampled_from(["kid", "typ", "crit", "jwk", "jku", "alg", "cty"]), JSON),
)
def test_any_signed_claims_are_believed_or_refused(
    found: dict[str, Any], header: dict[str, Any]
) -> None:
    """
    Claims and headers of any type, signed by the right key, make no other error than a refusal.
    """
    try:
        believed = BY_SMALL.verify_token(sign(SMALL, claims() | found, header))
    except TokenRefused:
        return
    assert believed["iss"] == ISSUER


@given(st.integers(0, 400), st.sampled_from("AZaz09-_=.%\n é"))
def test_a_token_with_another_character_is_refused(place: int, letter: str) -> None:
    """
    A token of which any one character is another is refused, unless it means the same bytes.
    """
    token = sign(SMALL, claims(iat=NOW, exp=NOW + 60), kid="k1")
    by = verifier(
        keys_of(jwk_of(SMALL, "k1"), algorithm="EdDSA"), algorithm="EdDSA", clock=lambda: NOW
    )
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    # The last character of a signature has bits that mean nothing.
    if changed == token or place == len(token) - 1:
        return
    assert refusal(changed, by)

"""
Keys out of a JWKS or PEM: only public keys of the algorithm, strong enough and few enough.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt import get_algorithm_by_name

from assertions.minting import (
    ec_key,
    ed_key,
    jwk_of,
    jwks_of,
    pem_of,
    private_pem_of,
    rsa_key,
)
from idlanyard.signing._assertions.keys import (
    Keys,
    KeysUnusable,
    read_answer,
    read_key_set,
    read_pem,
)

OURS = rsa_key("ours")
GOOD = jwk_of(OURS, "good")
WEAK = rsa_key("weak", 1024)
_N = int("c" * 512, 16) | 1


def odd_rsa(bits: int, exponent: int) -> dict[str, Any]:
    """
    Return an RSA key that nobody has a private key of.
    """
    key = RSAPublicNumbers(exponent, (1 << bits) - 1 | 1).public_key()
    return {**get_algorithm_by_name("RS256").to_jwk(key, as_dict=True), "kid": "odd"}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(jwk_of(ec_key("ours"), "odd"), id="EC"),
        pytest.param(jwk_of(ed_key("ours"), "odd"), id="OKP"),
        pytest.param({"kty": "oct", "k": "AAAA", "kid": "odd"}, id="a secret"),
        pytest.param(jwk_of(OURS, "odd", use="enc"), id="for encryption"),
        pytest.param(jwk_of(OURS, "odd", alg="RS512"), id="another algorithm"),
        pytest.param(jwk_of(OURS, "../odd"), id="an odd key ID"),
        pytest.param({**GOOD, "kid": 1}, id="a number for a key ID"),
        pytest.param(jwk_of(OURS, "odd", n=1), id="a number for a modulus"),
        pytest.param(jwk_of(OURS, "odd", n=""), id="no modulus"),
        pytest.param(jwk_of(OURS, "odd", e="AQAA!"), id="no base64"),
        pytest.param({"kty": "RSA", "kid": "odd", "x5c": ["AAAA"]}, id="a certificate only"),
        pytest.param(jwk_of(WEAK, "odd"), id="1,024 bits"),
        pytest.param(odd_rsa(16384, 65537), id="16,384 bits"),
        pytest.param(odd_rsa(2048, (1 << 2000) + 1), id="a huge exponent"),
        pytest.param({}, id="empty"),
        pytest.param([], id="a list"),
        pytest.param("key", id="text"),
        pytest.param(None, id="null"),
    ],
)
def test_a_key_that_does_not_fit_is_ignored(other: Any) -> None:
    """
    The keys of a set that fit are used, whatever stands beside them; alone, the others are none.
    """
    found = read_key_set(jwks_of(other, GOOD), "RS256")
    assert (len(found), found.has("good"), found.find("odd")) == (1, True, ())
    with pytest.raises(KeysUnusable, match="no public key for RS256"):
        read_key_set(jwks_of(other), "RS256")


def test_the_curve_is_that_of_the_algorithm() -> None:
    """
    A key on another curve than the algorithm's is none, from a key set or in PEM.
    """
    other = ec_key("ours 384", SECP384R1)
    with pytest.raises(KeysUnusable):
        read_key_set(jwks_of(jwk_of(other, "k1")), "ES256")
    with pytest.raises(KeysUnusable, match="no public key for ES256"):
        read_pem(pem_of(other), "ES256")


def test_a_private_key_in_a_key_set_is_read_as_public() -> None:
    """
    The private members of a JWK by mistake are not looked at.
    """
    shown = get_algorithm_by_name("RS256").to_jwk(OURS, as_dict=True)
    assert "d" in shown
    (key,) = read_key_set(jwks_of(shown), "RS256").find(None)
    assert not hasattr(key, "sign")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param([], "no key set", id="a list"),
        pytest.param({}, "no key set", id="no keys"),
        pytest.param({"keys": {}}, "no key set", id="an object of keys"),
        pytest.param({"keys": "x"}, "no key set", id="text for keys"),
        pytest.param({"keys": []}, "no public key for RS256", id="no key"),
        pytest.param({"keys": [GOOD] * 101}, "more than 100 keys", id="101 keys"),
    ],
)
def test_a_key_set_is_one(data: Any, why: str) -> None:
    """
    Anything but an object with a list of at most 100 keys is no key set.
    """
    with pytest.raises(KeysUnusable, match=why):
        read_key_set(data, "RS256")
    with pytest.raises(KeysUnusable, match=why):
        read_answer(json.dumps(data).encode(), "RS256")


def test_few_keys_without_an_id_are_tried(caplog: pytest.LogCaptureFixture) -> None:
    """
    A token costs at most four signatures, and of two keys with one ID the first counts; each key
    that fits and is not used is said once.
    """
    bare = [jwk_of(rsa_key(f"bare {n}")) for n in range(6)]
    assert len(read_key_set(jwks_of(*bare), "RS256").find("any")) == 4
    again = read_key_set(jwks_of(GOOD, jwk_of(rsa_key("bare 0"), "good")), "RS256")
    for _ in range(2):
        read_key_set(jwks_of(GOOD, GOOD, jwk_of(OURS, "../odd")), "RS256")
    assert [record.getMessage() for record in caplog.records] == [
        f"idlanyard: a key set (JWKS) has {fault}"
        for fault in (
            "more than 4 keys without an ID (kid), the rest is not used",
            "two keys with one key ID (kid), of which the first is used",
            "a key with an unusual key ID (kid), which is not used",
        )
    ]
    (key,) = again.find("good")
    assert key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() == pem_of(
        OURS
    )


def test_keys_that_are_added_push_out_the_oldest() -> None:
    """
    Keys that are fetched one by one are at most 100, too.
    """
    key = read_pem(pem_of(OURS), "RS256")
    keys = Keys()
    for number in range(101):
        keys = keys.add(f"k{number}", key)
    assert (len(keys), keys.has("k0"), keys.has("k1"), keys.has("k100")) == (100, False, True, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no public key in PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
        ("\xe9", "no public key in PEM"),
        (private_pem_of(OURS), "a private key"),
        (pem_of(ec_key("ours")), "no public key for RS256"),
        (pem_of(WEAK), "no public key for RS256"),
    ],
)
def test_pem_is_a_public_key(text: str, why: str) -> None:
    """
    Anything but a public key for the algorithm is refused, with the reason.
    """
    with pytest.raises(KeysUnusable, match=why):
        read_pem(text, "RS256")


def test_an_answer_is_a_key_set_or_pem() -> None:
    """
    Both forms are read, whatever the server calls them.
    """
    assert read_answer(json.dumps(jwks_of(GOOD)).encode(), "RS256").has("good")
    assert len(read_answer(pem_of(OURS).encode(), "RS256").find("any")) == 1


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b'{"keys":' * 100_000]))
def test_any_other_answer_is_refused_and_nothing_more(data: bytes) -> None:
    """
    No bytes of a key server make any other error.
    """
    with pytest.raises(KeysUnusable):
        read_answer(data, "RS256")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*"kty n e"]), inner)
    ),
    max_leaves=5,
)
MEMBERS = st.sampled_from(["kty", "crv", "n", "e", "x", "y", "d", "kid", "use", "alg", "k"])
VALUES = JSON | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "AQAB", "sig", "ES256"])


@given(st.lists(st.dictionaries(MEMBERS, VALUES), max_size=3))
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_any_key_set_is_read_or_refused(algorithm: str, entries: list[Any]) -> None:
    """
    No members of a JWK make any other error.
    """
    try:
        assert len(read_key_set({"keys": entries}, algorithm)) > 0
    except KeysUnusable:
        pass

"""
``Keys``: the public keys of one algorithm, read from a JWKS or from PEM text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from idlanyard import _failures
from idlanyard.signing._assertions.tokens import is_key_id

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MOST_KEYS: Final = 100
"""
The most keys of one set.
"""

MOST_UNNAMED: Final = 4
"""
The most keys without an ID: each of them is tried on a token, which takes time.
"""

_CURVES: Final = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}
_RSA_BITS: Final = range(2048, 8193)
_MOST_EXPONENT_BITS: Final = 32


class Kind(NamedTuple):
    """
    The kind of key that an algorithm needs, in the words of a JWK.

    Attributes:
        kty: the type of the key.
        crv: its curve, or ``None`` for RSA.
        members: the members that make the public key; any other is ignored.
    """

    kty: str
    crv: str | None
    members: tuple[str, ...]


_RSA: Final = Kind("RSA", None, ("kty", "n", "e"))
_EC: Final = ("kty", "crv", "x", "y")

ALGORITHMS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    "ES256": Kind("EC", "P-256", _EC),
    "ES384": Kind("EC", "P-384", _EC),
    "ES512": Kind("EC", "P-521", _EC),
    "EdDSA": Kind("OKP", "Ed25519", ("kty", "crv", "x")),
}
"""
The algorithms of signatures, none of which takes a shared secret.
"""


class KeysUnusable(Exception):
    """
    There is no key to verify a signature with; the message says why.
    """


class NoKeyFits(KeysUnusable):
    """
    There are keys in the usual form, and none of them is one for the algorithm.
    """


class Keys:
    """
    The public keys of one algorithm.

    Args:
        named: the keys by key ID.
        unnamed: the keys that have none.
    """

    __slots__ = ("_named", "_unnamed")

    def __init__(
        self, named: Mapping[str, PublicKey] | None = None, unnamed: Iterable[PublicKey] = ()
    ) -> None:
        self._named = dict(named or {})
        self._unnamed = tuple(unnamed)

    def __len__(self) -> int:
        return len(self._named) + len(self._unnamed)

    def has(self, kid: str | None) -> bool:
        """
        Return whether a key has this ID.
        """
        return kid in self._named

    def find(self, kid: str | None) -> tuple[PublicKey, ...]:
        """
        Return the keys that may have signed a token, by its key ID.
        """
        if kid is not None and kid in self._named:
            return (self._named[kid],)
        if self._unnamed:
            return self._unnamed
        return tuple(self._named.values()) if kid is None and len(self._named) == 1 else ()

    def add(self, kid: str, key: PublicKey) -> Keys:
        """
        Return these keys and another one; the oldest leaves if there are too many.
        """
        named = {**self._named, kid: key}
        if len(named) > MOST_KEYS:
            del named[next(iter(named))]
        return Keys(named)

    def remove(self, kid: str) -> Keys:
        """
        Return these keys without the one of an ID.
        """
        return Keys({name: key for name, key in self._named.items() if name != kid})


def read_key_set(data: object, algorithm: str) -> Keys:
    """
    Return the keys of a JWKS that fit *algorithm*; the others are ignored.

    Raises:
        NoKeyFits: there is no public key for the algorithm in it.
        KeysUnusable: the data are no JWKS.
    """
    found: object = (
        cast("Mapping[str, object]", data).get("keys") if isinstance(data, Mapping) else None
    )
    if not isinstance(found, list | tuple):
        raise KeysUnusable("no key set (JWKS)")
    entries = cast("list[object]", found)
    if len(entries) > MOST_KEYS:
        raise KeysUnusable(f"more than {MOST_KEYS} keys")
    named: dict[str, PublicKey] = {}
    unnamed: list[PublicKey] = []
    for kid, key in _read_entries(entries, algorithm):
        if kid is None:
            unnamed.append(key)
        elif not is_key_id(kid):
            _warn_dropped("a key with an unusual key ID (kid), which is not used")
        elif kid in named:
            _warn_dropped("two keys with one key ID (kid), of which the first is used")
        else:
            named[kid] = key
    if not named and not unnamed:
        raise NoKeyFits(f"no public key for {algorithm}")
    if len(unnamed) > MOST_UNNAMED:
        _warn_dropped(f"more than {MOST_UNNAMED} keys without an ID (kid), the rest is not used")
    return Keys(named, unnamed[:MOST_UNNAMED])


def _warn_dropped(fault: str) -> None:
    _failures.warn_once(f"a key set has {fault}", "idlanyard: a key set (JWKS) has %s", fault)


def _read_entries(entries: Iterable[object], algorithm: str) -> Iterator[tuple[object, PublicKey]]:
    """
    Yield the key IDs and the keys that fit *algorithm*.
    """
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        jwk = cast("Mapping[str, Any]", entry)
        key = _read_jwk(jwk, algorithm)
        if key is not None:
            yield jwk.get("kid"), key


def _read_jwk(entry: Mapping[str, Any], algorithm: str) -> PublicKey | None:
    kind = ALGORITHMS[algorithm]
    public = {name: entry.get(name) for name in kind.members}
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    if public["kty"] != kind.kty or public.get("crv") != kind.crv:
        return None
    if not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        # Only of its public members, so that neither a certificate nor a URL in it is read.
        key = jwt.PyJWK(public, algorithm).key
    except Exception:
        # cryptography and PyJWT have many errors for a key that is none.
        return None
    return _accept_key(key, algorithm)


def read_pem(text: str | bytes, algorithm: str) -> PublicKey:
    """
    Return the public key in PEM text.

    Raises:
        NoKeyFits: the key is none for *algorithm*.
        KeysUnusable: there is no public key in it.
    """
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    if b"PRIVATE KEY-----" in data:
        raise KeysUnusable("a private key, and only its public key verifies")
    if data.count(b"-----BEGIN") > 1:
        # Only the first one would be read.
        raise KeysUnusable("several keys in one text, which go into a list of texts")
    try:
        key = _accept_key(load_pem_public_key(data), algorithm)
    except Exception:
        raise KeysUnusable("no public key in PEM") from None
    if key is None:
        raise NoKeyFits(f"no public key for {algorithm}")
    return key


def _accept_key(key: object, algorithm: str) -> PublicKey | None:
    """
    Return the key if it is one for *algorithm*, is strong enough, and verifies quickly.
    """
    kind = ALGORITHMS[algorithm]
    if isinstance(key, RSAPublicKey):
        exponent = key.public_numbers().e
        is_sound = key.key_size in _RSA_BITS and exponent.bit_length() <= _MOST_EXPONENT_BITS
        return key if kind is _RSA and is_sound else None
    if isinstance(key, EllipticCurvePublicKey):
        return key if key.curve.name == _CURVES.get(kind.crv or "") else None
    return key if isinstance(key, Ed25519PublicKey) and kind.crv == "Ed25519" else None


def read_answer(data: bytes, algorithm: str) -> Keys:
    """
    Return the keys in an answer of a key server: a JWKS, or one key in PEM.

    Raises:
        NoKeyFits: there are keys, and none for *algorithm*.
        KeysUnusable: there are none.
    """
    if data.lstrip().startswith(b"-----BEGIN"):
        return Keys(unnamed=[read_pem(data, algorithm)])
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise KeysUnusable("no JSON") from None
    return read_key_set(found, algorithm)

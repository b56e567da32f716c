"""
Keys and tokens as an issuer makes them, and as a forger would.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt import PyJWS, get_algorithm_by_name

PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

ISSUER = "https://login.example"
AUDIENCE = "https://api.example"


@cache
def rsa_key(name: str, bits: int = 2048) -> RSAPrivateKey:
    """
    Return the same key for the same name.
    """
    return generate_rsa_key(65537, bits)


@cache
def ec_key(name: str, curve: type[EllipticCurve] = SECP256R1) -> EllipticCurvePrivateKey:
    """
    Return the same key for the same name.
    """
    return generate_private_key(curve())


@cache
def ed_key(name: str) -> Ed25519PrivateKey:
    """
    Return the same key for the same name.
    """
    return Ed25519PrivateKey.generate()


def algorithm_of(key: PrivateKey) -> str:
    """
    Return the usual algorithm of a key.
    """
    if isinstance(key, RSAPrivateKey):
        return "RS256"
    if isinstance(key, Ed25519PrivateKey):
        return "EdDSA"
    return "ES384" if isinstance(key.curve, SECP384R1) else "ES256"


def jwk_of(key: PrivateKey, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """
    Return the public key as a JWK.
    """
    shown: dict[str, Any] = get_algorithm_by_name(algorithm_of(key)).to_jwk(
        key.public_key(), as_dict=True
    )
    shown.pop("key_ops", None)
    return shown | ({"kid": kid} if kid else {}) | more


def jwks_of(*keys: dict[str, Any]) -> dict[str, Any]:
    """
    Return a key set.
    """
    return {"keys": list(keys)}


def pem_of(key: PrivateKey) -> str:
    """
    Return the public key in PEM.
    """
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem_of(key: PrivateKey) -> str:
    """
    Return the private key in PEM, which is given by mistake at times.
    """
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def claims(**changed: Any) -> dict[str, Any]:
    """
    Return good claims, changed; ``None`` leaves one out.
    """
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300}
    return {name: value for name, value in (good | changed).items() if value is not None}


def encode(data: bytes, *, padded: bool = False) -> str:
    """
    Return a part of a token.
    """
    text = urlsafe_b64encode(data).decode()
    return text if padded else text.rstrip("=")


def sign(
    key: PrivateKey,
    payload: dict[str, Any] | bytes,
    header: dict[str, Any] | bytes = b"",
    *,
    kid: str | None = "k1",
    padded: bool = False,
) -> str:
    """
    Return a token whose parts are signed as they are, however odd.
    """
    algorithm = algorithm_of(key)
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    if not isinstance(header, bytes) or not header:
        usual = {"alg": algorithm, "typ": "JWT"} | ({"kid": kid} if kid else {})
        header = json.dumps(usual | (header or {})).encode()
    signed = f"{encode(header, padded=padded)}.{encode(payload, padded=padded)}"
    signature = PyJWS().get_algorithm_by_name(algorithm).sign(signed.encode(), key)
    return f"{signed}.{encode(signature, padded=padded)}"

"""
What a verified bearer token costs, in process, as ratios to PyJWT's own decode.

    python benchmarks/verified_bearer.py [--quick] [--processes 3]

Every ratio compares lanes of one interleaved run on tokens that no lane has
seen before; the median over several processes counts. Needs the extra ``jwt``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from processes import run_in_processes

from idlanyard import Header, Policy, get_user_id, user_spec
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.signing import Assertion

Ratios = dict[str, float]

ISSUER = "https://login.example"
AUDIENCE = "https://api.example"
MAKERS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: generate_rsa_key(65537, 2048),
    "ES256": lambda: generate_ec_key(SECP256R1()),
    "EdDSA": Ed25519PrivateKey.generate,
}
TARGETS: dict[str, tuple[str, float]] = {
    f"{algorithm}: request / PyJWT's decode": ("<=", 1.3) for algorithm in MAKERS
}
# Tokens of one slice.
SLICE = 8


def mint_tokens(key: Any, algorithm: str) -> Iterator[str]:
    """
    Yield tokens, each with a user of its own.
    """
    number = 0
    while True:
        number += 1
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"user-{number}",
            "iat": int(time.time()),
            "exp": int(time.time()) + 600,
            "scope": "read write",
        }
        yield jwt.encode(claims, key, algorithm)


class Lanes:
    """
    PyJWT's decode, and the middleware with a verified bearer and without one.

    Args:
        algorithm: the algorithm of the signatures.
    """

    def __init__(self, algorithm: str) -> None:
        key = MAKERS[algorithm]()
        public = key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.algorithm, self.public = algorithm, public
        self.tokens = mint_tokens(key, algorithm)
        self.assertion = Assertion.bearer(
            issuer=ISSUER, audience=AUDIENCE, keys=pem, algorithm=algorithm
        )
        self.users: list[str | None] = []
        self.verifying = self._make(self.assertion.claim("sub"))
        self.plain = self._make(Header("X-User-ID"))

    def _make(self, source: Header) -> SessionContextMiddleware:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.users.append(get_user_id())

        return SessionContextMiddleware(app, Policy(user=user_spec(sources=[source])))

    def ask(self, middleware: SessionContextMiddleware, token: str) -> None:
        """
        Serve one request with a token.
        """
        headers = [
            (b"host", b"api.example"),
            (b"accept", b"application/json"),
            (b"authorization", f"Bearer {token}".encode()),
        ]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        try:
            middleware(scope, None, None).send(None)
        except StopIteration:
            pass

    def decode(self, token: str) -> str:
        """
        Return the user of a token as PyJWT verifies it.
        """
        claims = jwt.decode(
            token, self.public, algorithms=[self.algorithm], issuer=ISSUER, audience=AUDIENCE
        )
        user: str = claims["sub"]
        return user

    def measure(self, rounds: int) -> float:
        """
        Return what the verified bearer adds to a request, over PyJWT's decode of it.
        """
        lanes: list[Callable[[str], object]] = [
            self.decode,
            lambda token: self.ask(self.verifying, token),
            lambda token: self.ask(self.plain, token),
        ]
        times: list[list[float]] = [[], [], []]
        for number in range(rounds):
            for lane in (*range(number % 3, 3), *range(number % 3)):
                tokens = [next(self.tokens) for _ in range(SLICE)]
                begun = time.process_time_ns()
                for token in tokens:
                    lanes[lane](token)
                times[lane].append(time.process_time_ns() - begun)
                self.users.clear()
        decode, verifying, plain = (statistics.median(lane) for lane in times)
        return (verifying - plain) / decode


def measured(rounds: int) -> Ratios:
    """
    Return every figure of one process.
    """
    return {
        f"{algorithm}: request / PyJWT's decode": Lanes(algorithm).measure(rounds)
        for algorithm in MAKERS
    }


def main() -> None:
    run_in_processes(__file__, __doc__.splitlines()[1], measured, TARGETS, rounds=200)


if __name__ == "__main__":
    main()

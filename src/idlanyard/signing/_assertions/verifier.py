"""
``Verifier``: a token's claims, if everything about the token is as it has to be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar, cast

from jwt import PyJWS

from idlanyard._binding.runtime import is_event_loop_running
from idlanyard.signing._assertions.key_source import KeySource
from idlanyard.signing._assertions.keys import Keys, PublicKey
from idlanyard.signing._assertions.tokens import (
    LONGEST_TOKEN,
    JSONObject,
    TokenParts,
    TokenRefused,
    decode_part,
    parse_object,
    parse_token,
    read_key_id,
    read_time,
)

_MOST_VERIFIED: Final = 256
# One would do for the IDs of one request; threads that wait at the same time need more.
_MOST_REFUSED: Final = 64
_REFUSED_SECONDS: Final = 1.0


@dataclass(frozen=True)
class TokenRules:
    """
    The values that a token has to have.

    Attributes:
        algorithm: the one algorithm of signatures.
        issuer: the exact ``iss``; ``None`` if tokens have none.
        audiences: the audiences, one of which has to be in ``aud``.
        leeway: the seconds by which clocks may differ.
        typ: the ``typ`` of the header in lower case, ``None`` for any.
        signer: the ``signer`` of the header. With it, issuer, audience (as
            ``client``) and times are in the header, as AWS load balancers
            have them; ``None`` for all others.
    """

    algorithm: str
    issuer: str | None
    audiences: frozenset[str]
    leeway: float
    typ: str | None = None
    signer: str | None = None

    def check_header(self, header: JSONObject) -> None:
        """
        Check the algorithm and the other members of a header that need no key.

        Raises:
            TokenRefused: one of them is not as it has to be.
        """
        if header.get("alg") != self.algorithm:
            raise TokenRefused(f"has another algorithm than {self.algorithm}")
        # An extension that is not understood may change the meaning of everything else.
        if "crit" in header or "b64" in header:
            raise TokenRefused("has an extension (crit)")
        if self.typ is not None:
            kind = header.get("typ")
            if not isinstance(kind, str) or kind.lower().removeprefix("application/") != self.typ:
                raise TokenRefused(f"has another type (typ) than {self.typ}")
        if self.signer is not None and header.get("signer") != self.signer:
            raise TokenRefused("has another signer")

    def check_claims(self, header: JSONObject, claims: JSONObject, now: float) -> float:
        """
        Check issuer, audience and times, and return the moment at which the token expires.

        Raises:
            TokenRefused: one of them is not as it has to be.
        """
        stated, audience = (claims, "aud") if self.signer is None else (header, "client")
        if self.issuer is not None and stated.get("iss") != self.issuer:
            raise TokenRefused("has another issuer (iss)")
        if not self._is_meant(stated.get(audience)):
            raise TokenRefused(f"has another audience ({audience})")
        expires = read_time(stated, "exp")
        if expires is None:
            raise TokenRefused("never expires (exp)")
        if now >= expires + self.leeway:
            raise TokenRefused("has expired (exp)")
        for name in ("nbf", "iat"):
            if now + self.leeway < (read_time(stated, name) or 0):
                raise TokenRefused(f"is not valid yet ({name})")
        return expires + self.leeway

    def _is_meant(self, audience: object) -> bool:
        if isinstance(audience, str):
            return audience in self.audiences
        names = cast("list[object]", audience) if isinstance(audience, list) else []
        return all(isinstance(name, str) for name in names) and any(
            name in self.audiences for name in names
        )


class _Verified(NamedTuple):
    keys: Keys
    until: float
    claims: JSONObject


class _Refused(NamedTuple):
    keys: Keys | None
    until: float
    why: str


class Verifier:
    """
    Verifies tokens, and remembers up to 256 that were in order until they expire.

    A token that was refused is remembered for a second: several IDs of one
    request are read out of it, and it is verified, and waited for, once.

    Args:
        rules: the values that a token has to have.
        source: the source of the keys.
        wait: the seconds that a call may wait for keys, if no event loop runs
            in its thread.
        clock: returns the seconds since 1970.
    """

    def __init__(
        self,
        rules: TokenRules,
        source: KeySource,
        *,
        wait: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._source = source
        self._wait = wait
        self._clock = clock
        # Not of the registry of algorithms that the application may change.
        self._algorithm = PyJWS().get_algorithm_by_name(rules.algorithm)
        self._verified: dict[bytes, _Verified] = {}
        self._refused: dict[bytes, _Refused] = {}

    def verify_token(self, token: str) -> JSONObject:
        """
        Return the claims of a token.

        Raises:
            TokenRefused: the token is not believed; the message says why.
        """
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused(f"is longer than {LONGEST_TOKEN} characters")
        digest = sha256(token.encode("utf-8", "replace")).digest()
        keys = self._source.get_keys()
        known = self._verified.get(digest)
        if known is not None and known.keys is keys:
            if self._clock() < known.until:
                return known.claims
            raise TokenRefused("has expired (exp)")
        refused = self._refused.get(digest)
        # A clock that is put back would keep a token refused for longer.
        if (
            refused is not None
            and refused.keys is keys
            and 0 < refused.until - self._clock() <= _REFUSED_SECONDS
        ):
            raise TokenRefused(refused.why)
        try:
            found = self._verify_anew(token)
        except TokenRefused as error:
            refused = _Refused(keys, self._clock() + _REFUSED_SECONDS, str(error))
            _remember_result(self._refused, digest, refused, _MOST_REFUSED)
            raise
        _remember_result(self._verified, digest, found, _MOST_VERIFIED)
        return found.claims

    def _verify_anew(self, token: str) -> _Verified:
        parts = parse_token(token)
        rules, header = self._rules, parts.header
        rules.check_header(header)
        kid = read_key_id(header)
        if rules.signer is not None:
            # Before a key is asked for: invented IDs would use up the keys of each minute.
            rules.check_claims(header, {}, self._clock())
        keys = self._check_signature(parts, kid)
        claims = parse_object(decode_part(parts.payload))
        return _Verified(keys, rules.check_claims(header, claims, self._clock()), claims)

    def _check_signature(self, parts: TokenParts, kid: str | None) -> Keys:
        """
        Return the keys, one of which has signed the token.

        Raises:
            TokenRefused: none of them has.
        """
        keys = self._source.get_keys()
        is_signed = self._try_keys(parts, keys, kid)
        if not is_signed and not (keys is not None and keys.has(kid)):
            self._source.ask_for(kid)
            if self._wait and not is_event_loop_running():
                self._source.wait_for_refresh(self._wait)
                tried, keys = keys, self._source.get_keys()
                is_signed = keys is not tried and self._try_keys(parts, keys, kid)
        if keys is None:
            raise TokenRefused("came before the keys were there")
        if not is_signed:
            known = bool(keys.find(kid))
            raise TokenRefused("has a wrong signature" if known else "names an unknown key (kid)")
        return keys

    def _try_keys(self, parts: TokenParts, keys: Keys | None, kid: str | None) -> bool:
        """
        Return whether one of the keys has signed a token.
        """
        found = keys.find(kid) if keys is not None else ()
        return any(self._is_signed(parts, key) for key in found)

    def _is_signed(self, parts: TokenParts, key: PublicKey) -> bool:
        try:
            return self._algorithm.verify(parts.signed, key, parts.signature)
        except Exception:
            # PyJWT and cryptography have many errors, some of which quote the token.
            return False

    def wait_for_keys(self, seconds: float) -> bool:
        """
        Wait until there are keys, and return whether there are.
        """
        return self._source.wait_for_keys(seconds)

    def open(self) -> None:
        """
        Begin the refreshing of the keys again, if it was ended.
        """
        self._source.open()

    def close(self) -> None:
        """
        End the refreshing of the keys.
        """
        self._source.close()


_Value = TypeVar("_Value", _Verified, _Refused)


def _remember_result(memory: dict[bytes, _Value], digest: bytes, value: _Value, most: int) -> None:
    # Without a lock, which a process that is forked meanwhile would find locked for ever.
    if len(memory) >= most:
        memory.clear()
    memory[digest] = value

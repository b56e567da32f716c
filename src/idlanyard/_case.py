"""
The cases of a request that take a second look: identity that somebody claims,
repeated and nominated headers, sources other than a plain header (R5 to R8).
"""

from __future__ import annotations

import hmac
from typing import Any, Final, NamedTuple

from idlanyard import _events
from idlanyard._claims import HOPS, NOMINATED, REPEATED, STRIP, Claims, Malformed, Pair
from idlanyard._field import Field
from idlanyard._peers import rewritten
from idlanyard._plan import Plan
from idlanyard.ids import Provenance

NOT_UNDERSTOOD: Final = "not understood"
NOBODY: Final = "nobody is trusted"
STRANGER: Final = "the peer is not trusted"
REWRITTEN: Final = "the peer was rewritten"
CONFLATES: Final = "the server lets an alias win"
BELIEVED: Final = ""


class Refusal(NamedTuple):
    """
    Why a request is answered by us.

    Attributes:
        status: 400, 401 or 403 (R8).
        field: the ID.
        reason: in words, never the value.
    """

    status: int
    field: str
    reason: str


class Case:
    """
    One request that takes a second look.

    Attributes:
        strip: whether what we manage leaves the request's headers first.
        kept: lines that were believed and stay all the same.
        elsewhere: whether the last value settled came from another place
            than its own header.
        refusal: why the request is answered by us, the first reason.
        rejected: each ID that was not believed, with the reason.
    """

    __slots__ = (
        "_claims",
        "_plan",
        "_raw",
        "_verdict",
        "elsewhere",
        "kept",
        "refusal",
        "rejected",
        "strip",
    )

    def __init__(self, plan: Plan, claims: Claims, raw: Any) -> None:
        self._plan = plan
        self._claims = claims
        self._raw = raw
        self._verdict: str | None = None
        self.strip = STRIP in claims
        self.kept: list[Pair] = []
        self.elsewhere = False
        self.refusal: Refusal | None = None
        self.rejected: list[tuple[str, str]] = []

    def settle(self, field: Field) -> tuple[Any, Provenance]:
        """
        Return the value of one ID as the wire has it, or ``None``, and its provenance.
        """
        self.elsewhere = False
        claimed = not field.keys.isdisjoint(self._claims)
        value = None
        if claimed and field.needs_proof and self.verdict() != BELIEVED:
            self.rejected.append((field.name, self.verdict()))
        else:
            value = self._read(field)
        self.demand(field, None if value is None else self._plan.decode(value))
        if value is not None:
            self.strip = self.strip or (claimed and (self.elsewhere or not field.forward_key))
            return value, field.provenance
        self.strip = self.strip or claimed
        if field.maker is None:
            return None, field.provenance
        self.elsewhere = True
        return self._plan.encode(field.maker()), Provenance.MINTED

    def demand(self, field: Field, value: str | None) -> None:
        """
        Refuse the request where the ID is required and absent, or does not match it (R8).
        """
        if value is None:
            if field.spec.required:
                self._refuse(401 if field.needs_proof else 400, field, "required and absent")
        elif not self._matches(field, value):
            self._refuse(403, field, "does not match the request")

    def _read(self, field: Field) -> Any:
        """
        Return the first value among the sources that may pass, whole or not at all (R7).
        """
        if any(self._claims.get(key) is NOMINATED for key in field.keys):
            self.rejected.append((field.name, NOMINATED.reason))
            return None
        for key, source in field.sources:
            value, reason = self._line(key, source) if key else self._word(source)
            if reason is None and value is not None:
                reason = field.spec.check.reason(self._plan.decode(value))
                if reason is None:
                    self._note(field, key, value)
                    return value
            if reason is not None:
                self.rejected.append((field.name, reason))
                if field.spec.on_invalid == "reject":
                    self._refuse(400, field, reason)
        return None

    def _note(self, field: Field, key: Any, value: Any) -> None:
        """
        Note where an accepted value stood, and that other headers of the ID go.
        """
        line = self._claims.get(key)
        self.elsewhere = key != field.key or line != value
        if key is not None and self.elsewhere and line == value:
            self.kept.append((key, line))
        self.strip = self.strip or any(k in self._claims for k in field.keys if k != key)

    def _line(self, key: Any, source: Any) -> tuple[Any, str | None]:
        line = self._claims.get(key)
        if isinstance(line, Malformed):
            return None, line.reason
        if not line or source.parse is None:
            return line or None, None
        try:
            parsed = source.parse(self._plan.decode(line))
        except Exception as error:
            _events.failed(f"parse of {source.name}", error)
            parsed = None
        return (self._plan.encode(parsed), None) if parsed else (None, NOT_UNDERSTOOD)

    def _word(self, source: Any) -> tuple[Any, str | None]:
        values = source.read(self._view())
        if len(values) > 1:
            return None, REPEATED.reason
        return (self._plan.encode(values[0]) if values and values[0] else None), None

    def _matches(self, field: Field, value: str) -> bool:
        must_match = field.spec.must_match
        try:
            return must_match is None or bool(must_match(value, self._view()))
        except Exception as error:
            # A check that cannot be made has not been passed.
            _events.failed(f"must_match of {field.name}", error)
            return False

    def _refuse(self, status: int, field: Field, reason: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(status, field.name, reason)

    def _view(self) -> Any:
        return self._plan.wire.view(self._raw, self._plan.policy)

    def verdict(self) -> str:
        """
        Return why the sender may not speak for users and tenants, or ``BELIEVED`` (R6).
        """
        if self._verdict is None:
            self._verdict = self._weigh()
        return self._verdict

    def _weigh(self) -> str:
        policy = self._plan.policy
        if self._plan.secrets and self._knows_a_secret():
            return BELIEVED
        if policy.peers.nobody:
            return STRANGER if self._plan.secrets else NOBODY
        view = self._view()
        if view.conflates and not policy.unsafe_server_ok:
            return CONFLATES
        if policy.peers.everyone:
            return BELIEVED
        peer = view.peer
        if HOPS in self._claims and rewritten(peer, self._claims[HOPS]):
            return REWRITTEN
        return BELIEVED if policy.peers.trusts(peer) else STRANGER

    def _knows_a_secret(self) -> bool:
        given = self._claims.get(self._plan.secret_key)
        if given is None or isinstance(given, Malformed):
            return False
        line = self._plan.decode(given).encode("latin-1", "replace")
        # Every secret is compared, so that the time tells nothing.
        matches = [hmac.compare_digest(line, secret) for secret in self._plan.secrets]
        return any(matches)

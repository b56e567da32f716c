"""
The cases of a request that take a second look: identity that somebody claims,
repeated and nominated headers, sources other than a plain header (R5 to R8).
"""

from __future__ import annotations

import inspect
from typing import Any, Final, NamedTuple

from idlanyard import _failures
from idlanyard._decision.claims import (
    ALIASES,
    GONE,
    HOPS,
    LONE_ALIAS,
    NOMINATED,
    REPEATED,
    Claims,
    Malformed,
)
from idlanyard._decision.plan import Field, Plan
from idlanyard._decision.trust import BELIEVED, judge_sender
from idlanyard._policy.spec import check_of
from idlanyard.ids import Provenance

NOT_UNDERSTOOD: Final = "not understood"
NOT_READ: Final = "its parse function failed"
ABSENT: Final = "required and absent"
UNMATCHED: Final = "does not match the request"
UNKNOWN: Final = "not a known session"


class Refusal(NamedTuple):
    """
    Why a request is answered by us.

    Attributes:
        status: 400, 401 or 403 (R8), or 404 or 503 of an ``Admission``.
        field: the ID.
        reason: in words, never the value.
    """

    status: int
    field: str
    reason: str


class Case:
    """
    One request that takes a second look.

    Args:
        plan: the compiled policy.
        claims: its lines by header.
        raw: the ``scope`` or ``environ``.

    Attributes:
        gone: the keys of headers that leave the request.
        rejected: each ID that was not believed, with the reason.
        elsewhere: whether the last value settled came from another place
            than its own header.
        refusal: why the request is answered by us, the first reason.
    """

    __slots__ = (
        "_claims",
        "_plan",
        "_raw",
        "_verdict",
        "_view",
        "elsewhere",
        "gone",
        "refusal",
        "rejected",
    )

    def __init__(self, plan: Plan, claims: Claims, raw: Any) -> None:
        self._plan = plan
        self._claims = claims
        self._raw = raw
        self.gone: set[Any] = claims.get(GONE, set())
        self.rejected: list[tuple[str, str]] = []
        self._verdict: str | None = None
        self._view: Any = None
        self.elsewhere = False
        self.refusal: Refusal | None = None

    def settle(self, field: Field) -> tuple[Any, Provenance]:
        """
        Return the value of one ID as the wire has it, or ``None``, and its provenance.
        """
        claimed = [key for key in field.keys if key in self._claims]
        if not claimed and not field.keys.isdisjoint(self._claims.get(ALIASES, ())):
            self.rejected.append((field.name, LONE_ALIAS))
        value, key = None, None
        if claimed and field.needs_proof and self._verdict_here() != BELIEVED:
            self.rejected.append((field.name, self._verdict_here()))
        else:
            value, key = self._read(field)
        self.demand(field, None if value is None else self._plan.decode(value))
        how = field.provenance
        if value is None and field.maker is not None:
            value, how = self._plan.encode(field.maker()), Provenance.MINTED
        stays = key == field.key and self._claims.get(key) == value
        self.elsewhere = not stays
        for other in claimed:
            believed = other == key and (stays or other != field.key)
            if other in self._plan.strips and not (believed and field.forward_key is not None):
                self.gone.add(other)
        return value, how

    def _verdict_here(self) -> str:
        if self._verdict is None:
            hops = self._claims.get(HOPS, ())
            self._verdict = judge_sender(self._plan, self._secret(), hops, self._raw)
        return self._verdict

    def _secret(self) -> Any:
        """
        Return the shared secret's line; of one that is no value, a value that nobody has.
        """
        given = self._claims.get(self._plan.secret_key)
        return self._plan.encode("") if isinstance(given, Malformed) else given

    def demand(self, field: Field, value: str | None) -> None:
        """
        Refuse the request where the ID is required and absent, or does not match it (R8).
        """
        if value is None:
            if field.spec.required:
                self._refuse(401 if field.needs_proof else 400, field, ABSENT)
        elif not self._matches(field, value):
            self._refuse(403, field, UNMATCHED)

    def _read(self, field: Field) -> tuple[Any, Any]:
        """
        Return the first value that may pass, whole or not at all (R7), and its header's key.
        """
        if any(self._claims.get(key) is NOMINATED for key in field.keys):
            self.rejected.append((field.name, NOMINATED.reason))
            return None, None
        for key, source in field.sources:
            value, reason = self._word(source) if key is None else self._line(key, source)
            if reason is None and value is not None:
                reason = check_of(field.spec).reason(self._plan.decode(value))
                if reason is None:
                    return value, key
            if reason is not None:
                self.rejected.append((field.name, reason))
                if field.spec.on_invalid == "reject":
                    self._refuse(400, field, reason)
        return None, None

    def _line(self, key: Any, source: Any) -> tuple[Any, str | None]:
        line = self._claims.get(key)
        if isinstance(line, Malformed):
            return None, line.reason
        if not line or source.parse is None:
            return line or None, None
        try:
            parsed = source.parse(self._plan.decode(line))
        except Exception as error:
            _failures.report_failure(f"parse of {source.name}", error)
            return None, NOT_READ
        return (self._plan.encode(parsed), None) if parsed else (None, NOT_UNDERSTOOD)

    def _word(self, source: Any) -> tuple[Any, str | None]:
        values = source.read(self._request())
        if len(values) > 1:
            return None, REPEATED.reason
        return (self._plan.encode(values[0]) if values and values[0] else None), None

    def _matches(self, field: Field, value: str) -> bool:
        must_match = field.spec.must_match
        try:
            return must_match is None or _is_fit(must_match(value, self._request()))
        except Exception as error:
            # A check that cannot be made has not been passed.
            _failures.report_failure(f"must_match of {field.name}", error)
            return False

    def _refuse(self, status: int, field: Field, reason: str) -> None:
        if (field.name, reason) not in self.rejected:
            self.rejected.append((field.name, reason))
        if self.refusal is None:
            self.refusal = Refusal(status, field.name, reason)

    def _request(self) -> Any:
        """
        Return the read-only view of the request, one for all who ask.
        """
        if self._view is None:
            self._view = self._plan.wire.view(self._raw, self._plan.policy)
        return self._view


def _is_fit(answer: object) -> bool:
    if inspect.iscoroutine(answer):
        # What a plain function may return as well; it is always true.
        answer.close()
        raise TypeError("must_match is not awaited: let it return True or False")
    return bool(answer)

"""
The one decision: which IDs a request has, which of its headers the application
sees, and whether it is refused. Pure: no I/O and no framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from idlanyard import _failures
from idlanyard._binding.snapshot import NO_ECHO
from idlanyard._binding.state import RequestIDs, apply_delta, forced, make_request_ids
from idlanyard._decision.claims import NAMED_BY_CONNECTION, REPEATED, Claims, LazyRequest
from idlanyard._decision.compiled_spec import NOT_VERIFIED, CompiledSpec
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.protocols import Pair
from idlanyard._decision.trust import TRUSTED, judge_sender
from idlanyard._policy.callables import call_reader, hide_text
from idlanyard._policy.spec import check_of
from idlanyard.ids import Provenance

LONE_ALIAS: Final = "only an alias of the header is there"
NOT_UNDERSTOOD: Final = "not understood"
PARSE_FAILED: Final = "its parse function failed"
NOT_SIGNED: Final = "not minted by this service"
VERIFY_FAILED: Final = "its verify function failed"
ABSENT: Final = "required and absent"
UNMATCHED: Final = "does not match the request"
UNKNOWN: Final = "not a known session"


class Refusal(NamedTuple):
    """
    The reason for which the middleware answers a request itself.

    Attributes:
        status: 400, 401 or 403; for an ``Admission`` also 404 or 503.
        field: the name of the ID.
        reason: in words, never the value.
    """

    status: int
    field: str
    reason: str


Rejection: TypeAlias = tuple[str, str]
"""
The name of an ID that was not accepted, and the reason.
"""

Edits: TypeAlias = tuple[Collection[Any], list[Pair]]
"""
The changes to a request's headers: the names of those that are removed, in every
spelling, and the pairs that are added after that.
"""

Place: TypeAlias = tuple[int, Any]
"""
The ``id`` of a function that verifies a header, and the header's key.
"""

Outcomes: TypeAlias = Mapping[Place, Callable[[str], object]]
"""
The functions that were awaited before the decision: each by its place, as a plain
function that returns or raises the outcome.
"""

NO_OUTCOMES: Final[Outcomes] = {}

Resolution: TypeAlias = tuple[RequestIDs, Edits | None, Refusal | None, Sequence[Rejection]]
"""
The IDs of the request with the echo for its response; the changes to its headers,
or ``None``; the refusal, or ``None``; and each ID that was not accepted. A plain
tuple, for speed.
"""


def resolve(
    plan: CompiledPolicy,
    lines: Sequence[Pair],
    raw: Any,
    outer: RequestIDs | None = None,
    outcomes: Outcomes = NO_OUTCOMES,
) -> Resolution:
    """
    Decide which IDs one request has.

    Args:
        plan: the compiled policy.
        lines: the headers of the request in order, as the protocol spells them; only
            those that the plan watches are looked at.
        raw: the ``scope`` or ``environ``, read only where needed.
        outer: the IDs that a middleware around this one has bound for the
            request, and which it then has, or ``None``.
        outcomes: the outcomes of the functions that were awaited.
    """
    if outer is not None:
        return _resolve_nested(plan, lines, raw, outer)
    if plan.may_exclude and plan.excludes(raw):
        return _exclude_request(plan)
    case = Case(plan, [pair for pair in lines if pair[0] in plan.watched], raw, outcomes)
    values = plan.blank.copy()
    echo: list[Pair] = []
    added: list[Pair] = []
    for spec in case.specs:
        value, provenance, is_new = case.settle_id(spec)
        if value is None:
            continue
        values[spec.index] = plan.decode(value)
        values[spec.provenance_index] = provenance
        if spec.echo_name is not None:
            echo.append((spec.echo_name, value))
        if is_new and spec.forward_key is not None:
            added.append((spec.forward_key, value))
    case.keep_shown()
    inner = RequestIDs()
    inner.values, inner.echo = (*values,), echo
    inner.policy, inner.open, inner.binary = plan.policy, True, plan.binary
    if plan.cookie is not None:
        plan.cookie.note_arrival(inner, raw)
        echo += plan.cookie.make_lines(inner, inner.values)
    edits = (case.removed, added) if case.removed or added else None
    refusal = case.refusals[0] if case.refusals else None
    return force_ids(plan, (inner, edits, refusal, case.rejected), case.refusals)


def find_open_ids(held: object) -> RequestIDs | None:
    """
    Return the IDs of a middleware around this one, if its request is still going on.

    Args:
        held: the value that the request has under this package's key.
    """
    return held if isinstance(held, RequestIDs) and held.open else None


def _exclude_request(plan: CompiledPolicy) -> Resolution:
    """
    Return the resolution of a request for which nothing is bound.
    """
    inner = make_request_ids(plan.policy, {}, binary=plan.binary)
    inner.echo = NO_ECHO
    return force_ids(plan, (inner, (plan.removable, []), None, ()))


def force_ids(
    plan: CompiledPolicy, resolution: Resolution, refusals: Sequence[Refusal] = ()
) -> Resolution:
    """
    Return a resolution with the IDs of ``idlanyard.testing.override``, if there are any.

    Args:
        plan: the compiled policy.
        resolution: the resolution without them.
        refusals: every reason to refuse the request, of which those about other IDs are left.
    """
    inner, _, _, rejected = resolution
    ids = {name: entry for block in [*forced] for name, entry in block.items()}
    delta = {name: entry for name, entry in ids.items() if name in plan.policy.index}
    if not delta:
        return resolution
    inner.values = apply_delta(inner.values, delta, plan.policy)
    inner.echo = None
    refusal = next((one for one in refusals if one.field not in delta), None)
    return inner, (plan.removable, plan.forward_pairs(inner.values)), refusal, rejected


def _resolve_nested(
    plan: CompiledPolicy, lines: Sequence[Pair], raw: Any, outer: RequestIDs
) -> Resolution:
    """
    Return the resolution of a request that has the IDs of *outer*.

    A middleware inside another one adds its own demands and nothing else. After
    the edits, the headers that it manages show the values of *outer*.
    """
    request = LazyRequest(plan, raw)
    effective = list(plan.blank)
    refusals: list[Refusal] = []
    for spec in plan.specs:
        value, provenance = outer.look_up(spec.name)
        if value is not None and spec.accepts(provenance):
            effective[spec.index] = value
        refusal = check_required(spec, effective[spec.index], request)
        if refusal is not None:
            refusals.append(refusal)
    pairs = plan.forward_pairs(tuple(effective))
    shown = [pair for pair in lines if pair[0] in plan.removable]
    edits = None if sorted(shown) == sorted(pairs) else (plan.removable, pairs)
    rejected = [(refusal.field, refusal.reason) for refusal in refusals]
    return outer, edits, refusals[0] if refusals else None, rejected


class Case:
    """
    A request that raises a question: an identity that may have to be refused, a header
    that is there twice or is named by ``Connection``, a source that is no plain header.

    Args:
        plan: the compiled policy.
        found: the headers of the request that the plan watches.
        raw: the ``scope`` or ``environ``.
        outcomes: the outcomes of the functions that were awaited.

    Attributes:
        specs: the IDs that the request may have.
        removed: the headers that are removed from the request, in every spelling.
        rejected: each ID that was not accepted, with the reason.
        refusals: each reason to refuse the request, of which the first is the answer.
    """

    __slots__ = (
        "_claims",
        "_outcomes",
        "_plan",
        "_request",
        "_shown",
        "_verdict",
        "refusals",
        "rejected",
        "removed",
        "specs",
    )

    def __init__(
        self, plan: CompiledPolicy, found: list[Pair], raw: Any, outcomes: Outcomes = NO_OUTCOMES
    ) -> None:
        self._plan = plan
        self._outcomes = outcomes
        self._claims = claims = Claims(plan, found)
        self._request = LazyRequest(plan, raw)
        self._verdict: str | None = None
        self._shown: set[Any] = set()
        self.specs = claims.specs
        self.removed = claims.removed
        self.rejected: list[Rejection] = []
        self.refusals: list[Refusal] = []

    def settle_id(self, spec: CompiledSpec) -> tuple[Any, Provenance, bool]:
        """
        Return one ID as the protocol spells it, or ``None``; its provenance; and
        whether it differs from what the request's own header for it says.
        """
        plan, claims = self._plan, self._claims
        claimed = [key for key in spec.keys if key in claims.values]
        if not claimed and not spec.keys.isdisjoint(claims.aliases):
            self.rejected.append((spec.name, LONE_ALIAS))
        value, source = None, None
        if claimed and spec.needs_sender and self._judge_sender() != TRUSTED:
            self.rejected.append((spec.name, self._judge_sender()))
        else:
            value, source = self._read_sources(spec)
            if spec.unproven and claimed and self._is_contradicted(spec, value):
                self.rejected.append((spec.name, spec.unproven))
        text = value.decode() if plan.binary and value is not None else value
        refusal = check_required(spec, text, self._request)
        if refusal is not None:
            self._refuse(refusal)
        provenance = spec.provenance
        if value is None and spec.mint is not None:
            value, provenance = plan.encode(spec.mint()), Provenance.MINTED
        is_unchanged = source == spec.key and claims.values[source] == value
        for key in claimed:
            shows = key == source and (is_unchanged or key != spec.key)
            if key not in plan.removable:
                continue
            if shows and spec.forward_key is not None:
                self._shown.add(key)
            else:
                self.removed |= plan.spellings[key]
        return value, provenance, not is_unchanged

    def keep_shown(self) -> None:
        """
        Keep a header in which one of several IDs was found, whatever becomes of the others.
        """
        self.removed -= self._shown

    def find_verified(self, spec: CompiledSpec) -> Iterator[tuple[Any, Any, Any]]:
        """
        Yield the key and the line of each header that is verified for an ID, and its source.
        """
        claims = self._claims
        if NAMED_BY_CONNECTION in map(claims.faults.get, spec.keys):
            return
        for key, header in spec.sources:
            line = claims.values.get(key)
            if line and not (spec.needs_sender and self._judge_sender() != TRUSTED):
                yield key, line, header

    def _is_contradicted(self, spec: CompiledSpec, value: Any) -> bool:
        """
        Return whether a header that is there says another ID than the sources, which prove it
        by themselves.
        """
        if value is None:
            return all(name != spec.name for name, _ in self.rejected)
        own = self._claims.values.get(spec.key)
        is_source = any(key == spec.key for key, _ in spec.sources)
        return not is_source and own is not None and own != value

    def _judge_sender(self) -> str:
        if self._verdict is None:
            plan, claims = self._plan, self._claims
            secret = claims.values.get(plan.secret_key)
            if plan.secret_key in claims.faults:
                # Nobody has the empty secret; None would say that there is no header.
                secret = plan.encode("")
            self._verdict = judge_sender(plan, secret, self._request.raw)
        return self._verdict

    def _read_sources(self, spec: CompiledSpec) -> tuple[Any, Any]:
        """
        Return the first valid value and the key of its header, ``None`` for each if there is none.
        """
        if NAMED_BY_CONNECTION in map(self._claims.faults.get, spec.keys):
            self.rejected.append((spec.name, NAMED_BY_CONNECTION))
            return None, None
        is_unverified = False
        for key, source in spec.sources:
            value, reason = self._read(key, source)
            if reason is None and value is not None:
                if spec.fits(value):
                    return value, key
                reason = check_of(spec.rules).reason(self._plan.decode(value)) or NOT_SIGNED
            if reason == NOT_VERIFIED:
                # Another source may verify the same line: with other keys, or another claim.
                is_unverified = True
            elif reason is not None:
                self._reject(spec, reason)
        if is_unverified:
            self._reject(spec, NOT_VERIFIED)
        return None, None

    def _reject(self, spec: CompiledSpec, reason: str) -> None:
        self.rejected.append((spec.name, reason))
        if spec.rules.on_invalid == "reject":
            self._refuse(Refusal(400, spec.name, reason))

    def _read(self, key: Any, source: Any) -> tuple[Any, str | None]:
        """
        Return the value of one source, or ``None``, and the reason why it cannot be used.
        """
        if key is None:
            try:
                values = source.read(self._request.view())
            except Exception as error:
                _failures.report_failure(f"read of {source!r}", error, shown=hide_text(error))
                return None, PARSE_FAILED
            if len(values) > 1:
                return None, REPEATED
            return (self._plan.encode(values[0]) if values and values[0] else None), None
        value = self._claims.values.get(key)
        if not value or source.reader is None:
            return value or None, self._claims.faults.get(key)
        is_verified = source.verify is not None
        reader = source.reader
        if self._outcomes:
            reader = self._outcomes.get((id(reader), key), reader)
        try:
            text = call_reader(reader, self._plan.decode(value))
        except Exception as error:
            # A local variable with the error would keep the request until the garbage collector
            # comes, since the traceback has this frame.
            if is_verified:
                _failures.report_failure(f"verify of {source.name}", hide_text(error))
                return None, VERIFY_FAILED
            _failures.report_failure(f"parse of {source.name}", error, shown=hide_text(error))
            return None, PARSE_FAILED
        if text is None:
            return None, NOT_VERIFIED if is_verified else NOT_UNDERSTOOD
        return self._plan.encode(text), None

    def _refuse(self, refusal: Refusal) -> None:
        rejection = (refusal.field, refusal.reason)
        if rejection not in self.rejected:
            self.rejected.append(rejection)
        self.refusals.append(refusal)


def check_required(spec: CompiledSpec, value: str | None, request: LazyRequest) -> Refusal | None:
    """
    Return the refusal if the ID is required and absent, or does not match the request.
    """
    if value is None:
        status = 401 if spec.needs_proof else 400
        return Refusal(status, spec.name, ABSENT) if spec.rules.required else None
    return None if _matches(spec, value, request) else Refusal(403, spec.name, UNMATCHED)


def _matches(spec: CompiledSpec, value: str, request: LazyRequest) -> bool:
    must_match = spec.rules.must_match
    try:
        return must_match is None or _is_true(must_match(value, request.view()))
    except Exception as error:
        # A check that fails has not been passed.
        _failures.report_failure(f"must_match of {spec.name}", error)
        return False


def _is_true(answer: object) -> bool:
    if inspect.iscoroutine(answer):
        # A plain function may return one as well, and it is always true.
        answer.close()
        raise TypeError("must_match is not awaited: let it return True or False")
    return bool(answer)

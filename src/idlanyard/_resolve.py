"""
The one place that decides: which IDs a request has, what the application may
see of its headers, and whether it is refused (R5 to R8). No I/O, no
framework; hostile input is data.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from idlanyard._binding import Scope, changed, forced, new_scope, scope_here
from idlanyard._case import BELIEVED, Case, Refusal, weigh
from idlanyard._claims import GONE, NO_CLAIMS, Pair, claims_of
from idlanyard._plan import Plan
from idlanyard.ids import Provenance

Edits: TypeAlias = tuple[list[Any], list[Pair]]
"""
What changes in the request's headers: the keys of those that go, under any
spelling, and the pairs that are added then.
"""

Resolution: TypeAlias = tuple[Scope, Edits | None, Refusal | None, list[tuple[str, str]]]
"""
The new scope, open, with the pairs that the response is to carry; the edits of
the request's headers, or ``None``; the refusal, or ``None``; and each ID that
was not believed, with the reason. A plain tuple, for speed.
"""

_new_scope: Final = Scope.__new__
_MINTED: Final = Provenance.MINTED


def resolve(plan: Plan, found: list[Pair], raw: Any) -> Resolution:
    """
    Decide what one request has.

    Args:
        plan: the compiled policy.
        found: the lines of the request that the plan watches, in order, as
            the protocol spells them.
        raw: the ``scope`` or ``environ``, looked at only where needed.
    """
    if plan.partial and plan.leaves_out(raw):
        return _forced(plan, new_scope(plan.policy, {}), (list(plan.strips), []), None, [])
    claims, fields = claims_of(plan, found) if found else (NO_CLAIMS, plan.always)
    gone: list[Any] = claims[GONE] if GONE in claims else []
    added: list[Pair] = []
    echo: list[Pair] = []
    rejected: list[tuple[str, str]] = []
    verdict: str | None = None
    case: Case | None = None
    values = [*plan.blank]
    width, binary, text_type = plan.width, plan.binary, plan.wire.text
    for field in fields:
        value: Any = claims.get(field.key)
        here = True
        if value is None and field.simple_maker is not None:
            text, how, here = field.simple_maker(), _MINTED, False
            value = text.encode() if binary else text
        elif field.simple and value.__class__ is text_type and field.fits(value):
            if field.needs_proof:
                if verdict is None:
                    verdict = weigh(plan, claims, raw)
                if verdict != BELIEVED:
                    rejected.append((field.name, verdict))
                    gone.append(field.key)
                    continue
            how = field.provenance
            text = value.decode() if binary else value
        else:
            case = case or Case(plan, claims, raw, gone, rejected)
            value, how = case.settle(field)
            if value is None:
                continue
            text, here = plan.decode(value), not case.elsewhere
        values[field.index] = text
        values[width + field.index] = how
        if field.echo_name is not None:
            echo.append((field.echo_name, value))
        if not here and field.forward_key is not None:
            added.append((field.forward_key, value))
    # Plain stores into slots cost half of what an __init__ would.
    scope = _new_scope(Scope)
    scope.values = tuple(values)
    scope.policy = plan.policy
    scope.echo = echo
    scope.open = True
    edits = (gone, added) if gone or added else None
    refusal = None if case is None else case.refusal
    if forced:
        return _forced(plan, scope, edits, refusal, rejected)
    return scope, edits, refusal, rejected


def _forced(
    plan: Plan,
    scope: Scope,
    edits: Edits | None,
    refusal: Refusal | None,
    rejected: list[tuple[str, str]],
) -> Resolution:
    """
    Apply what ``idlanyard.testing.override`` has forced, if anything.
    """
    delta = {name: entry for name, entry in forced.items() if name in plan.policy.index}
    if not delta:
        return scope, edits, refusal, rejected
    scope.values = changed(scope.values, delta, plan.policy)
    scope.echo = None
    if refusal is not None and refusal.field in delta:
        refusal = None
    return scope, (list(plan.strips), plan.forward_pairs(scope.values)), refusal, rejected


def enclosing(plan: Plan, found: list[Pair]) -> Scope | None:
    """
    Return the open scope bound here if the request carries exactly its session ID (R15).
    """
    scope = scope_here()
    if scope is None or not scope.open:
        return None
    session, _ = scope.look_up("session_id")
    given = [plan.decode(value) for key, value in found if key == plan.session_key]
    return scope if session is not None and given == [session] else None


def resolve_nested(
    plan: Plan, found: list[Pair], scope: Scope, raw: Any
) -> tuple[Edits | None, Refusal | None]:
    """
    Decide what a middleware inside another one adds: its own demands, no more (R15).

    Args:
        plan: the inner middleware's policy.
        found: the lines it watches.
        scope: the open scope of the outer one.
        raw: the ``scope`` or ``environ``.

    Returns:
        The edits of the request's headers, so that what this policy manages
        shows the scope's values, or ``None``; and the refusal, or ``None``.
    """
    case = Case(plan, NO_CLAIMS, raw, [], [])
    effective = list(plan.blank)
    for field in plan.fields:
        value, how = scope.look_up(field.name)
        if value is not None and (not field.needs_proof or (how is not None and how.proven)):
            effective[field.index] = value
        case.demand(field, effective[field.index])
    pairs = plan.forward_pairs(tuple(effective))
    lines = [pair for pair in found if plan.lines[pair[0]][0] in plan.strips]
    edits = None if sorted(lines) == sorted(pairs) else (list(plan.strips), pairs)
    return edits, case.refusal

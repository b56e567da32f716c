"""
The one place that decides: which IDs a request has, what the application may
see of its headers, and whether it is refused (R5 to R8). No I/O, no
framework; hostile input is data.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from idlanyard._binding import Scope, changed, forced, scope_here
from idlanyard._case import BELIEVED, Case, Refusal
from idlanyard._claims import NO_CLAIMS, STRIP, Pair, claims_of
from idlanyard._plan import Plan
from idlanyard._snapshot import Values
from idlanyard.ids import Provenance

Edits: TypeAlias = tuple[bool, list[Pair]]
"""
What changes in the request's headers: whether every spelling of what we manage
goes first, and what is added then.
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
        return _forced(plan, _scope(plan, plan.blank, []), (True, []), None, [])
    claims = claims_of(plan, found) if found else NO_CLAIMS
    case = Case(plan, claims, raw) if STRIP in claims else None
    width, text_type = plan.width, plan.wire.text
    values = list(plan.blank)
    echo: list[Pair] = []
    kept: list[Pair] = []
    added: list[Pair] = []
    for field in plan.fields_of(claims) if claims else plan.always:
        shown = kept
        value = claims.get(field.key)
        if value is None and field.simple_maker is not None:
            value, how, shown = plan.encode(field.simple_maker()), _MINTED, added
        elif (
            value.__class__ is text_type
            and field.simply_read
            and field.fits(value)
            and (
                not field.needs_proof
                or (case := case or Case(plan, claims, raw)).verdict() == BELIEVED
            )
        ):
            how = field.provenance
        else:
            case = case or Case(plan, claims, raw)
            value, how = case.settle(field)
            if value is None:
                continue
            shown = added if case.elsewhere else kept
        values[field.index] = plan.decode(value)
        values[width + field.index] = how
        if field.echo_name is not None:
            echo.append((field.echo_name, value))
        if field.forward_key is not None:
            shown.append((field.forward_key, value))
    scope = _scope(plan, tuple(values), echo)
    edits = (False, added) if added else None
    if case is None:
        return _forced(plan, scope, edits, None, []) if forced else (scope, edits, None, [])
    if case.strip:
        edits = True, [*kept, *case.kept, *added]
    resolution = scope, edits, case.refusal, case.rejected
    return _forced(plan, *resolution) if forced else resolution


def _scope(plan: Plan, values: Values, echo: list[Pair]) -> Scope:
    # Plain stores into slots cost half of what an __init__ would.
    scope = _new_scope(Scope)
    scope.values = values
    scope.policy = plan.policy
    scope.echo = echo
    scope.open = True
    return scope


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
    return scope, (True, plan.forward_pairs(scope.values)), refusal, rejected


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
    case = Case(plan, NO_CLAIMS, raw)
    effective = list(plan.blank)
    for field in plan.fields:
        value, how = scope.look_up(field.name)
        if value is not None and (not field.needs_proof or (how is not None and how.proven)):
            effective[field.index] = value
        case.demand(field, effective[field.index])
    pairs = plan.forward_pairs(tuple(effective))
    shown = [pair for pair in found if pair[0] in plan.strips]
    edits = None if sorted(shown) == sorted(pairs) else (True, pairs)
    return edits, case.refusal

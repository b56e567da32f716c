"""
The one place that decides: which IDs a request has, what the application may
see of its headers, and whether it is refused (R5 to R8). No I/O, no
framework; hostile input is data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, TypeAlias

from idlanyard._binding.snapshot import NO_ECHO
from idlanyard._binding.state import (
    RequestIDs,
    apply_delta,
    find_request_ids,
    forced,
    make_request_ids,
)
from idlanyard._decision.case import Case, Refusal
from idlanyard._decision.claims import Pair, claims_of
from idlanyard._decision.plan import CONNECTION, HOP, Field, Plan
from idlanyard._decision.protocols import ASGI_KEY, WSGI, WSGI_KEY
from idlanyard._decision.trust import BELIEVED, judge_sender
from idlanyard.ids import Provenance

Rejection: TypeAlias = tuple[str, str]
Edits: TypeAlias = tuple[Collection[Any], list[Pair]]
"""
What changes in the request's headers: the keys of those that go, under any
spelling, and the pairs that are added then.
"""

Resolution: TypeAlias = tuple[RequestIDs, Edits | None, Refusal | None, Sequence[Rejection]]
"""
The new scope, open, with the pairs that the response is to carry; the edits of
the request's headers, or ``None``; the refusal, or ``None``; and each ID that
was not believed, with the reason. A plain tuple, for speed.
"""

_new_request_ids: Final = RequestIDs.__new__
_MINTED: Final = Provenance.MINTED
_NOTHING: Final[dict[Field, Any]] = {}


def resolve(  # noqa: C901, PLR0912 - one frame, since every request passes here
    plan: Plan, found: list[Pair], raw: Any
) -> Resolution:
    """
    Decide what one request has.

    This is the short way, for requests about which there is no question:
    each ID stands once in its own header, fits, and needs nothing but proof,
    or is not there. As soon as there is one, ``decide`` answers; both answer
    the same wherever this one does.

    Args:
        plan: the compiled policy.
        found: the lines of the request that the plan watches, in order, as
            the protocol spells them.
        raw: the ``scope`` or ``environ``, looked at only where needed.
    """
    if plan.partial or forced:
        return decide(plan, found, raw)
    taken = _NOTHING
    hops: list[Pair] = []
    if found:
        taken = {}
        for spelling, value in found:
            field = plan.simple.get(spelling)
            if field is None:
                kind = plan.lines[spelling][1]
                if kind == HOP:
                    hops.append((spelling, value))
                elif kind != CONNECTION or value not in plan.harmless:
                    return decide(plan, found, raw)
            elif field in taken or not field.fits(value):
                return decide(plan, found, raw)
            else:
                taken[field] = value
    values, width, binary = [*plan.blank], plan.width, plan.binary
    echo: list[Pair] = []
    added: list[Pair] = []
    gone: tuple[Any, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    verdict: str | None = None
    for field, value in taken.items():
        if field.needs_proof:
            if verdict is None:
                verdict = judge_sender(plan, None, hops, raw)
            if verdict is not BELIEVED:
                rejected = (*rejected, (field.name, verdict))
                gone = (*gone, field.key)
                continue
        values[field.index] = value.decode() if binary else value
        values[width + field.index] = field.provenance
        if field.echo_name is not None:
            echo.append((field.echo_name, value))
    for field in plan.always:
        if field not in taken:
            if field.simple_maker is None:
                return decide(plan, found, raw)
            values[field.index] = text = field.simple_maker()
            values[width + field.index] = _MINTED
            pair = (field.key, text.encode() if binary else text)
            if field.forward_key is not None:
                added.append(pair)
            if field.echo_name is not None:
                echo.append(pair if binary else (field.echo_name, text))
    # Plain stores into slots cost half of what an __init__ would.
    inner = _new_request_ids(RequestIDs)
    inner.values = tuple(values)
    inner.policy = plan.policy
    inner.echo = echo
    inner.open = True
    inner.binary = binary
    return inner, ((gone, added) if gone or added else None), None, rejected


def decide(plan: Plan, found: list[Pair], raw: Any) -> Resolution:
    """
    Decide what one request has, whatever it is like: see ``resolve``.
    """
    if plan.partial and plan.leaves_out(raw):
        inner = make_request_ids(plan.policy, {}, binary=plan.binary)
        inner.echo = NO_ECHO
        return _forced(plan, inner, (plan.strips, []), None, [])
    claims, fields = claims_of(plan, found)
    case = Case(plan, claims, raw)
    values = [*plan.blank]
    echo: list[Pair] = []
    added: list[Pair] = []
    for field in fields:
        value, how = case.settle(field)
        if value is not None:
            values[field.index] = plan.decode(value)
            values[plan.width + field.index] = how
            if field.echo_name is not None:
                echo.append((field.echo_name, value))
            if case.elsewhere and field.forward_key is not None:
                added.append((field.forward_key, value))
    inner = make_request_ids(plan.policy, {}, binary=plan.binary)
    inner.values, inner.echo = tuple(values), echo
    edits = (case.gone, added) if case.gone or added else None
    return _forced(plan, inner, edits, case.refusal, case.rejected)


def _forced(
    plan: Plan,
    inner: RequestIDs,
    edits: Edits | None,
    refusal: Refusal | None,
    rejected: Sequence[Rejection],
) -> Resolution:
    """
    Apply what ``idlanyard.testing.override`` has forced, if anything.
    """
    ids = {name: entry for block in [*forced] for name, entry in block.items()}
    delta = {name: entry for name, entry in ids.items() if name in plan.policy.index}
    if not delta:
        return inner, edits, refusal, rejected
    inner.values = apply_delta(inner.values, delta, plan.policy)
    inner.echo = None
    if refusal is not None and refusal.field in delta:
        refusal = None
    return inner, (plan.strips, plan.forward_pairs(inner.values)), refusal, rejected


def find_open(held: object) -> RequestIDs | None:
    """
    Return the scope of a middleware around this one, if its request is still going on.

    Args:
        held: what the request holds under our key.
    """
    return held if isinstance(held, RequestIDs) and held.open else None


def find_enclosing(plan: Plan, environ: Any) -> RequestIDs | None:
    """
    Return the scope of a middleware around this WSGI application, if any.

    Args:
        plan: the inner middleware's policy.
        environ: the request.
    """
    # a2wsgi 1.10 hands the ASGI scope over.
    adapted: Any = environ.get("asgi.scope") or {}
    held: object = adapted.get(ASGI_KEY)
    return find_open(environ.get(WSGI_KEY)) or find_open(held) or find_across_adapter(plan, environ)


def find_across_adapter(plan: Plan, environ: Any) -> RequestIDs | None:
    """
    Return the scope of an ASGI middleware around an adapter that runs this WSGI application.

    Adapters drop our key. The Context alone proves nothing, since connections,
    pools and calls in process share it: the scope bound here is the request's
    only if every managed header of the request is what that scope forwards.

    Args:
        plan: the inner middleware's policy.
        environ: the request.
    """
    inner = find_request_ids()
    if inner is None or not inner.open or not inner.binary:
        return None
    expected: dict[str, str | None] = dict.fromkeys(plan.strips)
    for spec in inner.policy.specs.values():
        value, _ = inner.look_up(spec.name)
        expected[WSGI.key(spec.header)] = value if spec.forward else None
    if not any(expected.values()):
        return None
    same = all(environ.get(key) == value for key, value in expected.items())
    return inner if same else None


def resolve_nested(
    plan: Plan, found: list[Pair], inner: RequestIDs, raw: Any
) -> tuple[Edits | None, Refusal | None, Sequence[Rejection]]:
    """
    Decide what a middleware inside another one adds: its own demands, no more (R15).

    Args:
        plan: the inner middleware's policy.
        found: the lines it watches.
        inner: the IDs of the request, as the outer one has bound them.
        raw: the ``scope`` or ``environ``.

    Returns:
        The edits of the request's headers, so that what this policy manages
        shows the scope's values, or ``None``; the refusal, or ``None``; and
        each ID that is refused, with the reason.
    """
    case = Case(plan, {}, raw)
    effective = list(plan.blank)
    for field in plan.fields:
        value, how = inner.look_up(field.name)
        if value is not None and (not field.needs_proof or (how is not None and how.proven)):
            effective[field.index] = value
        case.demand(field, effective[field.index])
    pairs = plan.forward_pairs(tuple(effective))
    lines = [pair for pair in found if plan.lines[pair[0]][0] in plan.strips]
    edits = None if sorted(lines) == sorted(pairs) else (plan.strips, pairs)
    return edits, case.refusal, case.rejected

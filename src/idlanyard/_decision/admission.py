"""
Whether a request's session is known, asked after ``resolve`` and before
anything is bound, and what follows from the answer.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from idlanyard._binding.functions import is_awaited
from idlanyard._binding.state import RequestIDs, apply_delta
from idlanyard._decision.case import UNKNOWN, Refusal
from idlanyard._decision.known_sessions import Answer
from idlanyard._decision.plan import Plan
from idlanyard._decision.reporting import report
from idlanyard._decision.resolve import Edits
from idlanyard._policy.admission import Admission
from idlanyard._policy.checked import CheckedPolicy
from idlanyard.exceptions import PolicyError
from idlanyard.ids import Provenance

Admitted: TypeAlias = tuple[Edits | None, Refusal | None]

UNANSWERED: Final = "whether it is known cannot be told just now"
_OURS: Final = (None, Provenance.MINTED, Provenance.CODE)


def check_waits(policy: CheckedPolicy) -> None:
    """
    Refuse an ``Admission`` whose function is awaited, where nothing can be.

    Raises:
        PolicyError: its calls are awaited.
    """
    if policy.admission is not None and is_awaited(policy.admission.known):
        raise PolicyError.about(
            "admission",
            "has an async function, which WSGI cannot await: write "
            "Admission(registry.exists) with a SessionRegistry",
        )


async def admitted(
    plan: Plan, admission: Admission, raw: Any, inner: RequestIDs, edits: Edits | None
) -> Admitted:
    """
    Ask about the session of one request, on an event loop.

    Args:
        plan: the compiled policy.
        admission: its rules for known sessions.
        raw: the ``scope``.
        inner: what ``resolve`` found; changed where the session is not let in.
        edits: those that ``resolve`` made.

    Returns:
        The edits of the request's headers, and the refusal, or ``None``.
    """
    session = _asked(plan, inner)
    if session is None:
        return edits, None
    answer = await plan.known_sessions.ask_async(session)
    return _follow(plan, admission, raw, inner, edits, answer)


def admitted_waiting(
    plan: Plan, admission: Admission, raw: Any, inner: RequestIDs, edits: Edits | None
) -> Admitted:
    """
    Ask about the session of one request, in its thread: see ``admitted``.
    """
    session = _asked(plan, inner)
    if session is None:
        return edits, None
    return _follow(plan, admission, raw, inner, edits, plan.known_sessions.ask(session))


def _asked(plan: Plan, inner: RequestIDs) -> str | None:
    """
    Return the session ID that somebody else gave the request, if any.
    """
    position = plan.policy.index["session_id"]
    how = inner.values[plan.width + position]
    return None if how in _OURS else inner.values[position]


def _follow(
    plan: Plan,
    admission: Admission,
    raw: Any,
    inner: RequestIDs,
    edits: Edits | None,
    answer: Answer,
) -> Admitted:
    """
    Let the session in, put a fresh one in its place, or refuse the request.
    """
    if answer is True:
        return edits, None
    policy, spec = plan.policy, plan.policy.specs["session_id"]
    reason, choice = UNANSWERED, admission.unavailable
    if answer is False:
        reason, choice = UNKNOWN, admission.unknown
    if choice == "refuse" and answer is None:
        # The session may be a good one: the client keeps it.
        return edits, _refused(plan, raw, inner, 503, reason)
    mints = spec.mint is not None and choice == "mint"
    fresh = (policy.mint("session_id"), Provenance.MINTED) if mints else (None, None)
    inner.values = apply_delta(inner.values, {"session_id": fresh}, policy)
    inner.echo = plan.echo_pairs(inner.values)
    if choice == "refuse":
        return edits, _refused(plan, raw, inner, 404, reason)
    if spec.required:
        return edits, _refused(plan, raw, inner, 400, reason)
    report(plan, raw, inner, [("session_id", reason)])
    return (list(plan.strips), plan.forward_pairs(inner.values)), None


def _refused(plan: Plan, raw: Any, inner: RequestIDs, status: int, reason: str) -> Refusal:
    report(plan, raw, inner, [("session_id", reason)])
    return Refusal(status, "session_id", reason)

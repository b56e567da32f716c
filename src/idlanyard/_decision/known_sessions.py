"""
Known sessions: asks the function of an ``Admission`` about the session that a request
brings, before anything is bound, and applies the answer.
"""

from __future__ import annotations

import inspect
from threading import Lock
from time import monotonic
from typing import Any, Final, TypeAlias

from idlanyard import _failures
from idlanyard._binding.functions import is_awaited
from idlanyard._binding.state import RequestIDs, apply_delta
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.reporting import report_rejections
from idlanyard._decision.resolve import UNKNOWN, Edits, Refusal
from idlanyard._decision.worker_threads import WorkerThreads, is_failure, limit_time
from idlanyard._policy.admission import Admission
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.proofs import Proof, proof_of
from idlanyard._policy.spec import sources_of
from idlanyard.exceptions import PolicyError
from idlanyard.ids import Provenance

Admitted: TypeAlias = tuple[Edits | None, Refusal | None]

UNANSWERED: Final = "the session could not be checked"
_MINTED: Final = (None, Provenance.MINTED)
_THREADS: Final = 16
_ANSWERED: Final = {
    "refuse": "such requests are answered 503",
    "mint": "such requests get a fresh session",
}


def check_sync_admission(policy: CheckedPolicy) -> None:
    """
    Raise an error if the policy's ``Admission`` is async, which no WSGI server can await.

    Raises:
        PolicyError: its function is awaited.
    """
    if policy.admission is not None and is_awaited(policy.admission.known):
        raise PolicyError.about(
            "admission",
            "has an async function, which WSGI cannot await: write "
            "Admission(registry.exists) with a SessionRegistry",
        )


def make_known_sessions(plan: CompiledPolicy) -> KnownSessions | None:
    """
    Return the known sessions of a policy, or ``None`` if it admits any session.
    """
    admission = plan.policy.admission
    return None if admission is None else KnownSessions(plan, admission)


class KnownSessions:
    """
    The sessions that one middleware accepts, with threads of its own for a blocking function.

    Args:
        plan: the compiled policy.
        admission: its rules for known sessions.
    """

    __slots__ = ("_admission", "_lock", "_ours", "_outage", "_plan", "_threads")

    def __init__(self, plan: CompiledPolicy, admission: Admission) -> None:
        self._plan = plan
        self._admission = admission
        # Where the server says the session, code has not set it, and nobody has asked about it.
        says = proof_of(sources_of(plan.policy.specs["session_id"])) is Proof.SERVER
        self._ours = _MINTED if says else (*_MINTED, Provenance.CODE)
        self._threads = WorkerThreads(_THREADS, "idlanyard-admission")
        # The time since when there has been no answer, and the number of requests without one.
        self._outage: tuple[float, int] | None = None
        self._lock = Lock()

    def admit(self, raw: Any, inner: RequestIDs, edits: Edits | None) -> Admitted:
        """
        Admit or refuse the session of one request, in its own thread.

        Args:
            raw: the ``scope`` or ``environ``.
            inner: the IDs of the request; changed if the session is not admitted.
            edits: the changes to the request's headers so far.

        Returns:
            The changes to the request's headers; and the refusal, or ``None``.
        """
        session = self._session_of(inner)
        if session is None:
            return edits, None
        began = monotonic()
        try:
            answer = _check_answer(self._admission.known(session))
        except Exception as error:
            self._report_outage(error)
            return self._apply(None, raw, inner, edits)
        self._report_recovery(began)
        return self._apply(answer, raw, inner, edits)

    async def admit_async(self, raw: Any, inner: RequestIDs, edits: Edits | None) -> Admitted:
        """
        Do the same on an event loop, within the timeout, the wait for a thread included.
        """
        session = self._session_of(inner)
        if session is None:
            return edits, None
        began = monotonic()
        try:
            async with limit_time(self._admission.timeout):
                answer = _check_answer(await self._ask(session))
        except BaseException as error:
            if not is_failure(error):
                raise
            self._report_outage(error)
            return self._apply(None, raw, inner, edits)
        self._report_recovery(began)
        return self._apply(answer, raw, inner, edits)

    async def _ask(self, session: str) -> Any:
        known: Any = self._admission.known
        if is_awaited(known):
            return await known(session)
        answer = await self._threads.run(known, session)
        return await answer if inspect.isawaitable(answer) else answer

    def _session_of(self, inner: RequestIDs) -> str | None:
        """
        Return the session ID if the request brought one; a minted one needs no admission.
        """
        position = self._plan.policy.index["session_id"]
        provenance = inner.values[self._plan.width + position]
        return None if provenance in self._ours else inner.values[position]

    def _apply(
        self, answer: bool | None, raw: Any, inner: RequestIDs, edits: Edits | None
    ) -> Admitted:
        """
        Keep the session, replace it by a fresh one, or refuse the request.
        """
        if answer is True:
            return edits, None
        plan, policy, admission = self._plan, self._plan.policy, self._admission
        spec = policy.specs["session_id"]
        reason, choice = UNANSWERED, admission.unavailable
        if answer is False:
            reason, choice = UNKNOWN, admission.unknown
        if choice == "refuse" and answer is None:
            # The session may be a good one, so the client keeps it.
            return edits, self._refuse(raw, inner, 503, reason)
        is_in_cookie = plan.cookie is not None and plan.cookie.has_brought(inner, raw)
        mints = spec.mint is not None and choice == "mint"
        fresh = (policy.mint("session_id"), Provenance.MINTED) if mints else (None, None)
        inner.values = apply_delta(inner.values, {"session_id": fresh}, policy)
        if answer is None or not is_in_cookie:
            # The session may be a good one, or was that of a header: the client keeps its cookie.
            inner.held = fresh[0]
        inner.echo = plan.echo_pairs(inner)
        if choice == "refuse":
            return edits, self._refuse(raw, inner, 404, reason)
        if spec.required:
            return edits, self._refuse(raw, inner, 400, reason)
        report_rejections(plan, raw, inner, [("session_id", reason)])
        return (plan.removable, plan.forward_pairs(inner.values)), None

    def _refuse(self, raw: Any, inner: RequestIDs, status: int, reason: str) -> Refusal:
        report_rejections(self._plan, raw, inner, [("session_id", reason)])
        return Refusal(status, "session_id", reason)

    def _report_outage(self, error: BaseException) -> None:
        """
        Count a failure, and log the first one of an outage.
        """
        with self._lock:
            is_first = self._outage is None
            since, count = self._outage or (monotonic(), 0)
            self._outage = since, count + 1
        _failures.count_failure("admission", error)
        if is_first:
            _failures.LOGGER.error(
                "idlanyard: Admission cannot ask whether a session is known: %s: %s; %s",
                type(error).__name__,
                _read_first_line(error),
                _ANSWERED[self._admission.unavailable],
                exc_info=error,
            )

    def _report_recovery(self, began: float) -> None:
        """
        Log the end of an outage, if the question that was answered began after the outage.
        """
        with self._lock:
            outage = self._outage
            if outage is None or began < outage[0]:
                return
            self._outage = None
        since, count = outage
        _failures.LOGGER.warning(
            "idlanyard: Admission is answered again, after %.1f seconds and %d requests without",
            monotonic() - since,
            count,
        )


def _check_answer(answer: object) -> bool:
    """
    Return *answer* if it is a bool; a truthy object of another type admits nobody.
    """
    if isinstance(answer, bool):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError(f"Admission's function returned {type(answer).__name__}: return True or False")


def _read_first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]

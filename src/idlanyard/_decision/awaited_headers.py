"""
Awaited headers: calls the async functions that verify headers, before the decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from idlanyard._binding.functions import is_awaited
from idlanyard._binding.state import UNBOUND, bound, forced, reset_binding
from idlanyard._decision.compiled_spec import CompiledSpec
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.protocols import Pair
from idlanyard._decision.resolve import (
    Case,
    Place,
    Resolution,
    resolve,
)
from idlanyard._decision.worker_threads import is_failure
from idlanyard._policy.callables import ReaderError, hide_text
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.sources import Header
from idlanyard._policy.spec import IDSpec, sources_of
from idlanyard.exceptions import PolicyError

LONGEST_LINE: Final = 16384
"""
The most characters of a line that an async function is called with.
"""


def check_sync_headers(
    policy: CheckedPolicy, remedy: str = "write a plain function, as in 'def verify(line):'"
) -> None:
    """
    Raise an error if a header of the policy has an async function, which WSGI cannot await.

    Args:
        policy: the checked options.
        remedy: the end of the message, which says what to write instead.

    Raises:
        PolicyError: the function in ``verify`` is async.
    """
    for spec in policy.specs.values():
        for header in _find_awaited(spec):
            raise PolicyError(
                f"Header({header.name!r}, verify=...) of {spec.name} has an async function, which "
                f"WSGI cannot await: {remedy}",
                option="verify",
                value=header.verify,
            )


def make_awaited_headers(plan: CompiledPolicy) -> AwaitedHeaders | None:
    """
    Return the awaited headers of a policy, or ``None`` if nothing is awaited.
    """
    specs = [spec for spec in plan.specs if _find_awaited(spec.rules)]
    return AwaitedHeaders(plan, specs) if specs else None


def _find_awaited(rules: IDSpec) -> list[Header]:
    """
    Return the headers of an ID whose function is to be awaited.
    """
    headers = [source for source in sources_of(rules) if isinstance(source, Header)]
    return [header for header in headers if header.verify is not None and is_awaited(header.verify)]


class Outcome:
    """
    The outcome of a function that was called before the decision.

    Attributes:
        found: the object that it returned.
        error: the error that it raised instead, without its text, or ``None``.
    """

    __slots__ = ("error", "found")

    def __init__(self, found: object, error: ReaderError | None = None) -> None:
        self.found = found
        self.error = error

    def __call__(self, line: str) -> object:  # noqa: ARG002 - as the function is called
        """
        Return what the function returned, or raise its error.
        """
        if self.error is not None:
            raise self.error
        return self.found


Verified: TypeAlias = Mapping[Place, Outcome]
"""
The outcomes of the functions that were called for one request, each by its place.
"""


def settle_verified(
    plan: CompiledPolicy, lines: Sequence[Pair], raw: Any, outcomes: Verified
) -> Resolution:
    """
    Return the resolution of a request whose headers were verified.
    """
    try:
        inner, edits, refusal, rejected = resolve(plan, lines, raw, outcomes=outcomes)
    finally:
        # The frames of a traceback have the outcomes, which would keep the error, and with it
        # the request, until the garbage collector comes.
        for outcome in outcomes.values():
            outcome.error = None
    unasked = {spec.name for spec in plan.specs if is_forced(spec)}
    return inner, edits, refusal, [told for told in rejected if told[0] not in unasked]


class AwaitedHeaders:
    """
    The headers of a policy whose functions are awaited.

    Args:
        plan: the compiled policy.
        specs: the IDs that such a header is a source of.
    """

    __slots__ = ("_functions", "_plan", "_specs")

    def __init__(self, plan: CompiledPolicy, specs: Sequence[CompiledSpec]) -> None:
        self._plan = plan
        self._specs = specs
        headers = [header for spec in specs for header in _find_awaited(spec.rules)]
        # A callable object need not have a hash.
        self._functions = {id(header.verify) for header in headers}

    async def verify_lines(self, lines: Sequence[Pair], raw: Any) -> Verified:
        """
        Return the outcomes of the functions that verify the headers of one request.

        No function is called for a header that the decision would not read.

        Args:
            lines: the headers of the request, which nobody else changes meanwhile.
            raw: the ``scope`` or ``environ``.
        """
        plan = self._plan
        found = [pair for pair in lines if pair[0] in plan.watched]
        if not found or (plan.may_exclude and plan.excludes(raw)):
            return {}
        case = Case(plan, found, raw)
        outcomes: dict[Place, Outcome] = {}
        # The forced IDs last, so that none of them answers for another one with the same function.
        for spec in sorted(self._specs, key=is_forced):
            await self._verify_spec(case, spec, outcomes)
        return outcomes

    async def _verify_spec(
        self, case: Case, spec: CompiledSpec, outcomes: dict[Place, Outcome]
    ) -> None:
        """
        Add the outcomes for one ID, up to the first function that finds it, plain or async.
        """
        for key, value, header in case.find_verified(spec):
            place = id(header.verify), key
            if place not in outcomes:
                outcomes[place] = await self._ask(spec, header.verify, self._plan.decode(value))
            if self._is_id(spec, outcomes[place].found):
                return

    async def _ask(self, spec: CompiledSpec, verify: Any, line: str) -> Outcome:
        is_awaited = id(verify) in self._functions
        if is_awaited and (len(line) > LONGEST_LINE or is_forced(spec)):
            return Outcome(None)
        return await _call(verify, line, is_awaited=is_awaited)

    def _is_id(self, spec: CompiledSpec, found: object) -> bool:
        return isinstance(found, str) and bool(spec.fits(self._plan.encode(found)))


def is_forced(spec: CompiledSpec) -> bool:
    """
    Return whether ``idlanyard.testing.override`` says the ID, so that nobody is asked about it.
    """
    # Copied, since a block may end in another thread.
    return any(spec.name in block for block in [*forced])


async def _call(verify: Any, line: str, *, is_awaited: bool) -> Outcome:
    """
    Return the outcome of a function, with nothing bound around it.
    """
    # The IDs that are bound here may be another request's, since servers start the requests
    # of a connection in one Context (Kludex/uvicorn#2167).
    token = bound.set(UNBOUND)
    try:
        found = verify(line)
        return Outcome(await found if is_awaited else found)
    except BaseException as error:
        if not is_failure(error):
            raise
        return Outcome(None, hide_text(error))
    finally:
        reset_binding(token)

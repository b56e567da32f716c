"""
The one ContextVar, and the bindings that it holds: the IDs of a request, or an overlay.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final, TypeAlias, cast

from idlanyard._binding.inheritance import INHERITS, InheritedVariable
from idlanyard._binding.runtime import call_after_fork
from idlanyard._binding.snapshot import (
    DEFAULT_POLICY,
    NO_ECHO,
    NO_VALUES,
    SessionContext,
    Values,
    make_snapshot,
)
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.policy import Policy, checked_policy
from idlanyard.ids import Provenance

Delta: TypeAlias = Mapping[str, tuple[str | None, Provenance | None]]


class Unbound:
    """
    The value of the variable where nothing is bound: the environment's IDs are current.
    """

    __slots__ = ()

    values: Final = NO_VALUES
    open: Final = False

    @property
    def policy(self) -> CheckedPolicy:
        """
        The policy given to ``use_policy``, else the default one.
        """
        return _policies[-1][0]

    @property
    def is_over(self) -> bool:
        """
        ``False``: the environment's IDs are those of the whole process.
        """
        return False

    @property
    def inherited(self) -> None:
        """
        ``None``, as there is no binding below.
        """

    def copy_as_own(self) -> Unbound:
        """
        Return this object: there is only one.
        """
        return self

    def look_up(self, name: str) -> tuple[None, None]:  # noqa: ARG002 - as on the other bindings
        """
        Return that the ID is absent.
        """
        return None, None


class RequestIDs:
    """
    The IDs of one request or job: a small mutable object that all its code shares.

    Attributes:
        values: every ID and its provenance; an absent one is absent on purpose.
        policy: the policy that the values were checked by.
        echo: the header pairs of the response; ``None`` if the values have
            changed since they were made, ``NO_ECHO`` if nothing is echoed.
        open: whether the request is still going on.
        binary: whether the request came by ASGI, whose headers are bytes.
        held: the session for which the response sets no cookie, since the
            client has it already; under a policy with a session cookie only.
        begun: ``True`` once the response has begun, under such a policy; else unset.
    """

    __slots__ = ("begun", "binary", "echo", "held", "open", "policy", "values")

    values: Values
    policy: CheckedPolicy
    echo: list[tuple[Any, Any]] | tuple[()] | None
    open: bool
    binary: bool
    held: str | None
    begun: bool

    @property
    def is_over(self) -> bool:
        """
        Whether the request or job is over.
        """
        return not self.open

    @property
    def inherited(self) -> None:
        """
        ``None``, as there is no binding below.
        """

    def copy_as_own(self) -> Overlay:
        """
        Return an overlay that changes nothing.
        """
        return Overlay(self, {})

    def __deepcopy__(self, memo: object) -> RequestIDs:
        """
        Return this object: a deep copy of an ASGI ``scope`` belongs to the same request.
        """
        return self

    def look_up(self, name: str) -> tuple[str | None, Provenance | None]:
        """
        Return an ID and its provenance, ``None`` and ``None`` if it is not declared.
        """
        position = self.policy.index.get(name)
        if position is None:
            return None, None
        return self.values[position], self.values[len(self.policy.names) + position]


class Overlay:
    """
    An immutable layer of changed IDs over those of a request, or over nothing.

    Attributes:
        over: the IDs of the request below, if there is one.
        delta: the IDs that this layer changes; ``None`` hides one.
        unit: outside requests the unit of work that this layer continues;
            ``None`` if it begins one.
        block: the block that made the layer, if one did: a list that is empty
            once the block has been left.
        inherited: if a thread inherited the binding below, that binding, and
            the one that counts once it is over.
    """

    __slots__ = ("_merged", "block", "delta", "inherited", "over", "unit")

    open: Final = False

    inherited: tuple[Binding, Binding] | None

    def __init__(
        self,
        over: RequestIDs | None,
        delta: Delta,
        unit: Binding | None = None,
        block: list[None] | None = None,
    ) -> None:
        self.over = over
        self.delta = delta
        self.unit = unit
        self.block = block
        self.inherited = None
        self._merged: tuple[object, Values] | None = None

    @property
    def is_over(self) -> bool:
        """
        Whether the request, the job or the block is over.
        """
        return (self.over is not None and not self.over.open) or self.block == []

    def copy_as_own(self) -> Overlay:
        """
        Return an equal layer that is another object.
        """
        return Overlay(self.over, self.delta, self.unit or self, self.block)

    def outlive(self, inherited: Binding) -> Overlay:
        """
        Return this layer, which keeps its changes when the *inherited* binding below is over.
        """
        theirs: Delta = getattr(inherited, "delta", {})
        own = {name: it for name, it in self.delta.items() if theirs.get(name) is not it}
        rest = Overlay(None, own, self.unit or self, self.block) if own else UNBOUND
        self.inherited = inherited, rest
        return self

    @property
    def policy(self) -> CheckedPolicy:
        """
        The policy of the request below, or else the one that ``use_policy`` has made current.
        """
        return _policies[-1][0] if self.over is None else self.over.policy

    @property
    def values(self) -> Values:
        """
        The current values of the request below, with the changes of this layer.
        """
        over, merged = self.over, self._merged
        below = _policies[-1] if over is None else over.values
        if merged is None or merged[0] is not below:
            policy = below[0] if over is None else over.policy
            values = NO_VALUES if over is None else below
            merged = self._merged = below, apply_delta(values, self.delta, policy)
        return merged[1]

    def look_up(self, name: str) -> tuple[str | None, Provenance | None]:
        """
        Return an ID and its provenance: as changed by this layer, else as the request has it.
        """
        if name in self.delta:
            return self.delta[name]
        return (None, None) if self.over is None else self.over.look_up(name)


Binding: TypeAlias = Unbound | RequestIDs | Overlay

UNBOUND: Final = Unbound()
_variable: Final[ContextVar[Binding]] = ContextVar("idlanyard", default=UNBOUND)
_inheriting: Final[InheritedVariable[Binding] | None] = (
    InheritedVariable(_variable, UNBOUND) if INHERITS else None
)
bound: Final = cast("ContextVar[Binding]", _inheriting or _variable)
get_binding: Final = bound.get

_policies: Final[list[tuple[CheckedPolicy]]] = [(DEFAULT_POLICY,)]

forced: Final[list[Delta]] = []
"""
The IDs that each open ``idlanyard.testing.override`` forces on every request.
"""


class _Writing:
    """
    The lock that two threads of one request take, so that no change of its IDs is lost.
    """

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        """
        Replace the lock, which another thread may have held at a fork.
        """
        cls.lock = threading.Lock()


call_after_fork(_Writing.renew)


def use_policy(policy: Policy) -> Callable[[], None]:
    """
    Use *policy* outside requests, also for IDs that are bound already.

    Returns:
        A function that undoes this.

    Raises:
        TypeError: *policy* is not a ``Policy``.
    """
    if not isinstance(policy, Policy):
        raise TypeError(
            f"use_policy takes a Policy, not {type(policy).__name__}: write use_policy(Policy(...))"
        )
    # A tuple of its own, so that undo finds this use of a policy that is used twice.
    entry = (checked_policy(policy),)
    _policies.append(entry)

    def undo() -> None:
        _policies[:] = [other for other in _policies if other is not entry]

    return undo


def reset_binding(token: Token[Binding]) -> bool:
    """
    Restore the binding from before; in another Context there is nothing to restore.

    Returns:
        Whether this is the Context in which the binding was set.
    """
    try:
        bound.reset(token)
    except ValueError:
        return False
    return True


def apply_delta(values: Values, delta: Delta, policy: CheckedPolicy) -> Values:
    """
    Return *values* with the changes of *delta*, except for IDs that *policy* does not declare.
    """
    width = len(policy.names)
    flat: list[Any] = list(values) if len(values) == 2 * width else [None] * (2 * width)
    for name, (value, how) in delta.items():
        position = policy.index.get(name)
        if position is not None:
            flat[position], flat[width + position] = value, how
    return tuple(flat)


def make_request_ids(policy: CheckedPolicy, delta: Delta, *, binary: bool = False) -> RequestIDs:
    """
    Return the open ``RequestIDs`` that have the IDs of *delta* and no others.
    """
    request_ids = RequestIDs()
    request_ids.binary = binary
    request_ids.policy = policy
    request_ids.values = apply_delta((), delta, policy)
    request_ids.echo = request_ids.held = None
    request_ids.open = True
    return request_ids


def make_overlay(
    delta: Delta, *, without: frozenset[str] = frozenset(), unit: Binding | None = None
) -> Overlay:
    """
    Return an overlay that adds the changes of *delta* to those that are current.

    Args:
        delta: the IDs that change.
        without: IDs that are changed no longer, so that those of the request
            are current again.
        unit: as in ``Overlay``.
    """
    binding = get_binding()
    merged = dict(binding.delta) if isinstance(binding, Overlay) else {}
    merged.update(delta)
    for name in without:
        merged.pop(name, None)
    layer = Overlay(find_request_ids(), merged, unit, getattr(binding, "block", None))
    inherited = None if _inheriting is None else _inheriting.inherited_below(binding)
    return layer if inherited is None else layer.outlive(inherited)


def find_request_ids() -> RequestIDs | None:
    """
    Return the IDs of the current request or job, if there is one.
    """
    binding = get_binding()
    if isinstance(binding, Overlay):
        return binding.over
    return binding if isinstance(binding, RequestIDs) else None


def find_unit_of_work() -> Binding:
    """
    Return the unit of work that the current code is part of.

    This is the request or the job; outside of them the block that was entered
    last, or ``UNBOUND``.
    """
    binding = get_binding()
    if isinstance(binding, Overlay):
        return binding.over or binding.unit or binding
    return binding


def update_request_ids(request_ids: RequestIDs, delta: Delta) -> None:
    """
    Change the IDs of a request for all its threads and tasks.
    """
    with _Writing.lock:
        request_ids.values = apply_delta(request_ids.values, delta, request_ids.policy)
        if request_ids.echo is not NO_ECHO:
            request_ids.echo = None


def attach_to_error(error: BaseException, request_ids: RequestIDs) -> None:
    """
    Attach the IDs of a request to the exception that left it, for the line that logs it.
    """
    # The class may refuse attributes, as a frozen dataclass does: its __setattr__ is passed by.
    with contextlib.suppress(Exception):
        snapshot = make_snapshot(request_ids.values, request_ids.policy)
        object.__setattr__(error, "_idlanyard", snapshot)


def ids_of_error(error: BaseException) -> SessionContext | None:
    """
    Return the IDs that a middleware has attached to the exception, if any.
    """
    try:
        context: object = object.__getattribute__(error, "_idlanyard")
    except Exception:
        return None
    return context if isinstance(context, SessionContext) else None


_set: Final = object.__setattr__


class RequestContext(SessionContext):
    """
    The IDs of a request as they are now: unlike a snapshot this follows ``identify``.

    Changes that a block makes inside the request are not seen, so that the
    IDs are the same in every task and thread, also outside the request.
    Pickling makes a snapshot.

    Args:
        request_ids: the IDs of the request.
    """

    __slots__ = ("_request_ids",)

    _request_ids: RequestIDs

    def __init__(self, request_ids: RequestIDs) -> None:
        _set(self, "_request_ids", request_ids)

    # The methods of SessionContext read these three, which a snapshot has stored.
    @property
    def _names(self) -> tuple[str, ...]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._request_ids.policy.names

    @property
    def _policy(self) -> CheckedPolicy:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._request_ids.policy

    @property
    def _values(self) -> Values:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._request_ids.values

    def reads_from(self, request_ids: RequestIDs | None) -> bool:
        """
        Return whether these are the IDs of the same request as *request_ids*.
        """
        return self._request_ids is request_ids

    def __hash__(self) -> Any:
        raise TypeError("a request's context changes with identify(): hash get_session_context()")

"""
The one ContextVar, the scope and the overlay: what is bound here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final, TypeAlias, cast

from idlanyard._binding.inheritance import INHERITS, InheritedVariable, call_after_fork
from idlanyard._binding.snapshot import (
    DEFAULT_POLICY,
    NO_ECHO,
    NO_VALUES,
    SessionContext,
    Values,
    make_snapshot,
)
from idlanyard._policy.checked import CheckedPolicy
from idlanyard._policy.policy import Policy, checked_policy
from idlanyard.ids import Provenance

Delta: TypeAlias = Mapping[str, tuple[str | None, Provenance | None]]


class Unbound:
    """
    What the variable holds where nothing is bound: the environment speaks.
    """

    __slots__ = ()

    values: Final = NO_VALUES
    open: Final = False
    ended: Final = False
    beyond: Final = None

    @property
    def policy(self) -> CheckedPolicy:
        """
        The rules given to ``use_policy``.
        """
        return _policies[-1][0]

    def again(self) -> Unbound:
        """
        Return this, of which there is one.
        """
        return self

    def look_up(self, name: str) -> tuple[None, None]:  # noqa: ARG002 - as on the other nodes
        """
        Return that the ID is absent.
        """
        return None, None


class RequestIDs:
    """
    The one small mutable object of a request or a job; its children share it.

    Attributes:
        values: every ID and its provenance; what is absent is so on purpose.
        policy: the rules it was made under.
        echo: what the response is to carry; ``None`` where the values have
            changed since, ``NEVER`` where nothing is echoed.
        open: whether the request is still going on.
        binary: whether the request came by ASGI, whose headers are bytes.
    """

    __slots__ = ("binary", "echo", "open", "policy", "values")

    beyond: Final = None
    values: Values
    policy: CheckedPolicy
    echo: list[tuple[Any, Any]] | tuple[()] | None
    open: bool
    binary: bool

    @property
    def ended(self) -> bool:
        """
        Whether the request or job is over.
        """
        return not self.open

    def again(self) -> Overlay:
        """
        Return a node that says the same and is another.
        """
        return Overlay(self, {})

    def __deepcopy__(self, memo: object) -> RequestIDs:
        """
        Return this: a copy of a request's ``scope`` is of the same request.
        """
        return self

    def look_up(self, name: str) -> tuple[str | None, Provenance | None]:
        """
        Return an ID and its provenance; one that is not declared is absent.
        """
        position = self.policy.index.get(name)
        if position is None:
            return None, None
        return self.values[position], self.values[len(self.policy.names) + position]


class Overlay:
    """
    An immutable layer over a scope, or over nothing.

    Attributes:
        over: the scope below it, if any.
        delta: the fields that were changed here; ``None`` hides one.
        unit: the unit of work that it goes on with, outside requests;
            ``None`` where it begins one.
        block: the block that it was made in, if any: a list, empty once the
            block has been left.
        beyond: what it was made over, and what takes its place when that is
            over, where a thread only inherited it.
    """

    __slots__ = ("_merged", "beyond", "block", "delta", "over", "unit")

    open: Final = False

    beyond: tuple[Binding, Binding] | None

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
        self.beyond = None
        self._merged: tuple[object, Values] | None = None

    @property
    def ended(self) -> bool:
        """
        Whether the request, the job or the block is over.
        """
        return (self.over is not None and not self.over.open) or self.block == []

    def again(self) -> Overlay:
        """
        Return a node that says the same and is another.
        """
        return Overlay(self.over, self.delta, self.unit or self, self.block)

    def alone(self, delta: Delta) -> Overlay:
        """
        Return the layer over nothing.
        """
        return Overlay(None, delta, self.unit or self, self.block)

    @property
    def policy(self) -> CheckedPolicy:
        """
        The scope's rules; where there is none, those in use now, whenever this was made.
        """
        return _policies[-1][0] if self.over is None else self.over.policy

    @property
    def values(self) -> Values:
        """
        The values of the scope below as they are now, with the delta.
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
        Return an ID and its provenance: as changed here, else as the scope below has it.
        """
        if name in self.delta:
            return self.delta[name]
        return (None, None) if self.over is None else self.over.look_up(name)


Binding: TypeAlias = Unbound | RequestIDs | Overlay

UNBOUND: Final = Unbound()
_variable: Final[ContextVar[Binding]] = ContextVar("idlanyard", default=UNBOUND)
_inheriting: Final = InheritedVariable(_variable, UNBOUND) if INHERITS else None
bound: Final = cast("ContextVar[Binding]", _inheriting or _variable)
get_binding: Final = bound.get

_policies: Final[list[tuple[CheckedPolicy]]] = [(DEFAULT_POLICY,)]

forced: Final[list[Delta]] = []
"""
What each open ``idlanyard.testing.override`` lets every request have.
"""


class _Writing:
    """
    One writer at a time, so that no change of a scope is lost.
    """

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()


call_after_fork(_Writing.renew)


def use_policy(policy: Policy) -> Callable[[], None]:
    """
    Make *policy* the one in force outside requests, also for what is bound already.

    Returns:
        A function that takes this back.

    Raises:
        TypeError: it is not a ``Policy``.
    """
    if not isinstance(policy, Policy):
        raise TypeError(
            f"use_policy takes a Policy, not {type(policy).__name__}: write use_policy(Policy(...))"
        )
    # A tuple of its own marks this use, also where one policy is used twice.
    entry = (checked_policy(policy),)
    _policies.append(entry)

    def undo() -> None:
        _policies[:] = [other for other in _policies if other is not entry]

    return undo


def reset_binding(token: Token[Binding]) -> bool:
    """
    Put back what was bound before; in another Context there is nothing to put back.

    Returns:
        Whether this is the Context in which it was bound.
    """
    try:
        bound.reset(token)
    except ValueError:
        return False
    return True


def apply_delta(values: Values, delta: Delta, policy: CheckedPolicy) -> Values:
    """
    Return *values* with the fields of *delta* replaced that the policy declares.
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
    Return an open scope that holds the fields of *delta* and nothing else.
    """
    request_ids = RequestIDs()
    request_ids.binary = binary
    request_ids.policy = policy
    request_ids.values = apply_delta((), delta, policy)
    request_ids.echo = None
    request_ids.open = True
    return request_ids


def make_overlay(
    delta: Delta, *, without: frozenset[str] = frozenset(), unit: Binding | None = None
) -> Overlay:
    """
    Return the layer in force here with *delta* merged and the fields *without* gone.

    Args:
        delta: fields that change.
        without: fields that the scope below answers for again.
        unit: as in ``Overlay``.
    """
    binding = get_binding()
    merged = dict(binding.delta) if isinstance(binding, Overlay) else {}
    merged.update(delta)
    for name in without:
        merged.pop(name, None)
    layer = Overlay(find_request_ids(), merged, unit, getattr(binding, "block", None))
    return layer if _inheriting is None else _inheriting.adopt(layer, binding)


def find_request_ids() -> RequestIDs | None:
    """
    Return the scope that is bound here, under an overlay or by itself.
    """
    binding = get_binding()
    if isinstance(binding, Overlay):
        return binding.over
    return binding if isinstance(binding, RequestIDs) else None


def find_unit_of_work() -> Binding:
    """
    Return the unit of work that this code is part of.

    It is the scope of the request or the job; outside of them the block that
    was entered last, or ``UNBOUND``.
    """
    binding = get_binding()
    if isinstance(binding, Overlay):
        return binding.over or binding.unit or binding
    return binding


def update_request_ids(request_ids: RequestIDs, delta: Delta) -> None:
    """
    Write *delta* into the scope, for everybody who shares it.
    """
    with _Writing.lock:
        request_ids.values = apply_delta(request_ids.values, delta, request_ids.policy)
        if request_ids.echo is not NO_ECHO:
            request_ids.echo = None


def attach_to_error(error: BaseException, request_ids: RequestIDs) -> None:
    """
    Let the exception carry what its request had bound, for the log line.
    """
    # A class may refuse attributes, as a frozen dataclass does: it is not asked.
    with contextlib.suppress(Exception):
        snapshot = make_snapshot(request_ids.values, request_ids.policy)
        object.__setattr__(error, "_idlanyard", snapshot)


def ids_of_error(error: BaseException) -> SessionContext | None:
    """
    Return the snapshot that a middleware has attached, if any.
    """
    try:
        context: object = object.__getattribute__(error, "_idlanyard")
    except Exception:
        return None
    return context if isinstance(context, SessionContext) else None


_set: Final = object.__setattr__


class RequestContext(SessionContext):
    """
    What a request has, read when it is read: unlike a snapshot it follows ``identify``.

    It reads the scope and never an overlay, and so says the same in every
    task and thread, also where nothing is bound. A pickled one is a snapshot.

    Args:
        request_ids: the IDs of the request.
    """

    __slots__ = ("_request_ids",)

    _request_ids: RequestIDs

    def __init__(self, request_ids: RequestIDs) -> None:
        _set(self, "_request_ids", request_ids)

    # These stand in the place of what a snapshot has stored.
    @property
    def _names(self) -> tuple[str, ...]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._request_ids.policy.names

    @property
    def _policy(self) -> CheckedPolicy:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._request_ids.policy

    @property
    def _values(self) -> Values:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._request_ids.values

    def is_of(self, request_ids: RequestIDs | None) -> bool:
        """
        Say whether this is what *scope* has.
        """
        return self._request_ids is request_ids

    def __hash__(self) -> Any:
        raise TypeError("a request's context changes with identify(): hash get_session_context()")

"""
The one ContextVar, the scope and the overlay: what is bound here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final, TypeAlias, cast

from idlanyard._binding.inheritance import INHERITS, InheritedVariable, in_child
from idlanyard._binding.snapshot import (
    DEFAULT_POLICY,
    NEVER,
    NOTHING,
    SessionContext,
    Values,
    snapshot_of,
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

    values: Final = NOTHING
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


class Scope:
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

    def __deepcopy__(self, memo: object) -> Scope:
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

    beyond: tuple[Node, Node] | None

    def __init__(
        self,
        over: Scope | None,
        delta: Delta,
        unit: Node | None = None,
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
            values = NOTHING if over is None else below
            merged = self._merged = below, changed(values, self.delta, policy)
        return merged[1]

    def look_up(self, name: str) -> tuple[str | None, Provenance | None]:
        """
        Return an ID and its provenance: as changed here, else as the scope below has it.
        """
        if name in self.delta:
            return self.delta[name]
        return (None, None) if self.over is None else self.over.look_up(name)


Node: TypeAlias = Unbound | Scope | Overlay

UNBOUND: Final = Unbound()
_variable: Final[ContextVar[Node]] = ContextVar("idlanyard", default=UNBOUND)
_inheriting: Final = InheritedVariable(_variable, UNBOUND) if INHERITS else None
bound: Final = cast("ContextVar[Node]", _inheriting or _variable)
current: Final = bound.get

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


in_child(_Writing.renew)


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


def put_back(token: Token[Node]) -> bool:
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


def changed(values: Values, delta: Delta, policy: CheckedPolicy) -> Values:
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


def new_scope(policy: CheckedPolicy, delta: Delta, *, binary: bool = False) -> Scope:
    """
    Return an open scope that holds the fields of *delta* and nothing else.
    """
    scope = Scope()
    scope.binary = binary
    scope.policy = policy
    scope.values = changed((), delta, policy)
    scope.echo = None
    scope.open = True
    return scope


def overlay(
    delta: Delta, *, without: frozenset[str] = frozenset(), unit: Node | None = None
) -> Overlay:
    """
    Return the layer in force here with *delta* merged and the fields *without* gone.

    Args:
        delta: fields that change.
        without: fields that the scope below answers for again.
        unit: as in ``Overlay``.
    """
    node = current()
    merged = dict(node.delta) if isinstance(node, Overlay) else {}
    merged.update(delta)
    for name in without:
        merged.pop(name, None)
    over = node.over if isinstance(node, Overlay) else node if isinstance(node, Scope) else None
    layer = Overlay(over, merged, unit, getattr(node, "block", None))
    return layer if _inheriting is None else _inheriting.adopt(layer, node)


def scope_here() -> Scope | None:
    """
    Return the scope that is bound here, under an overlay or by itself.
    """
    node = current()
    if isinstance(node, Overlay):
        return node.over
    return node if isinstance(node, Scope) else None


def unit_here() -> Node:
    """
    Return the unit of work that this code is part of.

    It is the scope of the request or the job; outside of them the block that
    was entered last, or ``UNBOUND``.
    """
    node = current()
    if isinstance(node, Overlay):
        return node.over or node.unit or node
    return node


def replace(scope: Scope, delta: Delta) -> None:
    """
    Write *delta* into the scope, for everybody who shares it.
    """
    with _Writing.lock:
        scope.values = changed(scope.values, delta, scope.policy)
        if scope.echo is not NEVER:
            scope.echo = None


def attach(error: BaseException, scope: Scope) -> None:
    """
    Let the exception carry what its request had bound, for the log line.
    """
    # A class may refuse attributes, as a frozen dataclass does: it is not asked.
    with contextlib.suppress(Exception):
        object.__setattr__(error, "_idlanyard", snapshot_of(scope.values, scope.policy))


def carried_by(error: BaseException) -> SessionContext | None:
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
        scope: the request's.
    """

    __slots__ = ("_scope",)

    _scope: Scope

    def __init__(self, scope: Scope) -> None:
        _set(self, "_scope", scope)

    # These stand in the place of what a snapshot has stored.
    @property
    def _names(self) -> tuple[str, ...]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._scope.policy.names

    @property
    def _policy(self) -> CheckedPolicy:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._scope.policy

    @property
    def _values(self) -> Values:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._scope.values

    def is_of(self, scope: Scope | None) -> bool:
        """
        Say whether this is what *scope* has.
        """
        return self._scope is scope

    def __hash__(self) -> Any:
        raise TypeError("a request's context changes with identify(): hash get_session_context()")

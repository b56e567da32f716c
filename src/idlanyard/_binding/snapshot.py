"""
``SessionContext``: the current IDs as an immutable value.
"""

from __future__ import annotations

from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.policy import Policy, checked_policy
from idlanyard._policy.spec import STANDARD
from idlanyard.ids import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Unset(Enum):
    """
    The type of ``UNSET``.
    """

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""
Removes an ID: hides it in a block, and takes it from the request in ``identify``.
"""


Values: TypeAlias = tuple[Any, ...]
"""
The IDs in the order of ``CheckedPolicy.names`` (absent is ``None``), and then the
provenance of each in the same order. One object, so that a change is atomic.
"""

_WIDTH: Final = len(STANDARD)
NO_VALUES: Final[Values] = (None,) * (2 * _WIDTH)
# The echo of a request to an excluded path: no header, also if IDs are identified.
NO_ECHO: Final = ()
_set: Final = object.__setattr__


def merge_tenant_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *given* with ``customer_id`` under its other name, ``tenant_id``.

    Raises:
        TypeError: both are given and differ.
    """
    renamed = dict(given)
    if "customer_id" in renamed:
        customer = renamed.pop("customer_id")
        tenant = renamed.setdefault("tenant_id", customer)
        if customer and tenant and customer != tenant:
            raise TypeError("tenant_id and customer_id name one ID: give one of them")
        renamed["tenant_id"] = tenant or customer
    return renamed


class SessionContext:
    """
    An immutable snapshot of the current IDs.

    IDs are attributes; one that is absent is ``None``. Snapshots are equal
    when their IDs are. ``customer_id`` is another name of ``tenant_id``.

    Args:
        session_id: the session.
        user_id: the user.
        tenant_id: the tenant.
        extra: further IDs by name; ``None``, ``""`` and ``UNSET`` mean absent.

    Raises:
        TypeError: a value is not a ``str``.
        ValueError: a value is not a valid ID.
    """

    __slots__ = ("_names", "_policy", "_values")

    _names: tuple[str, ...]
    _policy: CheckedPolicy
    _values: Values

    def __init__(
        self,
        session_id: str | Unset | None = None,
        user_id: str | Unset | None = None,
        tenant_id: str | Unset | None = None,
        **extra: str | Unset | None,
    ) -> None:
        given = {"session_id": session_id, "user_id": user_id} | extra
        if tenant_id is not None:
            given["tenant_id"] = tenant_id
        given = merge_tenant_names(given)
        names = STANDARD + tuple(name for name in given if name not in STANDARD)
        check = DEFAULT_POLICY.check("session_id")
        ids = [
            None if given.get(name) in (None, "", UNSET) else check.require(name, given[name])
            for name in names
        ]
        hows = [None if value is None else Provenance.CODE for value in ids]
        _set(self, "_names", names)
        _set(self, "_policy", DEFAULT_POLICY)
        _set(self, "_values", (*ids, *hows))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a SessionContext does not change: use session_context or identify")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a SessionContext does not change: use session_context or identify")

    @property
    def session_id(self) -> str | None:
        """
        The session, or ``None``.
        """
        return self.get("session_id")

    @property
    def user_id(self) -> str | None:
        """
        The user, or ``None``.
        """
        return self.get("user_id")

    @property
    def tenant_id(self) -> str | None:
        """
        The tenant, or ``None``.
        """
        return self.get("tenant_id")

    @property
    def customer_id(self) -> str | None:
        """
        The tenant under its other name.
        """
        return self.get("tenant_id")

    def __getattr__(self, name: str) -> str | None:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"no ID is called {name!r}: declare it in Policy(extra=...)")
        return self.get(name)

    def get(self, name: str) -> str | None:
        """
        Return the ID *name*, or ``None`` if it is absent or unknown.
        """
        name = "tenant_id" if name == "customer_id" else name
        return self._values[self._names.index(name)] if name in self._names else None

    def provenance(self, name: str) -> Provenance | None:
        """
        Return the provenance of the ID *name*, or ``None`` if it is absent.
        """
        name = "tenant_id" if name == "customer_id" else name
        if name not in self._names:
            return None
        how: Provenance | None = self._values[len(self._names) + self._names.index(name)]
        return how

    def is_empty(self) -> bool:
        """
        Return whether no ID is set.
        """
        return not any(self._values)

    def as_dict(self) -> dict[str, str]:
        """
        Return the IDs that are set, by name.
        """
        ids: tuple[str | None, ...] = self._values[: len(self._names)]
        pairs = zip(self._names, ids, strict=True)
        return {name: value for name, value in pairs if value is not None}

    def as_attributes(self) -> dict[str, str]:
        """
        Return the IDs that are set as span attributes, as their span sink shows them.
        """
        shown: dict[str, str] = {}
        for name, value in self.as_dict().items():
            spec = self._policy.specs.get(name)
            text = self._policy.show("span", name, value)
            if text is not None:
                attribute = spec.attribute if spec else None
                shown[attribute or ".".join(name.rsplit("_", 1))] = text
        return shown

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionContext):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(frozenset(self.as_dict().items()))

    def __repr__(self) -> str:
        texts = show_ids(self, "log")
        shown = ((name, texts[name]) for name in self.as_dict())
        ids = ", ".join(f"{n}=<omitted>" if text is None else f"{n}={text!r}" for n, text in shown)
        return f"SessionContext({ids})"

    def __copy__(self) -> SessionContext:
        return self

    def __deepcopy__(self, memo: object) -> SessionContext:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        width = len(self._names)
        hows = [lower_for_others(how, self._policy) for how in self._values[width:]]
        return _rebuild_snapshot, (self._names, (*self._values[:width], *hows))


Parts: TypeAlias = tuple[CheckedPolicy, tuple[str, ...], Values]
parts_of: Final[Callable[[SessionContext], Parts]] = attrgetter("_policy", "_names", "_values")
"""
Returns the policy that a snapshot's IDs were bound by, their names and their values.
"""


def make_snapshot(values: Values, policy: CheckedPolicy) -> SessionContext:
    """
    Return the snapshot of values that have been checked by *policy*.
    """
    context = SessionContext.__new__(SessionContext)
    _set(context, "_names", policy.names)
    _set(context, "_policy", policy)
    _set(context, "_values", values)
    return context


def lower_for_others(how: Provenance, policy: CheckedPolicy) -> Provenance:
    """
    Return the provenance of an ID as other processes and other policies may be told it.

    Args:
        how: its provenance in this process.
        policy: the policy that it was bound by.
    """
    # Where every peer is trusted, each client is such a peer, and nobody else knows of that policy.
    return Provenance.CLIENT if how is Provenance.PEER and policy.peers.anybody else how


def show_ids(context: SessionContext, sink: Literal["log", "span"]) -> dict[str, str | None]:
    """
    Return every ID by name as *sink* shows it under the policy that it was bound by.

    Args:
        context: the snapshot.
        sink: ``"log"`` or ``"span"``. An ID that is absent, or that this sink
            omits, is ``None``.
    """
    policy, names, values = parts_of(context)
    return {
        name: None if value is None else policy.show(sink, name, value)
        for name, value in zip(names, values, strict=False)
    }


def _rebuild_snapshot(names: tuple[str, ...], values: Values) -> SessionContext:
    context = make_snapshot(values, DEFAULT_POLICY)
    _set(context, "_names", names)
    return context


DEFAULT_POLICY: Final = checked_policy(Policy())
"""
The policy outside requests until ``use_policy`` is called.
"""

"""
The claims of a request: the headers of it that say an ID, sorted, and the view of it that
other sources read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from idlanyard._decision.plan import (
    ALIAS,
    CONNECTION,
    OWN,
    SECRET,
    SIBLING,
    CompiledPolicy,
    Watched,
)
from idlanyard._decision.protocols import Pair
from idlanyard._policy.peers import LONGEST_LIST
from idlanyard._policy.request import Request

REPEATED: Final = "more than one value"
ALIASED: Final = "an alias stands beside it"
NAMED_BY_CONNECTION: Final = "named by Connection"


class Claims:
    """
    The headers of a request that the plan watches, sorted: one line is a value, more
    are none.

    Args:
        plan: the compiled policy.
        found: the headers, in order.

    Attributes:
        values: the value of each header by its key; ``None`` if it has a fault.
        faults: the reason why a header has no usable value, by its key.
        aliases: the keys of the headers that are there under another spelling.
        specs: the IDs that the request may have.
        removed: the headers that are removed from the request, in every spelling.
    """

    __slots__ = ("aliases", "faults", "removed", "specs", "values")

    def __init__(self, plan: CompiledPolicy, found: list[Pair]) -> None:
        self.values: dict[Any, Any] = {}
        self.faults: dict[Any, str] = {}
        self.aliases: set[Any] = set()
        self.removed: set[Any] = set()
        self.specs = dict.fromkeys(plan.always_settled)
        named = self._sort(plan, found)
        for key in self.aliases & self.values.keys():
            self._mark_fault(key, ALIASED)
        self.removed.update(*(plan.spellings[key] for key in self.aliases))
        if plan.secret_key in self.values:
            self.removed |= plan.spellings[plan.secret_key]
        # Last, since a header that Connection names is absent, whatever its value.
        for key, kind, claimed in _find_named(plan, named):
            if kind in (OWN, ALIAS, SECRET):
                self._mark_fault(key, NAMED_BY_CONNECTION)
                self.removed |= plan.spellings[key]
                self.specs.update(dict.fromkeys(claimed))
        self.removed -= plan.kept

    def _sort(self, plan: CompiledPolicy, found: list[Pair]) -> list[Any]:
        """
        Sort the lines, and return those of ``Connection``.
        """
        connections: list[Any] = []
        for name, value in found:
            key, kind, claimed = plan.watched[name]
            self.specs.update(dict.fromkeys(claimed))
            if kind == CONNECTION:
                connections.append(value)
            elif kind == ALIAS:
                self.aliases.add(key)
            elif kind == SIBLING:
                self.removed |= plan.spellings[key]
            elif key in self.values:
                self._mark_fault(key, REPEATED)
            else:
                self.values[key] = value
        return connections

    def _mark_fault(self, key: Any, reason: str) -> None:
        self.values[key] = None
        self.faults[key] = reason


def _find_named(plan: CompiledPolicy, lines: list[Any]) -> Iterable[Watched]:
    """
    Return the watched headers that ``Connection`` names; all of them if its lines, those
    apart that name no header, are over 8,192 characters.
    """
    lines = [line for line in lines if line not in plan.nameless_connections]
    if sum(map(len, lines)) > LONGEST_LIST:
        return plan.watched.values()
    return [plan.watched[key] for line in lines for key in plan.naming[line]]


class LazyRequest:
    """
    The read-only view of a request, made at the first call and then the same.

    Args:
        plan: the compiled policy.
        raw: the ``scope`` or ``environ``.
    """

    __slots__ = ("_plan", "_view", "raw")

    def __init__(self, plan: CompiledPolicy, raw: Any) -> None:
        self.raw = raw
        self._plan = plan
        self._view: Request | None = None

    def view(self) -> Request:
        """
        Return the view.
        """
        if self._view is None:
            self._view = self._plan.dialect.view(self.raw, self._plan.policy)
        return self._view

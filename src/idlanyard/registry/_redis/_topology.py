"""
Servers behind a URL: a single one, the primary of some Sentinels, or the nodes of a cluster. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, NoPermissionError, ReadOnlyError
from redis.exceptions import ConnectionError as Lost

from idlanyard.registry._redis._exchanges import Exchange, Probe, TimeBudget
from idlanyard.registry._redis._faults import (
    FAILURES,
    Misdirected,
    fault_of,
    may_be_other_scheme,
    other_scheme_fault,
    sentinel_fault_of,
    unknown_service_fault,
)
from idlanyard.registry._redis._url import Kind, Node, Target

_PARTS: Final = 3


class Single:
    """
    One server that has all keys.

    Attributes:
        nodes: the server.
        parts: the timeout is divided by this for each exchange, so that there is
            time left to find another server.
    """

    def __init__(self, node: Node, *, parts: int = 1) -> None:
        self.nodes: Sequence[Node] = (node,)
        self.parts = parts

    def node_of(self, _: bytes | None, /) -> Node:
        """
        Return the server that has a key.
        """
        return self.nodes[0]


class Slots:
    """
    Nodes of a cluster and their slots; attributes as of ``Single``.
    """

    parts = _PARTS

    def __init__(self, owners: dict[int, Node]) -> None:
        self._owners = owners
        self.nodes: Sequence[Node] = tuple(dict.fromkeys(owners.values()))

    def node_of(self, key: bytes | None, /) -> Node:
        """
        Return the node that has a key; any node for ``None``.

        Raises:
            ClusterDownError: no node has its slot.
        """
        node = self.nodes[0] if key is None else self._owners.get(key_slot(key))
        if node is None:
            raise ClusterDownError("no node of the cluster has this slot")
        return node

    def move(self, slot: int, node: Node) -> None:
        """
        Note that a node has a slot now.
        """
        self._owners[slot] = node
        if node not in self.nodes:
            self.nodes = (*self.nodes, node)


Servers: TypeAlias = Single | Slots


class Topology:
    """
    Knowledge of the servers behind a URL. Threads may share it.

    Args:
        target: the parsed URL.

    Attributes:
        known: the servers; ``None`` until they are found, and after failures.
        kind: the kind of connection.
    """

    def __init__(self, target: Target) -> None:
        self.known: Servers | None = None
        self.kind: Kind = target.kind
        self._target = target
        self._former: Sequence[Node] = ()
        self._sentinels = target.nodes if target.service is not None else ()
        self._has_answered = False

    def forget(self, known: Servers | None, failed: Node | None = None) -> None:
        """
        Make the next step find the servers again, unless another question has done so.

        A single server that the URL names stays known.

        Args:
            known: the servers that were known when the step failed.
            failed: the node that failed, which is asked last.
        """
        if known is None or self.known is not known:
            return
        if isinstance(known, Slots):
            self._former = sorted(known.nodes, key=lambda node: node == failed)
        if isinstance(known, Slots) or self._sentinels:
            self.known = None

    def leave(self, known: Servers | None) -> None:
        """
        Forget servers that have become something else, such as part of a cluster.
        """
        if self.known is known:
            self.known = None

    def reach(self, budget: TimeBudget) -> Exchange[Servers]:
        """
        Find the servers.
        """
        known: Servers | None = None
        for node in self._former:
            try:
                known = yield from _read_slots(budget, node)
            except FAILURES:
                continue
            break
        if known is None:
            known = yield from self._reach_by_url(budget)
            self._former = ()
        self.known = known
        return known

    def _reach_by_url(self, budget: TimeBudget) -> Exchange[Servers]:
        """
        Find the servers, starting with those that the URL names.
        """
        if self._target.service is not None:
            node = yield from self._find_primary(budget, self._target.service)
            seen = yield from budget.send(node, ("INFO", "replication"), parts=_PARTS)
            if seen.get("role") != "master":
                raise ReadOnlyError("the Sentinels name a server that is not the primary")
            return Single(node, parts=_PARTS)
        node = self._target.nodes[0]
        try:
            seen = yield from self._first_look(budget, node)
        except NoPermissionError:
            # Without the right to INFO the server is taken for a single one.
            return Single(node)
        if seen.get("cluster_enabled"):
            return (yield from _read_slots(budget, node))
        return Single(node)

    def _first_look(self, budget: TimeBudget, node: Node) -> Exchange[dict[str, Any]]:
        """
        Return INFO of a server; if there is no answer, find out whether the scheme is wrong.
        """
        kind = self._target.kind
        parts = 1 if self._has_answered or kind != "tls" else 2
        try:
            seen: dict[str, Any] = yield from budget.send(node, ("INFO", "cluster"), parts=parts)
        except FAILURES as error:
            if self._has_answered or fault_of(error, kind) or not may_be_other_scheme(error, kind):
                raise
            probed = yield Probe(node, budget.until)
            if not probed.answer:
                raise
            raise Misdirected(other_scheme_fault(self._target.scheme, kind)) from error
        self._has_answered = True
        return seen

    def _find_primary(self, budget: TimeBudget, service: str) -> Exchange[Node]:
        """
        Return the primary that the first answering Sentinel names.

        Raises:
            Misdirected: the Sentinels do not know the service.
        """
        last: Exception = Lost("no Sentinel answered")
        for sentinel in self._sentinels:
            try:
                found = yield from self._ask_sentinel(budget, sentinel, service)
            except FAILURES as error:
                fault = sentinel_fault_of(error, self.kind)
                # A refusal says more about the fault than a Sentinel that is not there.
                if fault is not None:
                    last = Misdirected(fault)
                elif not isinstance(last, Misdirected):
                    last = error
                continue
            others = [other for other in self._sentinels if other != sentinel]
            self._sentinels = (sentinel, *others)
            return found
        raise last

    def _ask_sentinel(self, budget: TimeBudget, sentinel: Node, service: str) -> Exchange[Node]:
        """
        Return the primary that a Sentinel names.

        Raises:
            Misdirected: the Sentinel does not know the service.
        """
        parts = len(self._sentinels) + 1

        def asked(*command: str) -> Exchange[Any]:
            return budget.send(sentinel, ("SENTINEL", *command), parts=parts, is_sentinel=True)

        found = yield from asked("GET-MASTER-ADDR-BY-NAME", service)
        if found:
            return _text_of(found[0]), int(found[1])
        raise Misdirected(unknown_service_fault(_service_names((yield from asked("MASTERS")))))


def _read_slots(budget: TimeBudget, node: Node) -> Exchange[Slots]:
    """
    Return the slots of a cluster, as one of its nodes knows them.

    Raises:
        ClusterDownError: no node has any slots.
    """
    answer = yield from budget.send(node, ("CLUSTER", "SLOTS"), parts=_PARTS)
    owners: dict[int, Node] = {}
    for first, last, (host, port, *_), *_ in answer:
        name = _text_of(host or b"")
        # A node may not know its own name.
        owner = node[0] if name in ("", "?") else name, int(port) or node[1]
        owners.update(dict.fromkeys(range(first, last + 1), owner))
    if not owners:
        raise ClusterDownError("no node of the cluster has any slots")
    return Slots(owners)


def _service_names(known: Sequence[Any]) -> list[str]:
    """
    Return the names of the services that a Sentinel knows.
    """
    # redis-py 8 parses this answer to dicts, redis-py 6 does not.
    pairs: list[dict[Any, Any]] = [
        one if isinstance(one, dict) else dict(zip(one[::2], one[1::2], strict=False))
        for one in known
    ]
    return [_text_of(pair.get("name") or pair[b"name"]) for pair in pairs]


def _text_of(name: bytes | str) -> str:
    return name if isinstance(name, str) else str(name, "utf-8")

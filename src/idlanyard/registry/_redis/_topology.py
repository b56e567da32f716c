"""
Which server has what: one alone, one that Sentinels name, or the nodes of a cluster. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, NoPermissionError, ReadOnlyError
from redis.exceptions import ConnectionError as Lost

from idlanyard.registry._redis._address import Kind, Target
from idlanyard.registry._redis._asking import Course, Node, Probe, Trip
from idlanyard.registry._redis._connections import FAILURES
from idlanyard.registry._redis._errors import Misdirected
from idlanyard.registry._redis._faults import (
    fault_of,
    may_speak_otherwise,
    other_scheme,
    sentinel_fault_of,
    unknown_service,
)

_PARTS: Final = 3


class Single:
    """
    One server, which has everything.
    """

    def __init__(self, node: Node, *, parts: int = 1) -> None:
        self.nodes: Sequence[Node] = (node,)
        self.parts = parts

    def node_of(self, _: bytes | None, /) -> Node:
        """
        Return where a key is.
        """
        return self.nodes[0]


class Slots:
    """
    The nodes of a cluster, and their slots.
    """

    parts = _PARTS

    def __init__(self, owners: dict[int, Node]) -> None:
        self._owners = owners
        self.nodes: Sequence[Node] = tuple(dict.fromkeys(owners.values()))

    def node_of(self, key: bytes | None, /) -> Node:
        """
        Return where a key is.

        Raises:
            ClusterDownError: nobody has its slot.
        """
        node = self.nodes[0] if key is None else self._owners.get(key_slot(key))
        if node is None:
            raise ClusterDownError("no node of the cluster has this slot")
        return node

    def move(self, slot: int, node: Node) -> None:
        """
        Note who has a slot now.
        """
        self._owners[slot] = node
        if node not in self.nodes:
            self.nodes = (*self.nodes, node)


Known: TypeAlias = Single | Slots


class Topology:
    """
    What is known of the servers behind a URL. Threads may share it.

    Args:
        target: what the URL says.
    """

    def __init__(self, target: Target) -> None:
        self.known: Known | None = None
        self.kind: Kind = target.kind
        self._target = target
        self._former: Sequence[Node] = ()
        self._sentinels = target.nodes if target.service is not None else ()
        self._has_answered = False

    def forget(self, known: Known | None, failed: Node | None = None) -> None:
        """
        Let the next step find out anew, unless another question has done so.

        Args:
            known: what was known when it failed.
            failed: who failed, and is asked last.
        """
        if known is None or self.known is not known:
            return
        if isinstance(known, Slots):
            self._former = sorted(known.nodes, key=lambda node: node == failed)
        if isinstance(known, Slots) or self._sentinels:
            self.known = None

    def leave(self, known: Known | None) -> None:
        """
        Forget a server that turns out to be something else than it was.
        """
        if self.known is known:
            self.known = None

    def reach(self, trip: Trip) -> Course[Known]:
        """
        Find out who has what.
        """
        known: Known | None = None
        for node in self._former:
            try:
                known = yield from _slots_at(trip, node)
            except FAILURES:
                continue
            break
        if known is None:
            known = yield from self._by_the_url(trip)
            self._former = ()
        self.known = known
        return known

    def _by_the_url(self, trip: Trip) -> Course[Known]:
        """
        Begin with what the URL names.
        """
        if self._target.service is not None:
            node = yield from self._primary(trip, self._target.service)
            seen = yield from trip.ask(node, ("INFO", "replication"), parts=_PARTS)
            if seen.get("role") != "master":
                raise ReadOnlyError("the Sentinels name a server that is not the primary")
            return Single(node, parts=_PARTS)
        node = self._target.nodes[0]
        try:
            seen = yield from self._first_look(trip, node)
        except NoPermissionError:
            # Who may not ask takes it for a single one.
            return Single(node)
        if seen.get("cluster_enabled"):
            return (yield from _slots_at(trip, node))
        return Single(node)

    def _first_look(self, trip: Trip, node: Node) -> Course[dict[str, Any]]:
        """
        Ask a server what it is; if it is silent, try whether the scheme is the wrong one.
        """
        kind = self._target.kind
        parts = 1 if self._has_answered or kind != "tls" else 2
        try:
            seen: dict[str, Any] = yield from trip.ask(node, ("INFO", "cluster"), parts=parts)
        except FAILURES as error:
            if self._has_answered or fault_of(error, kind) or not may_speak_otherwise(error, kind):
                raise
            probed = yield Probe(node, trip.until)
            if not probed.answer:
                raise
            raise Misdirected(other_scheme(self._target.scheme, kind)) from error
        self._has_answered = True
        return seen

    def _primary(self, trip: Trip, service: str) -> Course[Node]:
        """
        Ask one Sentinel after the other who is the primary.

        Raises:
            Misdirected: they do not know the service.
        """
        last: Exception = Lost("no Sentinel answered")
        for sentinel in self._sentinels:
            try:
                found = yield from self._named(trip, sentinel, service)
            except FAILURES as error:
                fault = sentinel_fault_of(error, self.kind)
                # One that has another view of things says more than one that is not there.
                if fault is not None:
                    last = Misdirected(fault)
                elif not isinstance(last, Misdirected):
                    last = error
                continue
            others = [other for other in self._sentinels if other != sentinel]
            self._sentinels = (sentinel, *others)
            return found
        raise last

    def _named(self, trip: Trip, sentinel: Node, service: str) -> Course[Node]:
        """
        Ask one Sentinel who is the primary.

        Raises:
            Misdirected: it does not know the service.
        """
        parts = len(self._sentinels) + 1

        def asked(*command: str) -> Course[Any]:
            return trip.ask(sentinel, ("SENTINEL", *command), parts=parts, is_sentinel=True)

        found = yield from asked("GET-MASTER-ADDR-BY-NAME", service)
        if found:
            return _text(found[0]), int(found[1])
        raise Misdirected(unknown_service(_names_of((yield from asked("MASTERS")))))


def _slots_at(trip: Trip, node: Node) -> Course[Slots]:
    """
    Ask a node of a cluster who has which slots.

    Raises:
        ClusterDownError: nobody has any.
    """
    answer = yield from trip.ask(node, ("CLUSTER", "SLOTS"), parts=_PARTS)
    owners: dict[int, Node] = {}
    for first, last, (host, port, *_), *_ in answer:
        name = _text(host or b"")
        # A node may not know its own name.
        owner = node[0] if name in ("", "?") else name, int(port) or node[1]
        owners.update(dict.fromkeys(range(first, last + 1), owner))
    if not owners:
        raise ClusterDownError("no node of the cluster has any slots")
    return Slots(owners)


def _names_of(known: Sequence[Any]) -> list[str]:
    """
    Return the names of the services that a Sentinel knows.
    """
    # redis-py 8 makes something of that answer, 6 does not.
    pairs: list[dict[Any, Any]] = [
        one if isinstance(one, dict) else dict(zip(one[::2], one[1::2], strict=False))
        for one in known
    ]
    return [_text(pair.get("name") or pair[b"name"]) for pair in pairs]


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else str(name, "utf-8")

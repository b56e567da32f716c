"""
Asks servers for threads: carries out what a route decides.
"""

from __future__ import annotations

import os
import time
from math import inf
from threading import Lock
from typing import TypeVar

from idlanyard.registry._drive import drive
from idlanyard.registry._pools import Pool
from idlanyard.registry._redis._address import Target
from idlanyard.registry._redis._asking import Ask, Node, Outcome, Pause, Probe
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._connections import deadline
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._probing import speaks_otherwise
from idlanyard.registry._redis._routing import Route
from idlanyard.registry._redis._servers import Server
from idlanyard.registry._redis._topology import Known, Topology

T = TypeVar("T")


class Asker:
    """
    The way to the servers of a URL, which threads share.

    After a fork, the child connects anew and leaves its parent's connections alone.

    Args:
        target: what the URL says.
        timeout: how many seconds a question may take.
        pool: how many connections there may be to each server.
        layout: where what is kept.
    """

    def __init__(self, target: Target, timeout: float, pool: Pool, layout: Layout) -> None:
        self._layout = layout
        self._target = target
        self._timeout = timeout
        self._pool = pool
        self._places: dict[int, _Servers] = {}

    def follow(self, steps: Steps[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.

        Raises:
            RegistryUnavailable: the servers did not answer.
            RegistryMisconfigured: they never will, as the registry is set up.
        """
        process = os.getpid()
        servers = self._places.get(process) or self._places.setdefault(
            process, _Servers(self._target, self._pool)
        )
        route = Route(servers.topology, self._layout, self._timeout, anew=anew).follow(steps)
        token = deadline.set(inf)
        try:
            return drive(route, servers.take)
        finally:
            deadline.reset(token)

    def close(self) -> None:
        """
        Let go of this process' connections; of those in use, when they come back.
        """
        servers = self._places.pop(os.getpid(), None)
        if servers is not None:
            servers.close()


class _Servers:
    """
    The servers that one process asks, each with its own clients.
    """

    def __init__(self, target: Target, pool: Pool) -> None:
        self.topology = Topology(target)
        self._target = target
        self._pool = pool
        self._servers: dict[tuple[Node, bool], Server] = {}
        self._seen: Known | None = None
        self._is_open = True
        self._lock = Lock()

    def take(self, step: Ask | Pause | Probe) -> Outcome:
        """
        Take one step of a route.
        """
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return Outcome()
        if isinstance(step, Probe):
            return Outcome(speaks_otherwise(step.node, self._target.kind, step.until))
        deadline.set(step.until)
        return self._server(step).ask(step.commands, is_asking=step.is_asking)

    def close(self) -> None:
        """
        Close them all, and those that are still asked for when they have answered.
        """
        with self._lock:
            self._is_open = False
            closing = list(self._servers.values())
        for server in closing:
            server.close()

    def _server(self, step: Ask) -> Server:
        """
        Return the one that a step asks; those that are no part of it any more are closed.
        """
        place = step.node, step.is_sentinel
        known = self.topology.known
        server = self._servers.get(place)
        if server is not None and known is self._seen:
            return server
        with self._lock:
            server = self._servers.get(place) or self._made(step)
            self._servers[place] = server
            gone = self._gone(known, step.node)
        for one in gone:
            one.close()
        return server

    def _made(self, step: Ask) -> Server:
        node, is_sentinel = step.node, step.is_sentinel
        options = self._target.options_of(node, is_sentinel=is_sentinel)
        server = Server(self._target.kind_of(node), options, self._pool)
        if not self._is_open:
            server.close()
        return server

    def _gone(self, known: Known | None, asked: Node) -> list[Server]:
        """
        Take out the servers that are known to be no part of the store any more.
        """
        self._seen = known
        if known is None:
            return []
        nodes = {*known.nodes, asked}
        names = [name for name in self._servers if not name[1] and name[0] not in nodes]
        return [self._servers.pop(name) for name in names]

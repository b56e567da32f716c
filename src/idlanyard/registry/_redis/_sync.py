"""
The store for code that waits for its answers.
"""

from __future__ import annotations

import os
import time
from math import inf
from threading import Lock
from typing import TypeVar

from idlanyard.registry._drive import drive
from idlanyard.registry._questions import Question
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._commands import LONG, Commands
from idlanyard.registry._redis._connections import deadline, probe_other_scheme
from idlanyard.registry._redis._exchanges import Outcome, Pause, Probe, Send
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._routing import Route
from idlanyard.registry._redis._servers import Server
from idlanyard.registry._redis._topology import Servers, Topology
from idlanyard.registry._redis._url import Node, Target, parse_url
from idlanyard.registry._urls import Pool

T = TypeVar("T")


class RedisStore:
    """
    Store whose questions are answered in the calling thread. Threads may share it.

    After a fork, the child connects anew and leaves its parent's connections alone.

    Args:
        target: the parsed URL.
        timeout: the most seconds that a question may take.
        namespace: text with which the names of the keys begin.
        pool: the bounds on the connections to each server.
    """

    def __init__(self, target: Target, timeout: float, namespace: str, pool: Pool) -> None:
        self._target = target
        self._timeout = timeout
        self._pool = pool
        self._space = Namespace(namespace)
        self._commands = Commands(self._space, timeout)
        self._of_process: dict[int, _ServerLinks] = {}

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        return self._follow(self._commands.steps(question), anew=isinstance(question, LONG))

    def close(self) -> None:
        """
        Close the connections of this process; those in use are closed when they come back.
        """
        servers = self._of_process.pop(os.getpid(), None)
        if servers is not None:
            servers.close()

    def _follow(self, steps: Steps[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them within the timeout or, *anew*, each of them.
        """
        process = os.getpid()
        servers = self._of_process.get(process) or self._of_process.setdefault(
            process, _ServerLinks(self._target, self._pool)
        )
        route = Route(servers.topology, self._space, self._timeout, anew=anew)
        token = deadline.set(inf)
        try:
            return drive(route.follow(steps), servers.carry_out)
        finally:
            deadline.reset(token)


class _ServerLinks:
    """
    The servers that one process asks, and its links to them.
    """

    def __init__(self, target: Target, pool: Pool) -> None:
        self.topology = Topology(target)
        self._target = target
        self._pool = pool
        self._servers: dict[tuple[Node, bool], Server] = {}
        self._seen: Servers | None = None
        self._is_open = True
        self._lock = Lock()

    def carry_out(self, exchange: Send | Pause | Probe) -> Outcome:
        """
        Carry out one exchange of a route.
        """
        if isinstance(exchange, Pause):
            time.sleep(exchange.seconds)
            return Outcome()
        if isinstance(exchange, Probe):
            kind = self._target.kind
            return Outcome(probe_other_scheme(exchange.node, kind, exchange.until))
        deadline.set(exchange.until)
        return self._server(exchange).send(exchange.commands, is_asking=exchange.is_asking)

    def close(self) -> None:
        """
        Close all links; those in use are closed when they come back.
        """
        with self._lock:
            self._is_open = False
            closing = list(self._servers.values())
        for server in closing:
            server.close()

    def _server(self, send: Send) -> Server:
        """
        Return the server of an exchange, and close those that have left the store.
        """
        place = send.node, send.is_sentinel
        known = self.topology.known
        server = self._servers.get(place)
        if server is not None and known is self._seen:
            return server
        with self._lock:
            server = self._servers.get(place) or self._new_server(send)
            self._servers[place] = server
            left = self._remove_left(known, send.node)
        for one in left:
            one.close()
        return server

    def _new_server(self, send: Send) -> Server:
        options = self._target.options_of(send.node, is_sentinel=send.is_sentinel)
        server = Server(self._target.kind_of(send.node), options, self._pool)
        if not self._is_open:
            server.close()
        return server

    def _remove_left(self, known: Servers | None, asked: Node) -> list[Server]:
        """
        Remove and return the servers that are known to have left the store.
        """
        self._seen = known
        if known is None:
            return []
        nodes = {*known.nodes, asked}
        places = [place for place in self._servers if not place[1] and place[0] not in nodes]
        return [self._servers.pop(place) for place in places]


def store(url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool) -> RedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL is wrong.
    """
    return RedisStore(parse_url(url, scheme), timeout, namespace, pool)

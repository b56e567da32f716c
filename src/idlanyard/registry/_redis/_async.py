"""
The store for code on an event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

from idlanyard.registry._drive import drive_async
from idlanyard.registry._loops import OnLoop
from idlanyard.registry._questions import Question
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._commands import LONG, Commands
from idlanyard.registry._redis._connections import async_probe_other_scheme
from idlanyard.registry._redis._exchanges import Outcome, Pause, Probe, Send
from idlanyard.registry._redis._faults import FAILURES
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._routing import Route
from idlanyard.registry._redis._servers import AsyncServer
from idlanyard.registry._redis._topology import Servers, Topology
from idlanyard.registry._redis._url import Node, Target, parse_url
from idlanyard.registry._urls import Pool

T = TypeVar("T")


class AsyncRedisStore:
    """
    Store that is awaited. Tasks of one event loop may share it; see ``RedisStore``.

    It connects anew if the event loop that used it is closed, and after a fork.
    """

    def __init__(self, target: Target, timeout: float, namespace: str, pool: Pool) -> None:
        self._timeout = timeout
        self._space = Namespace(namespace)
        self._commands = Commands(self._space, timeout)
        self._of_loop = OnLoop(lambda: _AsyncServerLinks(target, pool), _abandon)

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.

        Raises:
            RuntimeError: another event loop that is not closed uses the store.
        """
        steps = self._commands.steps(question)
        return await self._follow(steps, anew=isinstance(question, LONG))

    async def close(self) -> None:
        """
        Close all connections, from any event loop; those in use are closed when they come back.
        """
        held = self._of_loop.take()
        if held is None:
            return
        if held.is_here:
            with suppress(*FAILURES):
                async with asyncio.timeout(self._timeout):
                    await held.state.close()
        elif held.loop.is_closed():
            _abandon(held.state)
        else:
            # RuntimeError: the other event loop was closed a moment ago.
            with suppress(RuntimeError):
                held.loop.call_soon_threadsafe(held.state.cut)

    async def _follow(self, steps: Steps[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them within the timeout or, *anew*, each of them.
        """
        servers = self._of_loop.get()
        route = Route(servers.topology, self._space, self._timeout, anew=anew)
        return await drive_async(route.follow(steps), servers.carry_out)


class _AsyncServerLinks:
    """
    The servers that one event loop asks, and its links to them.
    """

    def __init__(self, target: Target, pool: Pool) -> None:
        self.topology = Topology(target)
        self._target = target
        self._pool = pool
        self._servers: dict[tuple[Node, bool], AsyncServer] = {}
        self._seen: Servers | None = None
        self._is_open = True

    async def carry_out(self, exchange: Send | Pause | Probe) -> Outcome:
        """
        Carry out one exchange of a route.
        """
        if isinstance(exchange, Pause):
            await asyncio.sleep(exchange.seconds)
            return Outcome()
        if isinstance(exchange, Probe):
            kind = self._target.kind
            return Outcome(await async_probe_other_scheme(exchange.node, kind, exchange.until))
        await self._close_left(exchange.node)
        server = self._server(exchange)
        return await server.send(
            exchange.commands, is_asking=exchange.is_asking, until=exchange.until
        )

    async def close(self) -> None:
        """
        Close all links; those in use are closed when they come back.
        """
        self._is_open = False
        for server in list(self._servers.values()):
            await server.close()

    def cut(self, *, is_over: bool = False) -> None:
        """
        Cut all connections without waiting.

        Args:
            is_over: whether the event loop is closed.
        """
        self._is_open = False
        for server in self._servers.values():
            server.abandon(is_over=is_over)

    def _server(self, send: Send) -> AsyncServer:
        """
        Return the server of an exchange.
        """
        node, is_sentinel = place = send.node, send.is_sentinel
        server = self._servers.get(place)
        if server is None:
            options = self._target.options_of(node, is_sentinel=is_sentinel)
            server = AsyncServer(self._target.kind_of(node), options, self._pool)
            self._servers[place] = server
        if not self._is_open:
            server.abandon(is_over=False)
        return server

    async def _close_left(self, asked: Node) -> None:
        """
        Close the servers that are known to have left the store.
        """
        known = self.topology.known
        if known is self._seen:
            return
        self._seen = known
        if known is None:
            return
        nodes = {*known.nodes, asked}
        for place in [one for one in self._servers if not one[1] and one[0] not in nodes]:
            await self._servers.pop(place).close()


def _abandon(servers: _AsyncServerLinks) -> None:
    servers.cut(is_over=True)


def async_store(
    url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool
) -> AsyncRedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL is wrong.
    """
    return AsyncRedisStore(parse_url(url, scheme), timeout, namespace, pool)

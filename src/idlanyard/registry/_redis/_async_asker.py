"""
Asks servers for the tasks of an event loop: carries out what a route decides.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

from idlanyard.registry._drive import drive_async
from idlanyard.registry._loops import OnLoop
from idlanyard.registry._pools import Pool
from idlanyard.registry._redis._address import Target
from idlanyard.registry._redis._asking import Ask, Node, Outcome, Pause, Probe
from idlanyard.registry._redis._async_servers import AsyncServer
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._connections import FAILURES
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._probing import async_speaks_otherwise
from idlanyard.registry._redis._routing import Route
from idlanyard.registry._redis._topology import Known, Topology

T = TypeVar("T")


class AsyncAsker:
    """
    The way to the servers of a URL; as ``Asker``.

    Where the event loop that used it is closed, or after a fork, it begins anew.
    """

    def __init__(self, target: Target, timeout: float, pool: Pool, layout: Layout) -> None:
        self._layout = layout
        self._timeout = timeout
        self._place = OnLoop(lambda: _AsyncServers(target, pool), _abandon)

    async def follow(self, steps: Steps[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.

        Raises:
            RegistryUnavailable: the servers did not answer.
            RegistryMisconfigured: they never will, as the registry is set up.
            RuntimeError: another event loop, which is not closed, uses it.
        """
        servers = self._place.get()
        route = Route(servers.topology, self._layout, self._timeout, anew=anew).follow(steps)
        return await drive_async(route, servers.take)

    async def close(self) -> None:
        """
        Let go of all connections, from any event loop; of those in use, when they come back.
        """
        held = self._place.take()
        if held is None:
            return
        if held.is_here:
            with suppress(*FAILURES):
                async with asyncio.timeout(self._timeout):
                    await held.state.close()
        elif held.loop.is_closed():
            _abandon(held.state)
        else:
            # It may end meanwhile.
            with suppress(RuntimeError):
                held.loop.call_soon_threadsafe(held.state.cut)


class _AsyncServers:
    """
    The servers that one event loop asks, each with its own clients.
    """

    def __init__(self, target: Target, pool: Pool) -> None:
        self.topology = Topology(target)
        self._target = target
        self._pool = pool
        self._servers: dict[tuple[Node, bool], AsyncServer] = {}
        self._seen: Known | None = None
        self._is_open = True

    async def take(self, step: Ask | Pause | Probe) -> Outcome:
        """
        Take one step of a route.
        """
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return Outcome()
        if isinstance(step, Probe):
            kind = self._target.kind
            return Outcome(await async_speaks_otherwise(step.node, kind, step.until))
        await self._leave_others(step.node)
        server = self._server(step)
        return await server.ask(step.commands, is_asking=step.is_asking, until=step.until)

    async def close(self) -> None:
        """
        Close them all, and those that are still asked for when they have answered.
        """
        self._is_open = False
        for server in list(self._servers.values()):
            await server.close()

    def cut(self, *, is_over: bool = False) -> None:
        """
        Cut all connections, without waiting.
        """
        self._is_open = False
        for server in self._servers.values():
            server.abandon(is_over=is_over)

    def _server(self, step: Ask) -> AsyncServer:
        """
        Return the one that a step asks.
        """
        node, is_sentinel = place = step.node, step.is_sentinel
        server = self._servers.get(place)
        if server is None:
            options = self._target.options_of(node, is_sentinel=is_sentinel)
            server = AsyncServer(self._target.kind_of(node), options, self._pool)
            self._servers[place] = server
        if not self._is_open:
            server.abandon(is_over=False)
        return server

    async def _leave_others(self, asked: Node) -> None:
        """
        Close the servers that are known to be no part of the store any more.
        """
        known = self.topology.known
        if known is self._seen:
            return
        self._seen = known
        nodes = {*(known.nodes if known is not None else self._nodes()), asked}
        for name in [one for one in self._servers if not one[1] and one[0] not in nodes]:
            await self._servers.pop(name).close()

    def _nodes(self) -> list[Node]:
        return [name[0] for name in self._servers]


def _abandon(servers: _AsyncServers) -> None:
    servers.cut(is_over=True)

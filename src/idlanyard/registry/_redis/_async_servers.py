"""
A server, and the clients by which tasks ask it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from idlanyard.registry._pools import Pool
from idlanyard.registry._redis._asking import Commands, Outcome
from idlanyard.registry._redis._clients import Client, Clients, Link, fate_of
from idlanyard.registry._redis._connections import FAILURES, PROTOCOL

_KINDS: Final = {"tcp": Connection, "tls": SSLConnection, "unix": UnixDomainSocketConnection}


class _Ticket:
    def __init__(self) -> None:
        self.granted: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def grant(self, link: Link) -> None:
        self.granted.set_result(link)


class AsyncServer:
    """
    One server, or one node of a cluster; as ``Server``, for the tasks of one event loop.
    """

    def __init__(self, kind: str, options: dict[str, Any], pool: Pool) -> None:
        self._kind = _KINDS[kind]
        self._options = options
        self._clients = Clients(pool)

    async def ask(self, commands: Commands, *, is_asking: bool, until: float) -> Outcome:
        """
        Return the answers to commands, or the error that came instead; in time.
        """
        link: Link | None = None
        try:
            async with asyncio.timeout(until - monotonic()):
                link = await self._taken(until)
                answers = await _answers(link.client, commands, is_asking=is_asking)
        except BaseException as error:
            was_known = link is not None and link.has_answered
            if link is not None:
                await self._part(link, error)
            if isinstance(error, FAILURES):
                return Outcome(None, error, is_stale=was_known)
            raise
        link.has_answered = True
        await self._give(link)
        return Outcome(answers, None, is_stale=False)

    async def close(self) -> None:
        """
        Let go of all connections; of those in use, when they come back.
        """
        await _close(self._clients.close(), waits=True)

    def abandon(self, *, is_over: bool) -> None:
        """
        Cut all connections, without waiting; of those in use, when they come back.

        Args:
            is_over: whether the event loop is closed.
        """
        for link in self._clients.close():
            _cut(link, is_over=is_over)

    async def _taken(self, until: float) -> Link:
        """
        Return a client that nobody else has.
        """
        until = min(until, monotonic() + self._clients.pool.wait)
        while True:
            found = self._clients.take(_Ticket)
            link = found if isinstance(found, Link) else await self._awaited(found, until)
            if link.client is not None:
                return link
            try:
                await self._connect(link)
            except BaseException as error:
                if not self._clients.miss(link, error):
                    raise
            else:
                return link

    async def _awaited(self, ticket: _Ticket, until: float) -> Link:
        """
        Return the client that a ticket is granted.
        """
        try:
            await asyncio.wait((ticket.granted,), timeout=max(0.0, until - monotonic()))
        except BaseException:
            await self._return(ticket)
            raise
        if not ticket.granted.done():
            self._clients.waiting.remove(ticket)
            raise self._clients.full()
        return ticket.granted.result()

    async def _return(self, ticket: _Ticket) -> None:
        """
        Take back what a task was granted that is cancelled.
        """
        if not ticket.granted.done():
            self._clients.waiting.remove(ticket)
        elif ticket.granted.result().client is None:
            self._clients.lose(ticket.granted.result())
        else:
            await self._give(ticket.granted.result())

    async def _connect(self, link: Link) -> None:
        pool = ConnectionPool(
            self._kind,
            protocol=PROTOCOL,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            **self._options,
        )
        client: Client = Redis(connection_pool=pool, single_connection_client=True)
        try:
            await client.initialize()
        except BaseException:
            await pool.disconnect()
            raise
        link.client = client

    async def _give(self, link: Link) -> None:
        closing = self._clients.give(link)
        if closing is not None:
            await _close([closing])

    async def _part(self, link: Link, error: BaseException) -> None:
        """
        Keep a client, or close what may still get an answer, which is nobody's.
        """
        fate = fate_of(error)
        if fate == "kept":
            link.has_answered = True
            await self._give(link)
            return
        doubted = self._clients.doubt(link) if fate == "doubted" else []
        self._clients.lose(link)
        await _close([link, *doubted])


async def _answers(client: Client, commands: Commands, *, is_asking: bool) -> Any:
    if isinstance(commands, tuple):
        if is_asking:
            await client.execute_command("ASKING")
        return await client.execute_command(*commands)
    return await _batch(client.connection, commands)


async def _batch(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """
    Return the answers to commands that are sent at once, refusals among them.
    """
    await connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers


async def _close(links: Sequence[Link], *, waits: bool = False) -> None:
    for link in links:
        await link.client.connection.disconnect(nowait=not waits)
    for link in links:
        await link.client.aclose()
        await link.client.connection_pool.disconnect()


def _cut(link: Link, *, is_over: bool) -> None:
    """
    Close the connection of a client without waiting.

    Without its event loop neither redis-py 8.1 nor asyncio (CPython 3.11 to 3.13) can: a
    transport closes its socket by a callback, and complains when it is collected unclosed.
    """
    connection, link.client.connection = link.client.connection, None
    writer, connection._writer, connection._reader = connection._writer, None, None
    if writer is None:
        return
    transport = writer.transport
    with suppress(RuntimeError):
        transport.abort()
    if is_over:
        through = getattr(transport, "_ssl_protocol", None)
        with suppress(RuntimeError):
            (through._transport if through else transport)._call_connection_lost(None)

"""
One server and the links to it: for threads, and for the tasks of an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Lock
from time import monotonic
from typing import Any, Final

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError
from redis.retry import Retry

from idlanyard.registry._redis._connections import (
    PROTOCOL,
    Client,
    Link,
    Links,
    TimedConnection,
    TimedSSLConnection,
    TimedUnixConnection,
    deadline,
    fate_of,
)
from idlanyard.registry._redis._exchanges import CommandOrBatch, Outcome
from idlanyard.registry._redis._faults import FAILURES
from idlanyard.registry._urls import Pool

_KINDS: Final = {"tcp": TimedConnection, "tls": TimedSSLConnection, "unix": TimedUnixConnection}
_ASYNC_KINDS: Final = {
    "tcp": AsyncConnection,
    "tls": AsyncSSLConnection,
    "unix": AsyncUnixConnection,
}
_NO_LINK: Final = Link(0)


class _Ticket:
    def __init__(self) -> None:
        self.is_granted = Event()
        self.link = _NO_LINK

    def grant(self, link: Link) -> None:
        self.link = link
        self.is_granted.set()


class Server:
    """
    One server, or one node of a cluster. Threads may share it.

    Every link keeps its own connection. redis-py 8.1 checks a connection
    whenever its pool hands it out, which takes a fourth of a question's time.
    That is of no use here: a link is used again only after its answer.

    Args:
        kind: the kind of connection.
        options: arguments of redis-py's connections.
        pool: the bounds on their number.
    """

    def __init__(self, kind: str, options: dict[str, Any], pool: Pool) -> None:
        self._kind = _KINDS[kind]
        self._options = options
        self._links = Links(pool)
        self._lock = Lock()

    def send(self, commands: CommandOrBatch, *, is_asking: bool) -> Outcome:
        """
        Send commands; return their answers, or the error, before the deadline.
        """
        try:
            link = self._take_link()
        except FAILURES as error:
            return Outcome(None, error, is_stale=False)
        was_known = link.has_answered
        try:
            answers = _send(link.client, commands, is_asking=is_asking)
        except BaseException as error:
            self._part_with(link, error)
            if isinstance(error, FAILURES):
                return Outcome(None, error, is_stale=was_known)
            raise
        link.has_answered = True
        self._give_back(link)
        return Outcome(answers, None, is_stale=False)

    def close(self) -> None:
        """
        Close all links; those in use are closed when they come back.
        """
        with self._lock:
            idle = self._links.close()
        _close_links(idle)

    def _take_link(self) -> Link:
        """
        Return a connected link, for the caller alone.
        """
        until = min(deadline.get(), monotonic() + self._links.pool.wait)
        while True:
            with self._lock:
                found = self._links.take(_Ticket)
            link = found if isinstance(found, Link) else self._await_link(found, until)
            if link.client is not None:
                return link
            try:
                self._connect(link)
            except BaseException as error:
                with self._lock:
                    may_wait = self._links.miss(link, error)
                if not may_wait:
                    raise
            else:
                return link

    def _await_link(self, ticket: _Ticket, until: float) -> Link:
        """
        Return the link that is granted to a ticket.
        """
        if not ticket.is_granted.wait(max(0.0, until - monotonic())):
            with self._lock:
                if ticket in self._links.waiting:
                    self._links.waiting.remove(ticket)
                    raise self._links.full_error()
        return ticket.link

    def _connect(self, link: Link) -> None:
        pool = ConnectionPool(
            connection_class=self._kind,
            protocol=PROTOCOL,
            retry=Retry(NoBackoff(), 0),
            **self._options,
        )
        try:
            link.client = Redis(connection_pool=pool, single_connection_client=True)
        except BaseException:
            pool.disconnect()
            raise

    def _give_back(self, link: Link) -> None:
        with self._lock:
            closing = self._links.give(link)
        if closing is not None:
            _close_links([closing])

    def _part_with(self, link: Link, error: BaseException) -> None:
        """
        Keep the link of a failed question, or close it, since an answer may still arrive on it.
        """
        fate = fate_of(error)
        if fate == "kept":
            link.has_answered = True
            self._give_back(link)
            return
        with self._lock:
            doubted = self._links.doubt(link) if fate == "doubted" else []
            self._links.lose(link)
        _close_links([link, *doubted])


def _send(client: Client, commands: CommandOrBatch, *, is_asking: bool) -> Any:
    if isinstance(commands, tuple):
        if is_asking:
            client.execute_command("ASKING")
        return client.execute_command(*commands)
    return _send_batch(client.connection, commands)


def _send_batch(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """
    Send all commands at once; return the answers, with refusals as exceptions among them.
    """
    connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers


def _close_links(links: Sequence[Link]) -> None:
    for link in links:
        link.client.connection.disconnect()
        link.client.close()
        link.client.connection_pool.disconnect()


class _AsyncTicket:
    def __init__(self) -> None:
        self.granted: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def grant(self, link: Link) -> None:
        self.granted.set_result(link)


class AsyncServer:
    """
    One server, or one node of a cluster, for the tasks of one event loop; see ``Server``.
    """

    def __init__(self, kind: str, options: dict[str, Any], pool: Pool) -> None:
        self._kind = _ASYNC_KINDS[kind]
        self._options = options
        self._links = Links(pool)

    async def send(self, commands: CommandOrBatch, *, is_asking: bool, until: float) -> Outcome:
        """
        Send commands; return their answers, or the error, before the time *until*.
        """
        link: Link | None = None
        try:
            async with asyncio.timeout(until - monotonic()):
                link = await self._take_link(until)
                answers = await _async_send(link.client, commands, is_asking=is_asking)
        except BaseException as error:
            was_known = link is not None and link.has_answered
            if link is not None:
                await self._part_with(link, error)
            if isinstance(error, FAILURES):
                return Outcome(None, error, is_stale=was_known)
            raise
        link.has_answered = True
        await self._give_back(link)
        return Outcome(answers, None, is_stale=False)

    async def close(self) -> None:
        """
        Close all links; those in use are closed when they come back.
        """
        await _async_close_links(self._links.close(), waits=True)

    def abandon(self, *, is_over: bool) -> None:
        """
        Cut all connections without waiting; those in use when they come back.

        Args:
            is_over: whether the event loop is closed.
        """
        for link in self._links.close():
            _cut_link(link, is_over=is_over)

    async def _take_link(self, until: float) -> Link:
        """
        Return a connected link, for the caller alone.
        """
        until = min(until, monotonic() + self._links.pool.wait)
        while True:
            found = self._links.take(_AsyncTicket)
            link = found if isinstance(found, Link) else await self._await_link(found, until)
            if link.client is not None:
                return link
            try:
                await self._connect(link)
            except BaseException as error:
                if not self._links.miss(link, error):
                    raise
            else:
                return link

    async def _await_link(self, ticket: _AsyncTicket, until: float) -> Link:
        """
        Return the link that is granted to a ticket.
        """
        try:
            await asyncio.wait((ticket.granted,), timeout=max(0.0, until - monotonic()))
        except BaseException:
            await self._return_granted(ticket)
            raise
        if not ticket.granted.done():
            self._links.waiting.remove(ticket)
            raise self._links.full_error()
        return ticket.granted.result()

    async def _return_granted(self, ticket: _AsyncTicket) -> None:
        """
        Take back the link that was granted to a cancelled task.
        """
        if not ticket.granted.done():
            self._links.waiting.remove(ticket)
        elif ticket.granted.result().client is None:
            self._links.lose(ticket.granted.result())
        else:
            await self._give_back(ticket.granted.result())

    async def _connect(self, link: Link) -> None:
        pool = AsyncConnectionPool(
            self._kind,
            protocol=PROTOCOL,
            retry=AsyncRetry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            **self._options,
        )
        client: Client = AsyncRedis(connection_pool=pool, single_connection_client=True)
        try:
            await client.initialize()
        except BaseException:
            await pool.disconnect()
            raise
        link.client = client

    async def _give_back(self, link: Link) -> None:
        closing = self._links.give(link)
        if closing is not None:
            await _async_close_links([closing])

    async def _part_with(self, link: Link, error: BaseException) -> None:
        """
        Keep the link of a failed question, or close it, since an answer may still arrive on it.
        """
        fate = fate_of(error)
        if fate == "kept":
            link.has_answered = True
            await self._give_back(link)
            return
        doubted = self._links.doubt(link) if fate == "doubted" else []
        self._links.lose(link)
        await _async_close_links([link, *doubted])


async def _async_send(client: Client, commands: CommandOrBatch, *, is_asking: bool) -> Any:
    if isinstance(commands, tuple):
        if is_asking:
            await client.execute_command("ASKING")
        return await client.execute_command(*commands)
    return await _async_send_batch(client.connection, commands)


async def _async_send_batch(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """
    Send all commands at once; return the answers, with refusals as exceptions among them.
    """
    await connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers


async def _async_close_links(links: Sequence[Link], *, waits: bool = False) -> None:
    for link in links:
        await link.client.connection.disconnect(nowait=not waits)
    for link in links:
        await link.client.aclose()
        await link.client.connection_pool.disconnect()


def _cut_link(link: Link, *, is_over: bool) -> None:
    """
    Close the connection of a link without waiting.

    Neither redis-py 8.1 nor asyncio (CPython 3.11 to 3.13) can do so without the event
    loop: a transport closes its socket in a callback, and warns if it is collected unclosed.
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

"""
A server or a cluster, and the clients by which tasks ask it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import NoPermissionError

from idlanyard.registry._redis._connections import MOST, PAUSE, PROTOCOL, RETRIES, SHARE
from idlanyard.registry._redis._servers import Client


class AsyncServer:
    """
    One server; as ``Server``.

    Attributes:
        torn: what its client raises where another task has closed its connection.
    """

    torn: tuple[type[Exception], ...] = ()

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._idle: deque[Client] = deque()
        self._is_open = True

    def take(self) -> Client:
        """
        Return a client that nobody else has; it connects when it is used.
        """
        try:
            return self._idle.pop()
        except IndexError:
            return Redis(connection_pool=self._pool, single_connection_client=True)

    async def give(self, client: Client) -> None:
        """
        Take back a client that has had its answer.
        """
        if self._is_open:
            self._idle.append(client)
        else:
            await self.drop(client)

    async def drop(self, client: Client) -> None:
        """
        Close what may still get an answer, which is nobody's.
        """
        try:
            if client.connection is not None:
                await client.connection.disconnect(nowait=True)
        finally:
            await client.aclose()

    async def close(self) -> None:
        """
        Let go of all connections; of those in use, when they come back.
        """
        self._is_open = False
        while self._idle:
            await self._idle.pop().aclose()
        await self._pool.disconnect(inuse_connections=False)


class AsyncCluster:
    """
    A cluster; as ``Cluster``.

    Attributes:
        torn: what its client raises where another task has closed its connection.
    """

    torn: tuple[type[Exception], ...] = (AttributeError, TypeError, RuntimeError)

    def __init__(self, client: Client) -> None:
        self._client = client

    def take(self) -> Client:
        """
        Return the client; it connects when it is used.
        """
        return self._client

    async def give(self, client: Client) -> None:
        """
        It was shared.
        """

    async def drop(self, client: Client) -> None:
        """
        redis-py itself closes a connection on which an answer was waited for.
        """

    async def close(self) -> None:
        """
        Let go of all connections.
        """
        await self._client.aclose()


async def async_reached(
    options: dict[str, Any], *, tls: bool, most: float
) -> AsyncServer | AsyncCluster:
    """
    Return the server or, where that is part of one, its cluster.

    Args:
        options: those of redis-py's connections.
        tls: whether through TLS.
        most: how many seconds a question to a cluster may take; one to a
            server is bounded by who asks it.
    """
    retry = Retry(ConstantBackoff(PAUSE), RETRIES, (Refused,))
    common: dict[str, Any] = {"max_connections": MOST, "protocol": PROTOCOL, "retry": retry}
    common |= options
    kind = SSLConnection if tls else Connection
    pool = ConnectionPool(kind, socket_timeout=None, socket_connect_timeout=None, **common)
    is_single = False
    try:
        is_single = not await _is_in_a_cluster(Redis(connection_pool=pool))
    finally:
        if not is_single:
            await pool.disconnect()
    if is_single:
        return AsyncServer(pool)
    share = most / SHARE
    # Before it knows the slots it asks any node, and after some answers of "not here" it closes
    # what other tasks are using.
    client: Client = RedisCluster(
        ssl=tls,
        socket_timeout=share,
        socket_connect_timeout=share,
        reinitialize_steps=0,
        **common,
    )
    try:
        await client.initialize()
    except BaseException:
        await client.aclose()
        raise
    return AsyncCluster(client)


async def _is_in_a_cluster(client: Client) -> bool:
    """
    Ask a server whether it is one of many; who may not ask takes it for a single one.
    """
    try:
        return bool((await client.info("cluster")).get("cluster_enabled"))
    except NoPermissionError:
        return False

"""
A server or a cluster, and the clients by which threads ask it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.cluster import RedisCluster
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from idlanyard.registry._redis._connections import (
    MOST,
    PAUSE,
    PROTOCOL,
    RETRIES,
    SHARE,
    TimedConnection,
    TimedSSLConnection,
)

# A Redis or a RedisCluster, of either face: redis-py types them in part only.
Client: TypeAlias = Any


class Server:
    """
    One server. Threads may share it.

    Each of its clients keeps a connection of the pool. redis-py looks at a
    connection whenever the pool hands it out, which takes a fourth of a
    question's time. Here it would be for nothing: a client is used again only
    after it has had its answer.

    Attributes:
        torn: what a client raises where another thread has closed its connection.
    """

    torn: tuple[type[Exception], ...] = ()

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._idle: deque[Client] = deque()

    def take(self) -> Client:
        """
        Return a client that nobody else has.
        """
        try:
            return self._idle.pop()
        except IndexError:
            return Redis(connection_pool=self._pool, single_connection_client=True)

    def give(self, client: Client) -> None:
        """
        Take back a client that has had its answer.
        """
        self._idle.append(client)

    def drop(self, client: Client) -> None:
        """
        Close what may still get an answer, which is nobody's.
        """
        client.connection.disconnect()
        client.close()
        self._pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """
        Let go of all connections.
        """
        self._idle.clear()
        self._pool.disconnect()


class Cluster:
    """
    A cluster, with one client that threads share.

    After trouble with a node redis-py closes connections that others are about
    to use, who find that it is nothing that they write to or read from.

    Attributes:
        torn: what the client raises where another thread has closed its connection.
    """

    torn: tuple[type[Exception], ...] = (AttributeError, TypeError)

    def __init__(self, client: Client) -> None:
        self._client = client

    def take(self) -> Client:
        """
        Return the client.
        """
        return self._client

    def give(self, client: Client) -> None:
        """
        It was shared.
        """

    def drop(self, client: Client) -> None:
        """
        Close what may still get an answer, which is nobody's.
        """
        for node in client.get_nodes():
            pool = client.get_redis_connection(node).connection_pool
            pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """
        Let go of all connections.
        """
        self._client.disconnect_connection_pools()
        self._client.close()


def reached(options: dict[str, Any], *, tls: bool, timeout: float) -> Server | Cluster:
    """
    Return the server or, where that is part of one, its cluster.

    Args:
        options: those of redis-py's connections.
        tls: whether through TLS.
        timeout: how many seconds one wait may last, besides the deadline.
    """
    kind = TimedSSLConnection if tls else TimedConnection
    common: dict[str, Any] = {"connection_class": kind, "protocol": PROTOCOL, **options}
    retry = Retry(ConstantBackoff(PAUSE), RETRIES, (Refused,))
    pool = ConnectionPool(max_connections=MOST, retry=retry, socket_timeout=timeout, **common)
    is_single = False
    try:
        is_single = not _is_in_a_cluster(Redis(connection_pool=pool))
    finally:
        if not is_single:
            pool.disconnect()
    if is_single:
        return Server(pool)
    host, port = common.pop("host"), common.pop("port")
    # Only with a URL it takes a class of connections.
    url = f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}"
    client: Client = RedisCluster
    return Cluster(
        client.from_url(
            url, max_connections=MOST, retry=retry, socket_timeout=timeout / SHARE, **common
        )
    )


def _is_in_a_cluster(client: Client) -> bool:
    """
    Ask a server whether it is one of many; who may not ask takes it for a single one.
    """
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except NoPermissionError:
        return False

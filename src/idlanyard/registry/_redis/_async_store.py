"""
The store for code on an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import NoPermissionError, NoScriptError

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._record import Draft, Row
from idlanyard.registry._redis import _questions
from idlanyard.registry._redis._address import options_of
from idlanyard.registry._redis._connections import FAILURES, MOST, PAUSE, PROTOCOL, RETRIES, SHARE
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page
from idlanyard.registry._redis._questions import SCANNED, Question
from idlanyard.registry._redis._scripts import Script
from idlanyard.registry._redis._servers import Client

T = TypeVar("T")

# Tasks are more than threads: those beyond this many wait for their turn.
_AT_ONCE: Final = 64


class AsyncRedisStore:
    """
    A pool of connections that tasks share; see ``AsyncStore``.
    """

    def __init__(
        self, options: dict[str, Any], scheme: str, timeout: float, namespace: str
    ) -> None:
        self._options = options
        self._scheme = scheme
        self._timeout = timeout
        self._layout = Layout(namespace)
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def insert(self, draft: Draft) -> Row | None:
        """
        As ``AsyncStore.insert``.
        """
        return await self._follow(_questions.insert(self._layout, draft))

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return await self._follow(_questions.read(self._layout, key))

    async def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        return await self._follow(_questions.extend(self._layout, key, ttl))

    async def delete(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return await self._follow(_questions.delete(self._layout, key, self._timeout))

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        return await self._follow(page(self._layout, client_key, after, limit))

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``: in batches, each of them a question of its own.
        """
        return await self._follow(_questions.purge(self._layout), anew=True)

    async def close(self) -> None:
        """
        As ``AsyncStore.close``; afterwards another event loop may use it.
        """
        if self._client is not None:
            self._belong()
            client, self._client = self._client, None
            await client.aclose()
        self._loop = None

    async def _follow(self, question: Question[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.
        """
        loop = self._belong()
        answer = None
        try:
            async with asyncio.timeout(self._timeout) as limit, self._places:
                client = self._client or await self._connected()
                while True:
                    method, arguments = question.send(answer)
                    if anew:
                        limit.reschedule(loop.time() + self._timeout)
                    answer = await _METHODS[method](client, *arguments)
        except StopIteration as done:
            value: T = done.value
            return value
        except FAILURES as error:
            raise RegistryUnavailable(self._scheme) from error

    def _belong(self) -> asyncio.AbstractEventLoop:
        """
        Return the loop that runs, which is the one that used the store first.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this registry belongs to the event loop that used it first: "
                "open one for each loop, or close it before another loop uses it"
            )
        return loop

    async def _connected(self) -> Client:
        """
        Return the client that all share, made by the first who needs it.
        """
        async with self._connecting:
            if self._client is None:
                self._client = await _reached(
                    self._options, tls=self._scheme == "rediss", most=self._timeout
                )
            return self._client


async def _reached(options: dict[str, Any], *, tls: bool, most: float) -> Client:
    """
    Return a client of the server or, where that is part of one, of its cluster.

    Args:
        options: those of redis-py's connections.
        tls: whether through TLS.
        most: how many seconds a question to a cluster may take; one to a
            server is bounded by who asks it.
    """
    retry = Retry(ConstantBackoff(PAUSE), RETRIES, (Refused,))
    common: dict[str, Any] = {
        "max_connections": MOST,
        "protocol": PROTOCOL,
        "retry": retry,
        **options,
    }
    kind = SSLConnection if tls else Connection
    client = Redis.from_pool(
        ConnectionPool(kind, socket_timeout=None, socket_connect_timeout=None, **common)
    )
    is_single = False
    try:
        is_single = not await _is_in_a_cluster(client)
    finally:
        if not is_single:
            await client.aclose()
    if is_single:
        return client
    share = most / SHARE
    return RedisCluster(ssl=tls, socket_timeout=share, socket_connect_timeout=share, **common)


async def _is_in_a_cluster(client: Client) -> bool:
    try:
        return bool((await client.info("cluster")).get("cluster_enabled"))
    except NoPermissionError:
        return False


async def _run(client: Client, script: Script, keys: Sequence[bytes], words: Sequence[Any]) -> Any:
    try:
        return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *words)
    except NoScriptError:
        # SCRIPT LOAD would need every node of a cluster; this tells the one that asks.
        return await client.execute_command("EVAL", script.text, len(keys), *keys, *words)


async def _ask(client: Client, *command: Any) -> Any:
    return await client.execute_command(*command)


async def _batch(client: Client, commands: Sequence[tuple[Any, ...]]) -> Any:
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()


async def _nodes(client: Client) -> Any:
    if not _is_cluster(client):
        return [None]
    await client.initialize()
    return client.get_primaries()


def _is_cluster(client: Client) -> bool:
    return isinstance(client, RedisCluster)


async def _scan(client: Client, node: Any, match: str, place: int) -> tuple[int, Sequence[bytes]]:
    if node is None:
        found: tuple[int, Sequence[bytes]] = await client.scan(place, match, SCANNED, "zset")
        return found
    places, indexes = await client.scan(place, match, SCANNED, "zset", target_nodes=node)
    return places[node.name], indexes


_METHODS: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "run": _run,
    "ask": _ask,
    "batch": _batch,
    "nodes": _nodes,
    "scan": _scan,
}


def async_store(url: str, *, scheme: str, timeout: float, namespace: str) -> AsyncRedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return AsyncRedisStore(options_of(url, scheme), scheme, timeout, namespace)

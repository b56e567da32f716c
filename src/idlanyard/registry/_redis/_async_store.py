"""
The store for code on an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as Torn
from redis.exceptions import NoScriptError, RedisClusterException

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._pools import Pool
from idlanyard.registry._record import Draft, Row
from idlanyard.registry._redis import _questions
from idlanyard.registry._redis._address import options_of
from idlanyard.registry._redis._async_servers import AsyncCluster, AsyncServer, async_reached
from idlanyard.registry._redis._connections import FAILURES, TORN
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
        self, options: dict[str, Any], scheme: str, timeout: float, namespace: str, pool: Pool
    ) -> None:
        self._options = options
        self._scheme = scheme
        self._timeout = timeout
        self._pool = pool
        self._layout = Layout(namespace)
        self._place: AsyncServer | AsyncCluster | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

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

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return await self._follow(_questions.delete(self._layout, key, created, self._timeout))

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
        if self._place is not None:
            self._belong()
            place, self._place = self._place, None
            with suppress(*FAILURES):
                async with asyncio.timeout(self._timeout):
                    await place.close()
        self._loop = None

    async def _follow(self, question: Question[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.
        """
        loop = self._belong()
        try:
            async with asyncio.timeout(self._timeout) as limit, self._turns:
                place = self._place or await self._reached()
                client = place.take()
                try:
                    answer = None
                    while True:
                        method, arguments = question.send(answer)
                        if anew:
                            limit.reschedule(loop.time() + self._timeout)
                        try:
                            answer = await _METHODS[method](client, *arguments)
                        except place.torn as error:
                            raise Torn(TORN) from error
                except StopIteration as done:
                    await place.give(client)
                    value: T = done.value
                    return value
                except RedisClusterException:
                    await self._forget(place)
                    raise
                except BaseException:
                    await place.drop(client)
                    raise
        except FAILURES as error:
            raise RegistryUnavailable("redis") from error

    def _belong(self) -> asyncio.AbstractEventLoop:
        """
        Return the loop that runs, which is the one that used the store first.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._reaching = asyncio.Lock()
            self._turns = asyncio.Semaphore(_AT_ONCE)
        elif self._loop is not loop:
            raise RuntimeError(
                "this registry belongs to the event loop that used it first: "
                "open one for each loop, or close it before another loop uses it"
            )
        return loop

    async def _forget(self, place: AsyncServer | AsyncCluster) -> None:
        """
        Let the next question reach anew what the URL names: the nodes that were known are gone.
        """
        if self._place is place:
            self._place = None
        await place.close()

    async def _reached(self) -> AsyncServer | AsyncCluster:
        """
        Reach the server; who comes while that is being done waits for it.
        """
        async with self._reaching:
            if self._place is None:
                self._place = await async_reached(
                    self._options, tls=self._scheme == "rediss", most=self._timeout
                )
            return self._place


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


def async_store(
    url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool
) -> AsyncRedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return AsyncRedisStore(options_of(url, scheme), scheme, timeout, namespace, pool)

"""
The store for code on an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as Torn
from redis.exceptions import NoScriptError, RedisClusterException, ResponseError

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._pools import Pool
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch
from idlanyard.registry._redis import _moving, _questions, _settings
from idlanyard.registry._redis._address import options_of
from idlanyard.registry._redis._async_servers import AsyncCluster, AsyncServer, async_reached
from idlanyard.registry._redis._claims import Question
from idlanyard.registry._redis._connections import FAILURES, TORN
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page
from idlanyard.registry._redis._scripts import Asked, Script
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
        self._looked = _settings.Looked()
        self._place: AsyncServer | AsyncCluster | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``AsyncStore.insert``.
        """
        return await self._follow(_questions.insert(self._layout, draft, self._timeout))

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return await self._follow(_questions.read(self._layout, key))

    async def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        question = _questions.extend(self._layout, key, ttl, metadata, created, self._timeout)
        return await self._follow(question)

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

    async def count(self) -> int:
        """
        As ``AsyncStore.count``: in batches, each of them a question of its own.
        """
        return await self._follow(_moving.count(self._layout), anew=True)

    async def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``AsyncStore.walk``.
        """
        return await self._follow(_moving.walk(self._layout, after, limit))

    async def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``AsyncStore.put``: in batches, each of them a question of its own.
        """
        return await self._follow(_moving.put(self._layout, sessions, self._timeout), anew=True)

    async def check(self) -> list[str]:
        """
        As ``AsyncStore.check``.
        """
        return await self._follow(_settings.check(self._layout))

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
        question = _settings.begun(self._looked, self._layout, question)
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
            fault = _settings.fault_of(error, self._layout)
            if fault is not None:
                raise RegistryMisconfigured("redis", fault) from error
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


async def _at(client: Client, node: Any, *command: Any) -> Any:
    if node is None:
        return await client.execute_command(*command)
    answer = await client.execute_command(*command, target_nodes=node)
    if command[0] == "SCAN":
        places, keys = answer
        return places[node.name], keys
    named = cast("dict[str, Any]", answer if isinstance(answer, dict) else {})
    return named.get(node.name, cast("Any", answer))


async def _told(client: Client, node: Any, *command: Any) -> Any:
    try:
        return await _at(client, node, *command)
    except ResponseError:
        return None


async def _runs(client: Client, asked: Sequence[Asked]) -> list[Any]:
    """
    Run scripts, each where its first key is.
    """
    answers: dict[int, Any] = {}
    while len(answers) < len(asked):
        missing = [number for number in range(len(asked)) if number not in answers]
        async with client.pipeline(transaction=False) as pipeline:
            for script, keys, words in map(asked.__getitem__, missing):
                pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *words)
            given = await pipeline.execute(raise_on_error=False)
        for number, answer in zip(missing, given, strict=True):
            if isinstance(answer, NoScriptError) and number == missing[0]:
                answers[number] = await _run(client, *asked[number])
            elif isinstance(answer, NoScriptError):
                continue
            elif isinstance(answer, Exception):
                raise answer
            else:
                answers[number] = answer
    return [answers[number] for number in range(len(asked))]


_METHODS: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "run": _run,
    "ask": _ask,
    "batch": _batch,
    "nodes": _nodes,
    "at": _at,
    "told": _told,
    "runs": _runs,
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

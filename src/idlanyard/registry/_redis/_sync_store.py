"""
The store for code that waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, TypeVar

from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError as Torn
from redis.exceptions import NoScriptError, RedisClusterException

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._pools import Pool
from idlanyard.registry._record import Draft, Row
from idlanyard.registry._redis import _questions
from idlanyard.registry._redis._address import options_of
from idlanyard.registry._redis._connections import FAILURES, TORN, deadline
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page
from idlanyard.registry._redis._questions import SCANNED, Question
from idlanyard.registry._redis._scripts import Script
from idlanyard.registry._redis._servers import Client, Cluster, Server, reached

T = TypeVar("T")


class RedisStore:
    """
    A pool of connections that threads share; see ``Store``.

    After a fork, the child connects anew and leaves its parent's connections alone.
    """

    def __init__(
        self, options: dict[str, Any], scheme: str, timeout: float, namespace: str, pool: Pool
    ) -> None:
        self._options = options
        self._scheme = scheme
        self._timeout = timeout
        self._pool = pool
        self._layout = Layout(namespace)
        self._places: dict[int, Server | Cluster] = {}

    def insert(self, draft: Draft) -> Row | None:
        """
        As ``Store.insert``.
        """
        return self._follow(_questions.insert(self._layout, draft))

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return self._follow(_questions.read(self._layout, key))

    def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``Store.extend``.
        """
        return self._follow(_questions.extend(self._layout, key, ttl))

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        return self._follow(_questions.delete(self._layout, key, created, self._timeout))

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        return self._follow(page(self._layout, client_key, after, limit))

    def purge(self) -> int:
        """
        As ``Store.purge``: in batches, each of them a question of its own.
        """
        return self._follow(_questions.purge(self._layout), anew=True)

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        place = self._places.pop(os.getpid(), None)
        if place is not None:
            place.close()

    def _follow(self, question: Question[T], *, anew: bool = False) -> T:
        """
        Take the steps to an answer, all of them in time or, *anew*, each of them.
        """
        token = deadline.set(monotonic() + self._timeout)
        try:
            place = self._places.get(os.getpid()) or self._reached()
            client = place.take()
            try:
                answer = None
                while True:
                    method, arguments = question.send(answer)
                    if anew:
                        deadline.set(monotonic() + self._timeout)
                    try:
                        answer = _METHODS[method](client, *arguments)
                    except place.torn as error:
                        raise Torn(TORN) from error
            except StopIteration as done:
                place.give(client)
                value: T = done.value
                return value
            except RedisClusterException:
                self._forget(place)
                raise
            except BaseException:
                place.drop(client)
                raise
        except FAILURES as error:
            raise RegistryUnavailable("redis") from error
        finally:
            deadline.reset(token)

    def _forget(self, place: Server | Cluster) -> None:
        """
        Let the next question reach anew what the URL names: the nodes that were known are gone.
        """
        process = os.getpid()
        if self._places.get(process) is place:
            self._places.pop(process, None)
        place.close()

    def _reached(self) -> Server | Cluster:
        """
        Reach the server anew, once in each process.
        """
        process = os.getpid()
        made = reached(self._options, tls=self._scheme == "rediss", timeout=self._timeout)
        # Another thread may have been faster.
        place = self._places.setdefault(process, made)
        if place is not made:
            made.close()
        return place


def _run(client: Client, script: Script, keys: Sequence[bytes], words: Sequence[Any]) -> Any:
    try:
        return client.execute_command("EVALSHA", script.sha, len(keys), *keys, *words)
    except NoScriptError:
        # SCRIPT LOAD would need every node of a cluster; this tells the one that asks.
        return client.execute_command("EVAL", script.text, len(keys), *keys, *words)


def _ask(client: Client, *command: Any) -> Any:
    return client.execute_command(*command)


def _batch(client: Client, commands: Sequence[tuple[Any, ...]]) -> Any:
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return pipeline.execute()


def _nodes(client: Client) -> Any:
    return client.get_primaries() if _is_cluster(client) else [None]


def _is_cluster(client: Client) -> bool:
    return isinstance(client, RedisCluster)


def _scan(client: Client, node: Any, match: str, place: int) -> tuple[int, Sequence[bytes]]:
    if node is None:
        found: tuple[int, Sequence[bytes]] = client.scan(place, match, SCANNED, "zset")
        return found
    places, indexes = client.scan(place, match, SCANNED, "zset", target_nodes=node)
    return places[node.name], indexes


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "run": _run,
    "ask": _ask,
    "batch": _batch,
    "nodes": _nodes,
    "scan": _scan,
}


def store(url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool) -> RedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return RedisStore(options_of(url, scheme), scheme, timeout, namespace, pool)

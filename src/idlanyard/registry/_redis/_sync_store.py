"""
The store for code that waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, TypeVar, cast

from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError as Torn
from redis.exceptions import NoScriptError, RedisClusterException, ResponseError

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._pools import Pool
from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch
from idlanyard.registry._redis import _moving, _questions, _settings
from idlanyard.registry._redis._address import options_of
from idlanyard.registry._redis._claims import Question
from idlanyard.registry._redis._connections import FAILURES, TORN, deadline
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page
from idlanyard.registry._redis._scripts import Asked, Script
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
        self._looked = _settings.Looked()
        self._places: dict[int, Server | Cluster] = {}

    def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``Store.insert``.
        """
        return self._follow(_questions.insert(self._layout, draft, self._timeout))

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return self._follow(_questions.read(self._layout, key))

    def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``Store.extend``.
        """
        question = _questions.extend(self._layout, key, ttl, metadata, created, self._timeout)
        return self._follow(question)

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

    def count(self) -> int:
        """
        As ``Store.count``: in batches, each of them a question of its own.
        """
        return self._follow(_moving.count(self._layout), anew=True)

    def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``Store.walk``.
        """
        return self._follow(_moving.walk(self._layout, after, limit))

    def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``Store.put``: in batches, each of them a question of its own.
        """
        return self._follow(_moving.put(self._layout, sessions, self._timeout), anew=True)

    def check(self) -> list[str]:
        """
        As ``Store.check``.
        """
        return self._follow(_settings.check(self._layout))

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
        question = _settings.begun(self._looked, self._layout, question)
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
            fault = _settings.fault_of(error, self._layout)
            if fault is not None:
                raise RegistryMisconfigured("redis", fault) from error
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


def _at(client: Client, node: Any, *command: Any) -> Any:
    if node is None:
        return client.execute_command(*command)
    answer = client.execute_command(*command, target_nodes=node)
    if command[0] == "SCAN":
        places, keys = answer
        return places[node.name], keys
    named = cast("dict[str, Any]", answer if isinstance(answer, dict) else {})
    return named.get(node.name, cast("Any", answer))


def _told(client: Client, node: Any, *command: Any) -> Any:
    try:
        return _at(client, node, *command)
    except ResponseError:
        return None


def _runs(client: Client, asked: Sequence[Asked]) -> list[Any]:
    """
    Run scripts, each where its first key is.
    """
    answers: dict[int, Any] = {}
    while len(answers) < len(asked):
        missing = [number for number in range(len(asked)) if number not in answers]
        with client.pipeline(transaction=False) as pipeline:
            for script, keys, words in map(asked.__getitem__, missing):
                pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *words)
            given = pipeline.execute(raise_on_error=False)
        for number, answer in zip(missing, given, strict=True):
            if isinstance(answer, NoScriptError) and number == missing[0]:
                answers[number] = _run(client, *asked[number])
            elif isinstance(answer, NoScriptError):
                continue
            elif isinstance(answer, Exception):
                raise answer
            else:
                answers[number] = answer
    return [answers[number] for number in range(len(asked))]


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "run": _run,
    "ask": _ask,
    "batch": _batch,
    "nodes": _nodes,
    "at": _at,
    "told": _told,
    "runs": _runs,
}


def store(url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool) -> RedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return RedisStore(options_of(url, scheme), scheme, timeout, namespace, pool)

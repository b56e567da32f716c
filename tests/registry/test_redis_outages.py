"""
Servers and clusters that are down, silent, full, frozen or replaced.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import (
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    SessionRegistry,
)
from idlanyard.registry._redis._connections import TimedConnection, deadline
from idlanyard.registry._redis._keys import TAGS, Namespace
from ports import free_port
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import DEADLINE, eventually, fresh
from registry.redis_fixtures import SOON, Face, face, id_of, namespace, server, unavailable, works
from registry.relay import Relay
from registry.valkey import Valkey, ValkeyCluster, ask, cluster, until

__all__ = ["cluster", "face", "namespace", "server"]


def test_a_server_that_is_down_is_told(face: Face) -> None:
    """
    Nobody listens, and every verb says so; nothing stands in.
    """
    with face(f"redis://127.0.0.1:{free_port()}/0") as registry:
        for verb in (registry.create, registry.exists, registry.get, registry.touch, registry.end):
            with unavailable(RedisError):
                verb("x")
        with unavailable(RedisError):
            registry.find(client_id="c")
        with unavailable(RedisError):
            registry.purge_expired()


def test_a_host_that_is_none_is_told(face: Face) -> None:
    """
    A host whose name nobody knows is a store that is not there.
    """
    with face("redis://no-such-host.invalid/0") as registry, unavailable(RedisError, OSError):
        registry.exists("x")


def test_a_server_that_goes_and_comes_is_used_again(face: Face, server: Valkey) -> None:
    """
    A server that is down is unavailable, and after a restart the registry works again.
    """
    with face(server.url) as registry:
        for name in ("a", "b"):
            made = registry.create(name, client_id="c", metadata={"n": 1})
            assert registry.find(client_id="c") == [made]
            server.stop()
            with unavailable(RedisError):
                registry.create("x")
            with unavailable(RedisError):
                registry.find(client_id="c")
            server.start()
            assert registry.find(client_id="c") == []
        server.restart()
        assert registry.create("a", ttl=60).created_at == registry.touch("a").created_at
        server.restart()
        assert registry.purge_expired() == 0
        server.kill()
        with unavailable(RedisError):
            registry.end("a")
        server.start()
        assert not registry.exists("a")


def test_what_is_persisted_is_there_again(face: Face) -> None:
    """
    With appendfsync always, acknowledged sessions survive kill -9.
    """
    with Valkey(appendonly="yes", appendfsync="always") as server, face(server.url) as registry:
        made = [registry.create(fresh(name), client_id="c", ttl=600) for name in ("a", "b")]
        registry.create("ended", client_id="c")
        registry.end("ended")
        server.kill()
        server.start()
        assert registry.find(client_id="c") == made
        with pytest.raises(SessionExists):
            registry.create(made[0].session_id)


def test_forgotten_scripts_are_sent_again(face: Face, server: Valkey) -> None:
    """
    A server that has forgotten the scripts gets them again.
    """
    with face(server.url) as registry, server.client() as client:
        for verb in (registry.create, registry.touch, registry.end):
            client.script_flush()
            assert verb("a").session_id == "a"


def test_a_server_that_never_answers_is_told_in_time(face: Face, server: Valkey) -> None:
    """
    A frozen server is unavailable within the timeout, at first use and later.
    """
    with face(server.url, timeout=SOON) as registry, face(server.url, timeout=SOON) as late:
        registry.create("a", client_id="c")
        server.freeze()
        try:
            with unavailable(RedisError, TimeoutError):
                late.get("a")
            with unavailable(RedisError, TimeoutError):
                registry.get("a")
            with unavailable(RedisError, TimeoutError):
                registry.find(client_id="c")
            with unavailable(RedisError, TimeoutError):
                registry.purge_expired()
        finally:
            server.wake()
        for one in (registry, late):
            eventually(lambda one=one: works(one, "a"))  # type: ignore[misc]


def test_all_waits_together_are_bounded(face: Face, server: Valkey) -> None:
    """
    A server whose single answers are just in time is unavailable once their sum is not.
    """
    late = unavailable(RedisError, TimeoutError)
    with Relay(server.port, delay=0.4) as relay, face(relay.url, timeout=1) as registry, late:
        registry.create("late")
    with face(server.url) as registry:
        assert not registry.exists("late")


def test_connecting_is_bounded_too() -> None:
    """
    Each address of a host may take the rest of the time, and no more.
    """
    connection = TimedConnection(socket_timeout=60.0)
    token = deadline.set(time.monotonic() + 30)
    try:
        assert 0 < connection.socket_connect_timeout <= 30
        deadline.set(time.monotonic() + 90)
        assert 60 < connection.socket_timeout <= 90
        deadline.set(time.monotonic())
        with pytest.raises(TimeoutError):
            assert connection.socket_connect_timeout
    finally:
        deadline.reset(token)


def test_purging_may_take_longer_than_one_question(face: Face, server: Valkey) -> None:
    """
    Purging has the whole time for each of its steps.
    """
    with face(server.url) as registry:
        for number in range(15):
            registry.create(client_id=str(number))
    with Relay(server.port, delay=0.1) as relay, face(relay.url, timeout=1.5) as registry:
        assert registry.purge_expired() == 0


def test_a_server_that_still_loads_is_told(face: Face) -> None:
    """
    A server that reads its data is not there yet, and is there afterwards.
    """
    options = {"enable_debug_command": "yes", "loading_process_events_interval_bytes": 1024}
    with Valkey(**options) as slow, face(slow.url) as registry, slow.client() as client:
        registry.create("a", metadata={"x": "y" * 10_000})
        for number in range(50):
            client.set(f"k{number}", os.urandom(2000))
        client.config_set("key-load-delay", 20_000)
        reloading = threading.Thread(target=ask, args=(client, "DEBUG RELOAD"))
        reloading.start()
        causes = []
        while reloading.is_alive():
            try:
                registry.exists("a")
            except RegistryUnavailable as error:
                causes.append(error.__cause__)
        reloading.join()
        assert any(isinstance(cause, BusyLoadingError) for cause in causes)
        assert registry.exists("a")


def test_a_replica_takes_no_sessions(face: Face, server: Valkey) -> None:
    """
    A replica creates nothing and says so, until it is the primary.
    """
    with Valkey() as primary, face(server.url) as registry, server.client() as client:
        registry.create("a", ttl=60)
        ask(client, "REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: client.info("replication")["master_link_status"] == "up")
        for verb in (registry.create, registry.create):
            with unavailable(ReadOnlyError):
                verb("b", client_id="c")
        ask(client, "REPLICAOF", "NO", "ONE")
        assert registry.create("b", client_id="c") in registry.find(client_id="c")


def test_a_full_server_takes_no_sessions(face: Face, server: Valkey, namespace: str) -> None:
    """
    With noeviction a full server refuses new sessions, leaves nothing half done, and serves.
    """
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        made = registry.create("a", client_id="c", ttl=600)
        count = client.dbsize()
        client.config_set("maxmemory", "1")
        for client_id in (None, "c", "new"):
            with unavailable(OutOfMemoryError):
                registry.create("b", client_id=client_id)
        assert client.dbsize() == count
        assert registry.find(client_id="c") == [made]
        assert registry.end("a").created_at == made.created_at
        client.config_set("maxmemory", "0")
        assert registry.create("b", client_id="c") in registry.find(client_id="c")


def test_more_clients_than_the_server_takes_are_told(face: Face, server: Valkey) -> None:
    """
    A server that takes no more connections is not there, until it does.
    """
    with server.client() as client:
        client.ping()
        client.config_set("maxclients", 1)
        with face(server.url) as registry:
            with unavailable(RedisError):
                registry.create("a")
            client.config_set("maxclients", 100)
            assert registry.create("a").session_id == "a"


def test_a_frozen_node_is_told_and_others_serve(face: Face) -> None:
    """
    While a node of a cluster hangs its sessions are unavailable; afterwards all is well again.
    """
    names = [fresh() for _ in range(24)]
    # Long enough that the others wait for it.
    options: dict[str, Any] = {"cluster_node_timeout": 30_000}
    with ValkeyCluster(**options) as servers, face(servers.url, timeout=SOON) as registry:
        made = sorted((registry.create(name, client_id="c") for name in names), key=id_of)
        servers.nodes[1].freeze()
        try:
            seen = [works(registry, name) for name in names[:4]]
            with unavailable(Exception):
                registry.find(client_id="c")
            with unavailable(Exception):
                registry.purge_expired()
        finally:
            servers.nodes[1].wake()
        assert len(seen) == 4
        servers.settle()
        eventually(lambda: all(works(registry, name) for name in names))
        assert registry.find(client_id="c") == made


def test_a_cluster_that_is_down_is_told(face: Face) -> None:
    """
    A whole cluster may go and come.
    """
    with ValkeyCluster() as servers, face(servers.url, timeout=SOON) as registry:
        registry.create("a", client_id="c")
        for node in servers.nodes:
            node.kill()
        with unavailable(Exception):
            registry.create("b")
        with unavailable(Exception):
            registry.find(client_id="c")
        with unavailable(Exception):
            registry.purge_expired()
        for node in servers.nodes:
            node.start()
        servers.settle()
        eventually(lambda: registry_creates(registry))
        assert registry.find(client_id="c") == []


def registry_creates(registry: Opened) -> bool:
    """
    Return whether a session can be created.
    """
    try:
        return bool(registry.create())
    except RegistryUnavailable:
        return False


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_a_replica_takes_over(how: str) -> None:
    """
    If a replica takes over from a node that hangs or died, sessions go there.
    """
    names = [fresh() for _ in range(24)]
    with ValkeyCluster(replicas=True, cluster_node_timeout=1000) as servers, ExitStack() as stack:
        faces = (synchronous, asynchronous)
        registries = [stack.enter_context(face(servers.url, timeout=SOON)) for face in faces]
        for name in names:
            registries[0].create(name, client_id="c")
        for node in servers.nodes[:3]:
            with node.client() as client:
                client.wait(1, 5000)
        assert all(works(registries[1], name) for name in names)
        getattr(servers.nodes[1], how)()
        for registry in registries:
            eventually(lambda known=registry: all(works(known, name) for name in names))  # type: ignore[misc]
            assert len(registry.find(client_id="c")) == len(names)
        for registry, name in zip(registries, names, strict=False):
            assert registry.end(name).session_id == name


def test_slots_that_move_are_followed(face: Face) -> None:
    """
    Sessions of slots that were given to another node are created and found there.
    """
    names = [fresh() for _ in range(24)]
    with ValkeyCluster() as servers, face(servers.url) as registry, ExitStack() as stack:
        registry.create(names[0], client_id="c")
        registry.end(names[0])
        clients = [stack.enter_context(node.client()) for node in servers.nodes]
        for client in clients:
            client.flushall()
        new = ask(clients[2], "CLUSTER MYID")
        for tag in range(TAGS):
            slot = key_slot(Namespace("idlanyard").session(bytes([tag])))
            for client in clients[::-1]:
                ask(client, "CLUSTER SETSLOT", slot, "NODE", new)
        for name in names:
            registry.create(name, client_id="c")
        assert len(registry.find(client_id="c")) == len(names)
        assert registry.purge_expired() == 0


def test_a_cluster_that_has_moved_is_found_again(face: Face) -> None:
    """
    If all known nodes are gone, the server of the URL is asked again.
    """
    with Relay() as relay, face(relay.url, timeout=SOON) as registry:
        for _ in range(2):
            with ValkeyCluster() as servers:
                relay.target = servers.nodes[0].port
                eventually(lambda: registry_creates(registry))
                assert registry.exists(registry.create().session_id)


def trouble(servers: ValkeyCluster, is_over: threading.Event) -> None:
    """
    Restart one node after the other, and say when all is well again.
    """
    try:
        for node in servers.nodes:
            node.restart()
        servers.settle()
    finally:
        is_over.set()


def test_nothing_but_unavailable_comes_to_threads() -> None:
    """
    R14: while a cluster's nodes go and come, threads get answers or RegistryUnavailable.
    """
    told: list[RegistryUnavailable] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            try:
                made = registry.create(client_id="c", ttl=60)
                assert registry.get(made.session_id) == made
                registry.find(client_id="c", limit=2)
            except SessionNotFound:
                # It went with its node, which keeps nothing.
                continue
            except RegistryUnavailable as error:
                told.append(error)

    with (
        ValkeyCluster() as servers,
        SessionRegistry.open(servers.url, timeout=SOON) as registry,
        ThreadPoolExecutor(6) as pool,
    ):
        asking = [pool.submit(ask_on) for _ in range(6)]
        trouble(servers, is_over)
        for one in asking:
            one.result()
        assert told
        eventually(lambda: registry_creates(registry))


def test_nothing_but_unavailable_comes_to_tasks() -> None:
    """
    R14: while a cluster's nodes go and come, tasks get answers or RegistryUnavailable.
    """
    told: list[RegistryUnavailable] = []
    is_over = threading.Event()

    async def ask_on(registry: AsyncSessionRegistry) -> None:
        while not is_over.is_set():
            try:
                made = await registry.create(client_id="c", ttl=60)
                assert await registry.get(made.session_id) == made
                await registry.find(client_id="c", limit=2)
            except SessionNotFound:
                # It went with its node, which keeps nothing.
                continue
            except RegistryUnavailable as error:
                told.append(error)
                # A known outage is answered at once, without a turn for others.
                await asyncio.sleep(0)

    async def creates(registry: AsyncSessionRegistry) -> bool:
        try:
            return (await registry.create()).status == "active"
        except RegistryUnavailable:
            return False

    async def main(servers: ValkeyCluster) -> None:
        async with AsyncSessionRegistry.open(servers.url, timeout=SOON) as registry:
            asking = [asyncio.ensure_future(ask_on(registry)) for _ in range(20)]
            await asyncio.to_thread(trouble, servers, is_over)
            await asyncio.gather(*asking)
            assert told
            deadline = time.monotonic() + DEADLINE
            while not await creates(registry):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    with ValkeyCluster() as servers:
        asyncio.run(main(servers))


def test_a_cluster_without_slots_is_unavailable(face: Face) -> None:
    """
    A cluster that nobody has shared out yet is unavailable, and well afterwards.
    """
    with Valkey(cluster_enabled="yes") as node, face(node.url) as registry:
        with pytest.raises(RegistryUnavailable):
            registry.create()
        with node.client() as client:
            ask(client, "CLUSTER ADDSLOTSRANGE", 0, 16383)
            until(lambda: ask(client, "CLUSTER INFO")["cluster_state"] == "ok")
        assert registry.exists(registry.create().session_id)

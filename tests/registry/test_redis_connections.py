"""
What happens to connections to Redis: one that dies, one too many, a server that is another now.
"""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ReadOnlyError, TryAgainError

from idlanyard import EVERYONE
from idlanyard.registry import AsyncSessionRegistry, RegistryUnavailable, SessionRegistry
from idlanyard.registry._redis._keys import TAGS
from idlanyard.registry.fastapi import sessions_router
from ports import free_port
from registry.faces import Awaiting, Opened
from registry.gate import Gate
from registry.naming import eventually, fresh
from registry.patience import SLACK, stopwatch
from registry.redis_fixtures import SOON, Face, face, server
from registry.valkey import SLOTS, Valkey, ValkeyCluster, ask, until, valkey

__all__ = ["face", "server", "valkey"]

CROWD = 12


def crowd(registry: Opened, count: int = CROWD, rounds: int = 20) -> None:
    """
    Send from so many threads or tasks at once, so that each has a connection.
    """
    if isinstance(registry, Awaiting):

        async def several() -> None:
            for _ in range(rounds):
                asked = (registry._registry.exists(fresh()) for _ in range(count))
                await asyncio.gather(*asked)

        registry._runner.run(several())
        return
    barrier = threading.Barrier(count)

    def one() -> None:
        barrier.wait()
        for _ in range(rounds):
            registry.exists(fresh())

    with ThreadPoolExecutor(count) as pool:
        for asked in [pool.submit(one) for _ in range(count)]:
            asked.result()


def failures(registry: Opened, count: int = 30) -> list[RegistryUnavailable]:
    """
    Create sessions one after the other; return the errors of those that failed.
    """
    told: list[RegistryUnavailable] = []
    for _ in range(count):
        try:
            registry.create(client_id="c")
        except RegistryUnavailable as error:
            told.append(error)
    return told


def test_one_dead_connection_tells_of_all(face: Face, server: Valkey) -> None:
    """
    After connections died without a word, one question fails, and says that it may try.
    """
    with Gate(server.port) as gate, face(gate.url, timeout=SOON, pool_size=CROWD) as registry:
        registry.create()
        crowd(registry)
        assert len(gate.pairs) > CROWD // 2
        gate.vanish()
        told = failures(registry)
        assert [error.stale for error in told] == [True]


def test_dead_connections_to_a_cluster_fail_once(face: Face) -> None:
    """
    If the connections to all nodes died silently, one question fails.
    """
    with ExitStack() as stack:
        gates = [stack.enter_context(Gate()) for _ in range(3)]
        servers = stack.enter_context(ValkeyCluster(announced=[gate.port for gate in gates]))
        for gate, node in zip(gates, servers.nodes, strict=True):
            gate.target = node.port
        registry = stack.enter_context(face(gates[0].url, timeout=SOON, pool_size=CROWD))
        registry.create()
        crowd(registry)
        for gate in gates:
            gate.vanish()
        assert len(failures(registry)) <= 1


def test_connections_that_end_are_replaced(face: Face, server: Valkey) -> None:
    """
    Connections that a server or a proxy has ended make no question fail.
    """
    with Gate(server.port) as gate, face(gate.url, timeout=5, pool_size=CROWD) as registry:
        crowd(registry)
        gate.cut()
        assert failures(registry) == []


def test_those_in_use_are_given_up_when_they_come_back(server: Valkey) -> None:
    """
    A connection that was in use while another died is not used again.
    """
    with (
        Gate(server.port) as gate,
        SessionRegistry.open(gate.url, timeout=SOON) as registry,
    ):
        registry.create()
        (servers,) = registry._store._of_process.values()  # type: ignore[attr-defined]
        (place,) = servers._servers.values()
        crowd(registry, 2)
        with place._lock:
            used = place._links.take(lambda: None)
        gate.vanish()
        assert len(failures(registry, 3)) == 1
        place._give_back(used)
        assert failures(registry, 3) == []


def test_a_failover_by_an_address_is_followed(face: Face, server: Valkey) -> None:
    """
    If an address leads to a promoted replica, no verb fails because of the old primary.
    """
    with (
        Valkey() as replica,
        Gate(server.port) as gate,
        face(gate.url, pool_size=CROWD) as registry,
    ):
        registry.create()
        crowd(registry)
        with replica.client() as new, server.client() as old:
            ask(new, "REPLICAOF", "127.0.0.1", server.port)
            until(lambda: new.info("replication")["master_link_status"] == "up")
            ask(new, "REPLICAOF", "NO", "ONE")
            ask(old, "REPLICAOF", "127.0.0.1", replica.port)
            gate.target = replica.port
            assert failures(registry) == []
            assert new.dbsize() > 10


def test_one_that_stays_a_replica_is_told(face: Face, server: Valkey) -> None:
    """
    A refused create is sent once more, and fails if it is refused again.
    """
    with Valkey() as primary, face(server.url) as registry, server.client() as client:
        registry.create()
        ask(client, "REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: client.info("replication")["master_link_status"] == "up")
        (error,) = failures(registry, 1)
        assert isinstance(error.__cause__, ReadOnlyError)


def test_a_server_that_became_a_cluster_is_one(face: Face, server: Valkey) -> None:
    """
    A server that says MOVED is part of a cluster, which is asked then.
    """
    with (
        Gate(server.port) as gate,
        face(gate.url) as registry,
        ValkeyCluster() as servers,
    ):
        registry.create()
        gate.target = servers.nodes[0].port
        gate.cut()
        assert failures(registry) == []


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_a_failure_says_whether_a_new_connection_may_do(
    face: Face, server: Valkey, how: str
) -> None:
    """
    Stale is a connection that had answered, and failed; a new one that fails is not.
    """
    with face(server.url, timeout=SOON) as registry:
        registry.create()
        getattr(server, how)()
        flags = [error.stale for _ in range(2) for error in failures(registry, 1)]
        server.wake() if how == "freeze" else None
    assert flags == [how == "freeze", False]


def test_idle_connections_beyond_the_size_are_closed(face: Face, server: Valkey) -> None:
    """
    A pool keeps pool_size connections open, and closes what a crowd had beyond.
    """
    with (
        Gate(server.port) as gate,
        face(gate.url, pool_size=2, pool_max=CROWD) as registry,
    ):
        crowd(registry)
        assert gate.peak > 2
        until(lambda: gate.open == 2)


def test_no_more_connections_than_the_most(face: Face, server: Valkey) -> None:
    """
    However many threads or tasks ask, pool_max have a connection and the others wait.
    """
    with Gate(server.port) as gate, face(f"{gate.url}?pool_max=3") as registry:
        crowd(registry, 30)
        assert 1 < gate.peak <= 3


def test_no_more_connections_to_a_node_than_the_most(face: Face) -> None:
    """
    Of a cluster each node has pool_max connections at the most.
    """
    with ExitStack() as stack:
        gates = [stack.enter_context(Gate()) for _ in range(3)]
        servers = stack.enter_context(ValkeyCluster(announced=[gate.port for gate in gates]))
        for gate, node in zip(gates, servers.nodes, strict=True):
            gate.target = node.port
        with face(gates[0].url, pool_max=2) as registry:
            crowd(registry, 20)
        assert all(1 <= gate.peak <= 2 for gate in gates)


def test_who_finds_no_connection_free_is_told_which_option(server: Valkey) -> None:
    """
    A verb that waits for a connection longer than pool_wait fails, and says why.
    """
    with (
        SessionRegistry.open(server.url, timeout=10, pool_max=1, pool_wait=0.2) as registry,
        ThreadPoolExecutor(1) as pool,
    ):
        registry.create("a")
        server.freeze()
        slow = pool.submit(registry.exists, "a")
        (place,) = registry._store._of_process.values()  # type: ignore[attr-defined]
        (one,) = place._servers.values()
        eventually(lambda: not one._links._idle)
        try:
            with stopwatch() as seconds, pytest.raises(RegistryUnavailable) as told:
                registry.exists("b")
            assert seconds() < 5
        finally:
            server.wake()
        assert "raise pool_max" in str(told.value.__cause__)
        assert slow.result()


def test_a_task_that_finds_no_connection_free_is_told_which_option(server: Valkey) -> None:
    """
    The same for tasks; one that is cancelled in the queue leaves it.
    """

    async def main() -> None:
        url = f"{server.url}?pool_max=1&pool_wait=0.2"
        async with AsyncSessionRegistry.open(url, timeout=10) as registry:
            await registry.create("a")
            server.freeze()
            slow = asyncio.ensure_future(registry.exists("a"))
            await asyncio.sleep(0)
            gone = asyncio.ensure_future(registry.exists("a"))
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(RegistryUnavailable) as told:
                await registry.exists("b")
            server.wake()
            assert "raise pool_max" in str(told.value.__cause__)
            assert await slow
            assert await registry.exists("a")
            assert gone.cancelled()

    asyncio.run(main())


def test_who_has_connections_waits_for_one_of_them(face: Face, server: Valkey) -> None:
    """
    If the server takes no more connections, the open ones serve everyone.
    """
    with server.client() as client, face(server.url, pool_max=30) as registry:
        client.config_set("maxclients", 5)
        registry.create()
        crowd(registry, 20)
        assert failures(registry) == []


def test_a_crowd_that_the_server_does_not_take_is_told(face: Face, server: Valkey) -> None:
    """
    A process that has no connection, and gets none, fails at once and names maxclients.
    """
    with server.client() as client, face(server.url, pool_max=5) as registry:
        client.config_set("maxclients", 1)
        (error,) = failures(registry, 1)
        # The server says why and hangs up, and asyncio may notice that first.
        assert re.search("max number of clients|Connection lost", str(error.__cause__))
        assert not error.stale
        client.config_set("maxclients", 100)
        assert failures(registry) == []


def test_a_client_of_tests_may_have_a_loop_for_each_request(valkey: str) -> None:
    """
    A TestClient without `with` has an event loop for each request, and all are served.
    """
    app = FastAPI()
    registry = AsyncSessionRegistry.open(valkey)
    app.include_router(sessions_router(registry, authorize=EVERYONE))
    client = TestClient(app, raise_server_exceptions=False)
    codes = [client.post("/session/create", json={}).status_code for _ in range(3)]
    assert codes == [200, 200, 200]
    asyncio.run(registry.close())


def test_what_a_closed_loop_had_is_let_go(server: Valkey, recwarn: pytest.WarningsRecorder) -> None:
    """
    The connections of a closed loop are closed, by the next loop or by close().
    """
    # Django 5.2 leaves it the bodies of requests, in tests before this one.
    gc.collect()
    recwarn.clear()
    registry = AsyncSessionRegistry.open(server.url)

    async def several(sessions: AsyncSessionRegistry) -> None:
        await asyncio.gather(*(sessions.create() for _ in range(5)))

    for _ in range(3):
        asyncio.run(several(registry))
    asyncio.run(registry.close())
    del registry
    gc.collect()
    left = [str(one.message) for one in recwarn if issubclass(one.category, ResourceWarning)]
    assert left == []
    with server.client() as client:
        until(lambda: len(client.client_list()) == 1)


def test_a_registry_may_be_closed_from_elsewhere(server: Valkey) -> None:
    """
    Close() works while the loop that used the registry runs, and lets go of all.
    """
    registry = AsyncSessionRegistry.open(server.url)
    with asyncio.Runner() as first:
        first.run(registry.create())
        asyncio.run(registry.close())
        asyncio.run(registry.close())
        first.run(asyncio.sleep(0.01))
        with server.client() as client:
            until(lambda: len(client.client_list()) == 1)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_server_may_be_reached_by_a_socket(face: Face, tmp_path: Path, scheme: str) -> None:
    """
    redis+unix:// and valkey+unix:// reach a server by its socket, and wait no longer.
    """
    path = tmp_path / "a b.sock"
    with Valkey(unixsocket=f'"{path}"') as server:
        url = f"{scheme}+unix://{str(path).replace(' ', '%20')}?db=1"
        with face(url, timeout=SOON) as registry, server.client(db=1) as client:
            made = registry.create(client_id="c")
            assert registry.find(client_id="c") == [made]
            assert client.dbsize() > 0
            server.freeze()
            assert len(failures(registry, 1)) == 1
            server.wake()
        with face(f"unix://{str(path).replace(' ', '%20')}") as registry:
            assert not registry.exists("x")


def test_a_cluster_may_be_reached_by_a_socket(face: Face, tmp_path: Path) -> None:
    """
    A socket of one node leads to the whole cluster.
    """
    with ValkeyCluster() as servers:
        node = servers.nodes[0]
        node.stop()
        node._options["unixsocket"] = path = str(tmp_path / "s")
        node.start()
        servers.settle()
        with face(f"redis+unix://{path}") as registry:
            assert failures(registry) == []


def test_a_socket_that_is_not_there_is_an_outage(face: Face, tmp_path: Path) -> None:
    """
    A server that is started later makes its socket then.
    """
    with face(f"redis+unix://{tmp_path}/s") as registry:
        assert len(failures(registry, 1)) == 1


def test_valkeys_own_scheme_is_taken(face: Face, server: Valkey) -> None:
    """
    valkey:// is redis://.
    """
    with face(server.url.replace("redis:", "valkey:")) as registry:
        assert registry.create().status == "active"
    with face(f"valkey://127.0.0.1:{free_port()}") as registry:
        (error,) = failures(registry, 1)
        assert error.scheme == "redis"


def move(servers: ValkeyCluster, tag: str, *, source: int, target: int) -> None:
    """
    Move the slot of a hash tag with all its keys, a few at a time, as redis-cli does.
    """
    slot = key_slot(tag.encode())
    with ExitStack() as stack:
        nodes = [stack.enter_context(node.client()) for node in servers.nodes]
        old, new = nodes[source], nodes[target]
        part(old, new, slot)
        to: Any = ("127.0.0.1", servers.nodes[target].port, "", 0, 5000, "KEYS")
        for first in iter(lambda: next(old.scan_iter(f"{tag}*", count=1000), None), None):
            ask(old, "MIGRATE", *to, first)
        for node in (new, old):
            ask(node, "CLUSTER SETSLOT", slot, "NODE", name_of(new))


def part(old: Redis, new: Redis, slot: int) -> None:
    """
    Begin to move a slot.
    """
    ask(new, "CLUSTER SETSLOT", slot, "IMPORTING", name_of(old))
    ask(old, "CLUSTER SETSLOT", slot, "MIGRATING", name_of(new))


def name_of(node: Redis) -> str:
    """
    Return the ID of a node in its cluster.
    """
    name = ask(node, "CLUSTER MYID")
    return name if isinstance(name, str) else str(name, "ascii")


def tag_of(name: str) -> str:
    """
    Return the hash tag of a session.
    """
    return f"{{idlanyard:{sha256(name.encode()).digest()[0] % TAGS:02x}}}"


def test_creates_go_on_while_their_slots_move(face: Face) -> None:
    """
    While slots move with 2,000 sessions of a client, its creates wait, and none fails.
    """
    with ValkeyCluster() as servers, face(servers.url) as registry:
        names = [registry.create(client_id="c").session_id for _ in range(2000)]
        tags = [
            tag
            for tag in sorted({tag_of(name) for name in names})
            if key_slot(tag.encode()) < SLOTS // 3
        ]

        def move_all() -> None:
            for tag in tags:
                move(servers, tag, source=0, target=1)

        moving = threading.Thread(target=move_all)
        moving.start()
        while moving.is_alive():
            names += [registry.create(client_id="c").session_id for _ in range(10)]
            assert registry.get(names[-1]).client_id == "c"
            assert registry.end(names.pop()).client_id == "c"
            assert len(registry.find(client_id="c", limit=10)) == 10
        moving.join()
        assert len(names) > 2000
        found: list[str] = []
        while len(found) % 1000 == 0:
            after = found[-1] if found else None
            found += [
                one.session_id for one in registry.find(client_id="c", limit=1000, after=after)
            ]
        assert sorted(found) == sorted(names)


def test_touches_go_on_while_their_slot_moves(face: Face) -> None:
    """
    A touch beside many expired sessions is done while its slot is between two nodes.
    """
    with ValkeyCluster() as servers, face(servers.url, timeout=SOON) as registry:
        name = registry.create(client_id="c", ttl=60).session_id
        like = (one for one in iter(fresh, None) if tag_of(one) == tag_of(name))
        dead = [registry.create(next(like), client_id="c", ttl=0.1).session_id for _ in range(30)]
        eventually(lambda: not any(map(registry.exists, dead)))
        slot = key_slot(tag_of(name).encode())
        place = slot * 3 // SLOTS
        with servers.nodes[place].client() as old, servers.nodes[(place + 1) % 3].client() as new:
            part(old, new, slot)
            before = registry.get(name).expires_at
            after = registry.touch(name).expires_at
            assert before is not None
            assert after is not None
            assert after > before
            for node in (old, new):
                ask(node, "CLUSTER SETSLOT", slot, "STABLE")


def test_a_slot_that_is_in_motion_for_ever_is_an_outage(face: Face) -> None:
    """
    A create whose slot stays between two nodes fails within the timeout.
    """
    with ValkeyCluster() as servers, face(servers.url, timeout=SOON) as registry:
        name = registry.create(client_id="c").session_id
        slot = key_slot(tag_of(name).encode())
        like = next(one for one in iter(fresh, None) if tag_of(one) == tag_of(name))
        place = slot * 3 // SLOTS
        with servers.nodes[place].client() as old, servers.nodes[(place + 1) % 3].client() as new:
            part(old, new, slot)
            with stopwatch() as seconds, pytest.raises(RegistryUnavailable) as told:
                registry.create(like, client_id="c")
            assert seconds() < SOON + SLACK
            assert isinstance(told.value.__cause__, TryAgainError)
            for node in (old, new):
                ask(node, "CLUSTER SETSLOT", slot, "STABLE")
            assert registry.create(like, client_id="c").session_id == like

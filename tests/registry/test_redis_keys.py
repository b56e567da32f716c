"""
Keys at the server: their slots, times, layout, and all of them in a walk.
"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from redis import Redis
from redis.crc import key_slot

from idlanyard.registry import (
    RegistryMisconfigured,
    SessionExists,
    SessionNotFound,
    SessionRegistry,
)
from idlanyard.registry._questions import Put, Walk
from idlanyard.registry._record import Draft, Kept
from idlanyard.registry._redis._commands import insert
from idlanyard.registry._redis._keys import TAGS, VERSION, Namespace
from idlanyard.registry._redis._scripts import INSERT
from registry.faces import Opened, store_of
from registry.naming import eventually, fresh
from registry.operated import walked
from registry.redis_fixtures import (
    REQUEST,
    SOON,
    Face,
    alike,
    anywhere,
    face,
    follow,
    index_sizes,
    key_of,
    namespace,
    once,
    server,
    space,
    where,
)
from registry.redis_of_old import Old
from registry.valkey import Valkey, cluster, until, valkey

__all__ = ["anywhere", "cluster", "face", "namespace", "server", "space", "valkey"]


def test_a_session_and_its_place_in_an_index_are_in_one_slot(space: Namespace) -> None:
    """
    The keys of one script are in one slot of a cluster, and sessions are spread over slots.
    """
    slots = set()
    for number in range(256):
        key = bytes([number]) * 32
        keys = space.session(key), space.index(key, b"c" * 32), space.ended(key, b"n" * 16)
        assert len({key_slot(one) for one in keys}) == 1
        assert space.index(key, b"c" * 32) in space.indexes_of(b"c" * 32)
        slots.add(key_slot(keys[0]))
    assert len(slots) == TAGS


def test_nothing_outlives_its_time(face: Face, server: Valkey) -> None:
    """
    Expired sessions and their clients' indexes vanish by themselves, and nothing stays.
    """
    with face(server.url) as registry, server.client() as client:
        for name, ttl in zip(alike(3), (0.1, 0.3, 0.000001), strict=True):
            registry.create(name, client_id="c", ttl=ttl)
        until(lambda: client.keys() == [Namespace("idlanyard").version])
        assert registry.purge_expired() == 0


def test_an_index_lives_as_long_as_what_is_in_it(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    The index of a client with an endless session is endless, whoever came before and after.
    """
    first, endless, last, short = alike(4)
    index = space.index(key_of(first), key_of("c"))
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        registry.create(first, client_id="c", ttl=600)
        assert client.pttl(index) >= client.pttl(where(space, first)) > 0
        registry.touch(first, ttl=6000)
        assert client.pttl(index) >= client.pttl(where(space, first)) > 5_000_000
        registry.create(last, client_id="c", ttl=600)
        assert client.pttl(index) >= client.pttl(where(space, first)) > 5_000_000
        registry.create(endless, client_id="c")
        assert client.pttl(index) == -1
        registry.touch(first, ttl=600)
        registry.touch(last, ttl=10**9)
        registry.create(short, client_id="c", ttl=600)
        assert client.pttl(index) == -1
        for name in (first, endless, last, short):
            registry.end(name)
        assert client.exists(index) == 0


def test_a_time_below_a_millisecond_is_one(face: Face, valkey: str) -> None:
    """
    The shortest time to live is kept as it was given, and is over soon.
    """
    with face(valkey) as registry:
        name = fresh()
        made = registry.create(name, client_id=name, ttl=0.000001)
        assert made.expires_at - made.created_at == timedelta(microseconds=1)
        eventually(lambda: not registry.exists(name))
        assert registry.create(name).expires_at is None


def test_no_time_is_too_short_to_be_there(server: Valkey, space: Namespace) -> None:
    """
    The shortest time to live, too, begins after the create, and is below three milliseconds.
    """
    with server.client() as client, client.pipeline(transaction=True) as transaction:
        transaction.eval(INSERT.text, 1, where(space, "a"), b"n" * 16, "a", "{}", 1)
        transaction.pttl(where(space, "a"))
        (created, expires, *_), left = transaction.execute()
    assert expires - created == 1
    assert 0 <= left <= 2


def test_an_ended_session_leaves_nothing(face: Face, server: Valkey) -> None:
    """
    An ended session leaves the server once its end can no longer be sent again.
    """
    with face(server.url, timeout=SOON) as registry, server.client() as client:
        registry.create("a", client_id="c")
        registry.create("b", ttl=600)
        registry.end("a")
        registry.end("b")
        assert client.dbsize() <= 3
        until(lambda: client.keys() == [Namespace("idlanyard").version])


def test_times_are_the_servers(valkey: str) -> None:
    """
    Created_at is by the server's clock, to the microsecond.
    """
    with SessionRegistry.open(valkey) as registry:
        before, made, after = time.time(), registry.create(), time.time()
        assert before - 1 <= made.created_at.timestamp() <= after + 1
        assert registry.get(made.session_id).created_at == made.created_at


def test_what_was_drafted_is_kept(valkey: str, namespace: str, space: Namespace) -> None:
    """
    Every field of a draft is kept.
    """
    draft = Draft(key_of("a"), "a", key_of("c"), "c", '{"n":1}', None)
    with SessionRegistry.open(valkey, namespace=namespace) as registry:
        row = follow(registry, insert(space, draft, 1.0))
        assert row[:3] == ("a", "c", '{"n":1}')
        assert row.expires is None
        assert follow(registry, insert(space, draft, 1.0)) is None


@pytest.mark.parametrize("content", ["text", "set", "hash"])
def test_what_is_not_ours_is_left_alone(
    face: Face, server: Valkey, namespace: str, space: Namespace, content: str
) -> None:
    """
    A key of ours with foreign content is misconfigured, and is neither changed nor believed.
    """

    def put(client: Redis, key: bytes) -> None:
        if content == "text":
            client.set(key, "x")
        elif content == "set":
            client.sadd(key, "x")
        else:
            client.hset(key, mapping={"id": "a", "created": "x", "metadata": "{}"})

    with face(server.url, namespace=namespace) as registry, server.client() as client:
        put(client, where(space, "a"))
        for verb in (registry.get, registry.exists):
            with pytest.raises(RegistryMisconfigured, match="choose another namespace"):
                verb("a")
        with pytest.raises((RegistryMisconfigured, SessionExists)):
            registry.create("a")
        client.flushdb()
        index = space.index(key_of("a"), key_of("c"))
        put(client, index)
        with pytest.raises(RegistryMisconfigured, match="choose another namespace"):
            registry.create("a", client_id="c")
        assert client.keys() == [index]
        with pytest.raises(RegistryMisconfigured, match="choose another namespace"):
            registry.find(client_id="c")
        client.flushdb()
        assert registry.create("a", client_id="c") in registry.find(client_id="c")


def test_processes_of_the_first_version_go_on(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Sessions of the first layout are everybody's, and so are those of this one, at the same time.
    """
    before, after, mine = fresh("a"), fresh("b"), fresh("c")
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        old = Old(client, space)
        old.create(before, "c", ttl=60)
        assert registry.get(before).client_id == "c"
        registry.create(mine, client_id="c", ttl=60, idempotency_key="k")
        old.create(after, "c")
        names = [before, after, mine]
        assert [one.session_id for one in registry.find(client_id="c")] == names
        assert old.find("c") == names
        for touch in (old.touch, registry.touch):
            for name in names:
                touch(name, ttl=600)
        assert {kept.session_id for kept in walked(registry)} == set(names)
        assert registry.purge_expired() == 0
        old.end(mine)
        registry.end(before)
        registry.end(after)
        assert old.find("c") == [] == registry.find(client_id="c")


def test_what_the_first_version_touches_stays_found(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    A session that an old process keeps alive beyond its noted end is found, and noted anew.
    """
    name, endless = alike(2)
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        old = Old(client, space)
        registry.create(name, client_id="c", ttl=2)
        old.touch(name, ttl=600)
        ends = space.ends(key_of(name), key_of("c"))
        noted = client.zscore(ends, name)
        assert isinstance(noted, float)
        # The old process makes the index live on, but not its ends.
        client.persist(ends)
        until(lambda: float(client.time()[0]) > noted / 1_000_000 + 1)
        assert [one.session_id for one in registry.find(client_id="c")] == [name]
        assert float(client.zscore(ends, name) or 0) > noted + 500_000_000
        old.create(endless, "c")
        client.zadd(ends, {endless: 1})
        assert len(registry.find(client_id="c")) == 2


def test_what_the_first_version_left_is_cleared(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Purging, online, takes the dead of the first layout out of the indexes and notes the others.
    """
    dead, living = alike(250), alike(250)
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        old = Old(client, space)
        for name in living:
            old.create(name, "c", ttl=600)
        for name in dead:
            old.create(name, "c", ttl=0.001)
        until(lambda: len(client.keys("*:session:*")) == 250)
        assert registry.purge_expired() == 250
        assert index_sizes(client) == index_sizes(client, "ends") == 250
        assert len(registry.find(client_id="c", limit=1000)) == 250


def test_the_layout_is_noted_once(
    face: Face, anywhere: str, namespace: str, space: Namespace
) -> None:
    """
    The first use of a namespace notes the version of its layout, in a key of its own.
    """
    with Redis.from_url(anywhere) as client, face(anywhere, namespace=namespace) as registry:
        registry.exists("a")
        with SessionRegistry.open(anywhere, namespace=namespace) as other:
            version = follow(other, once("send", "GET", space.version))
        assert int(version) == VERSION
        assert space.version == f"{{{namespace}:layout}}".encode()
        assert client.ping()


@pytest.mark.parametrize("content", [b"3", b"two"])
def test_another_layout_is_told(
    face: Face, server: Valkey, namespace: str, space: Namespace, content: bytes
) -> None:
    """
    A layout that this version does not know is a fault of the configuration, and is left alone.
    """
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        client.set(space.version, content)
        for verb in (registry.create, registry.count, registry.check):
            with pytest.raises(RegistryMisconfigured, match="install the version that made it"):
                verb()
        assert client.keys() == [space.version]


def test_who_may_not_note_the_layout_reads(face: Face, server: Valkey, namespace: str) -> None:
    """
    A full server and a replica have no layout noted on them, and answer all the same.
    """
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        client.config_set("maxmemory", "1")
        assert not registry.exists("a")
        client.config_set("maxmemory", "0")
        assert client.keys() == []
        registry.create("a")
        assert len(client.keys()) == 2


def test_a_walk_does_not_go_on_at_another_server(face: Face, namespace: str) -> None:
    """
    A place of a server that was started again since is refused, since its order is another one.
    """
    with Valkey(appendonly="yes") as one, face(one.url, namespace=namespace) as registry:
        for number in range(50):
            registry.create(f"s{number}")
        stretch = store_of(registry).ask(Walk(None, 5))
        assert stretch.after is not None
        assert store_of(registry).ask(Walk(stretch.after, 5)).sessions
        one.restart()
        eventually(lambda: answers(registry))
        with pytest.raises(ValueError, match="begin anew"):
            store_of(registry).ask(Walk(stretch.after, 5))
        for place in ("9-0-x", "x-1-y", "0-1-y"):
            with pytest.raises(ValueError, match="begin anew"):
                store_of(registry).ask(Walk(place, 5))


def answers(registry: Opened) -> bool:
    """
    Return whether the server is there again.
    """
    try:
        return bool(registry.exists("s1"))
    except Exception:
        return False


def test_a_walk_passes_what_is_not_a_session(face: Face, server: Valkey, namespace: str) -> None:
    """
    A walk and a count go by everything else that the server keeps.
    """
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        client.mset({f"k{number}": "" for number in range(3000)})
        names = {
            registry.create(client_id="c", idempotency_key=str(one)).session_id for one in range(5)
        }
        assert {kept.session_id for kept in walked(registry, limit=10)} == names
        assert registry.count() == 5


def test_a_thousand_sessions_are_put_at_once(face: Face, anywhere: str, namespace: str) -> None:
    """
    As many as may be put at once are, with their clients, ends and keys.
    """
    sessions = [
        Kept(
            f"s{one}",
            f"c{one % 3}" if one % 4 else None,
            "{}",
            10**9 if one % 2 else None,
            10**15 + one,
            4 * 10**15 if one % 2 else None,
            key_of(str(one)) if one % 5 == 0 else None,
            REQUEST if one % 5 == 0 else None,
        )
        for one in range(1000)
    ]
    with face(anywhere, namespace=namespace, timeout=20) as registry:
        assert store_of(registry).ask(Put(sessions)) == ["kept"] * 1000
        assert sorted(walked(registry)) == sorted(sessions)
        assert store_of(registry).ask(Put(sessions)) == ["same"] * 1000
        assert len(registry.find(client_id="c0", limit=1000)) == 250


def test_of_two_with_one_key_the_first_is_put(face: Face, anywhere: str, namespace: str) -> None:
    """
    Two sessions with one idempotency key among those that are put at once: the first has it.
    """
    one = Kept("a", None, "{}", None, 10**15, None, key_of("k"), REQUEST)
    with face(anywhere, namespace=namespace) as registry:
        puts = [one, one._replace(session_id="b"), one._replace(idempotency=None, request=None)]
        assert store_of(registry).ask(Put(puts[:2])) == ["kept", "taken"]
        assert store_of(registry).ask(Put(puts[2:])) == ["same"]
        assert store_of(registry).ask(Put([puts[1]])) == ["kept"]


def test_what_is_put_may_change_its_client(
    face: Face, server: Valkey, namespace: str, space: Namespace
) -> None:
    """
    A session that is put again for another client, or none, leaves the index of the one before.
    """
    one = Kept("a", "first", "{}", 10**9, 10**15, 4 * 10**15)
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        for client_id in ("first", "second", None):
            store_of(registry).ask(Put([one._replace(client_id=client_id)]))
            for name in ("first", "second"):
                assert len(registry.find(client_id=name)) == (name == client_id)
        assert index_sizes(client) == index_sizes(client, "ends") == 0
        over = one._replace(session_id="b", expires=1, idempotency=key_of("k"), request=REQUEST)
        assert store_of(registry).ask(Put([over])) == ["expired"]
        assert client.keys("*:create:*") == []
        with pytest.raises(SessionNotFound):
            registry.get("b")

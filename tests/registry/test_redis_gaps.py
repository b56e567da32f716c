"""
Gaps in a client's indexes, by which pages skip what has expired.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.crc import key_slot

from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable, SessionRegistry
from idlanyard.registry._redis._keys import TAGS, Namespace, ends_of
from idlanyard.registry._redis._paging import MOST_CLEARED, drop_names, read_call, read_page
from idlanyard.registry._redis._scripts import READ
from idlanyard.registry._redis._settings import rights_of
from registry.redis_fixtures import (
    SOON,
    alike,
    follow,
    key_of,
    namespace,
    once,
    server,
    space,
    where,
)
from registry.redis_gaps import LEAST, MOST_GAPS, NEVER, OVER, Gap, Index, client, found, registry
from registry.redis_of_old import Old
from registry.valkey import SLOTS, Valkey, ValkeyCluster, ask, valkey

__all__ = ["client", "namespace", "registry", "server", "space", "valkey"]


def test_expired_ids_are_skipped_one_by_one_only_once(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    The first page that skips expired IDs notes where they are; later ones read past them at once.
    """
    names = sorted(alike(3000))
    dead, living = names[:2400], names[2400:]
    index = Index(registry, client, space, names)
    index.keep(names)
    index.expire(dead)
    start = b"-"
    for number in (1, 2, 3):
        call = read_call(index.index, start, LEAST, 0, 0, "skip")
        _, _, start, _, _ = follow(registry, once("run", *call))
        assert [gap.size for gap in index.gaps()] == [number * LEAST]
    for _ in range(2):
        assert index.read() == living
    (gap,) = index.gaps()
    assert (gap.first, gap.last, gap.size) == (dead[0].encode(), dead[-1].encode(), 2400)
    call = read_call(index.index, b"-", 5, 0, 0, "skip")
    assert follow(registry, once("run", *call))[0] == [name.encode() for name in living[:5]]
    # A page that begins inside a gap skips the rest of it.
    call = read_call(index.index, b"(" + dead[999].encode(), 5, 0, 0, "skip")
    assert follow(registry, once("run", *call))[0] == [name.encode() for name in living[:5]]


def test_a_page_does_little_behind_many_expired_sessions(
    server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    The first page goes through the expired IDs in its way, and the second one past them.
    """
    living = [f"living-{number:05}" for number in range(TAGS * 600)]
    reads: list[int] = []
    with (
        SessionRegistry.open(server.url, namespace=namespace, timeout=30) as registry,
        server.client() as client,
    ):
        litter(client, space, [f"dead-{one:06}" for one in range(6 * MOST_CLEARED)], OVER)
        litter(client, space, living, NEVER)
        for name in living[:10]:
            registry.create(name, client_id="c")
        for _ in range(2):
            modes: Counter[str] = Counter()
            rows = follow(registry, counted(read_page(space, key_of("c"), None, 10), modes))
            assert [row.session_id for row in rows] == living[:10]
            reads.append(modes["skip"])
    assert reads[1] < TAGS * 2 < reads[0]


def counted(question: Any, modes: Counter[str]) -> Any:
    """
    Pass the steps of a question on, and count how often an index is read in each mode.
    """
    answer = None
    while True:
        try:
            method, arguments = question.send(answer)
        except StopIteration as done:
            return done.value
        if method == "run_all":
            modes.update(words[-1] for script, _, words in arguments[0] if script is READ)
        answer = yield method, arguments


def litter(client: Redis, space: Namespace, names: list[str], end: int) -> None:
    """
    Put IDs without sessions into the indexes of ``"c"`` and their ends.
    """
    indexes: dict[bytes, list[str]] = {}
    for name in names:
        indexes.setdefault(space.index(key_of(name), key_of("c")), []).append(name)
    for index, inside in indexes.items():
        client.zadd(index, dict.fromkeys(inside, 0))
        client.zadd(ends_of(index), dict.fromkeys(inside, end))


def test_a_session_made_in_a_gap_is_found(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    A gap is forgotten by whatever brings a session into it, and by nothing else.
    """
    names = sorted(alike(900))
    dead, living = names[:600], names[600:]
    index = Index(registry, client, space, names)
    anew = dead[100]
    between = next(one for one in alike(500) if dead[0] < one < dead[-1])

    def put() -> str:
        index.keep([dead[200]])
        return dead[200]

    def touch_unnoted() -> str:
        registry.create(dead[300], client_id="c", ttl=600)
        client.zadd(index.ends, {dead[300]: OVER})
        assert index.read() == living
        registry.touch(dead[300], ttl=700)
        return dead[300]

    def drop_unnoted() -> str:
        registry.create(dead[400], client_id="c", ttl=600)
        client.zadd(index.ends, {dead[400]: OVER})
        assert index.read() == living
        follow(registry, drop_names(space, index.index, [dead[400].encode()]))
        return dead[400]

    acts: list[Callable[[], str]] = [
        lambda: registry.create(anew, client_id="c", ttl=60).session_id,
        lambda: registry.create(between, client_id="c").session_id,
        put,
        touch_unnoted,
        drop_unnoted,
    ]
    index.keep(living)
    for act in acts:
        index.keep(dead)
        index.expire(dead)
        assert index.read() == living
        registry.touch(living[0], ttl=7200)
        registry.end(living[0])
        registry.create(living[0], client_id="c", ttl=3600)
        assert len(index.gaps()) == 1
        name = act()
        assert index.gaps() == []
        assert index.read() == sorted([name, *living])
        registry.end(name)


def test_a_gap_is_trusted_once_its_time_is_over(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    A gap that a server with a later clock has noted hides no session.
    """
    names = sorted(alike(600))
    index = Index(registry, client, space, names)
    index.keep(names)
    later = int((time.time() + 7000) * 1_000_000)
    first, last = names[0], names[299]
    client.zadd(index.ends, {f"\0{first}\0{last}\0{300}\0{later}": "-inf"})
    client.zadd(index.ends, {names[-1]: OVER})
    assert index.read() == names[:-1]
    assert index.gaps() == []


def test_an_index_has_few_gaps_and_keeps_the_largest(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    Of more gaps than an index may have, the smallest ones are read each time.
    """
    names = sorted(alike(1800))
    index = Index(registry, client, space, names)
    sizes = (300, 90, 250, 80, 350, 200, 70)
    dead: list[str] = []
    first = 0
    for size in sizes:
        dead += names[first : first + size]
        first += size + 50
    index.keep(names)
    index.expire(dead)
    largest: list[list[Gap]] = []
    for _ in range(3):
        assert index.read() == sorted(set(names) - set(dead))
        index.check()
        gaps = sorted(index.gaps(), key=lambda gap: gap.size)
        assert len(gaps) == MOST_GAPS
        largest.append(gaps[1:])
    assert largest[1] == largest[2]
    # Each gap begins with the first read that has expired IDs only.
    assert sum(gap.size for gap in largest[2]) > 300 + 250 + 350 - 3 * LEAST


def test_gaps_leave_with_their_sessions(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    A gap counts the IDs that are left in it, lives as long as the ends, and leaves with them.
    """
    names = sorted(alike(500))
    dead, living = names[:200], names[200:]
    index = Index(registry, client, space, names)
    index.keep(names)
    index.expire(dead)
    assert index.read() == living
    some = [name.encode() for name in dead[:50]]
    assert follow(registry, drop_names(space, index.index, some)) == 50
    assert [gap.size for gap in index.gaps()] == [150]
    assert index.read() == living
    assert client.pttl(index.ends) >= client.pttl(index.index) > 0
    assert registry.purge_expired() == 150
    assert index.gaps() == []
    assert index.read() == living
    index.expire(living)
    assert registry.purge_expired() == 300
    assert client.exists(index.index, index.ends) == 0


def test_an_old_process_hides_no_session_in_a_gap(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    A session that an old process makes in a gap is found, though it ends another one besides.
    """
    names = sorted(alike(604))
    dead, living = [*names[:100], *names[101:300]], names[300:600]
    made, more = names[100], names[600:]
    index = Index(registry, client, space, names)
    old = Old(client, space)
    index.keep([*dead, *living])
    index.expire(dead)
    assert index.read() == living
    # As many IDs are in the gap as it counts, and more in the index than in the ends.
    client.zrem(index.index, dead[7])
    for name in (made, *more):
        old.create(name, "c")
    for _ in range(3):
        assert index.read() == sorted([made, *living, *more])
    # As many are in the index as in the ends, and one more in the gap.
    client.zadd(index.index, {dead[7]: 0})
    for name in living[-5:]:
        old.end(name)
    for _ in range(3):
        assert index.read() == sorted([made, *living[:-5], *more])
    follow(registry, drop_names(space, index.index, [one.encode() for one in dead[:150]]))
    assert index.read() == sorted([made, *living[:-5], *more])
    registry.purge_expired()
    assert found(registry) == sorted([made, *living[:-5], *more])


def test_what_an_old_process_removed_leaves_no_gap_that_counts_it(
    registry: SessionRegistry, client: Redis, space: Namespace
) -> None:
    """
    Once an ID that an old process has removed leaves the ends, no gap counts it any more.
    """
    names = sorted(alike(602))
    made, removed, ended = names[100], names[7], names[-1]
    dead, living = [*names[:100], *names[101:300]], names[300:]
    index = Index(registry, client, space, names)
    old = Old(client, space)
    index.keep([*dead, *living])
    index.expire(dead)
    assert index.read() == living
    client.zrem(index.index, removed)
    old.create(made, "c")
    old.end(ended)
    # Then index and ends have equally many IDs, and the gap as many as before.
    assert follow(registry, drop_names(space, index.index, [removed.encode()])) == 1
    for _ in range(2):
        assert index.read() == [made, *living[:-1]]


def test_a_full_server_is_read_without_gaps(
    server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    A page comes from a server that takes no more, and from one that may not be written.
    """
    names = sorted(alike(600))
    dead, living = names[:300], names[300:]
    with (
        SessionRegistry.open(server.url, namespace=namespace) as registry,
        server.client() as client,
    ):
        index = Index(registry, client, space, names)
        index.keep(names)
        index.expire(dead)
        for setting in ("maxmemory", "min-replicas-to-write"):
            client.config_set(setting, 1)
            assert index.read() == living
            assert index.gaps() == []
            client.config_set(setting, 0)
        assert index.read() == living
        client.config_set("maxmemory", 1)
        assert index.read() == living
        some = [name.encode() for name in dead[:10]]
        assert follow(registry, drop_names(space, index.index, some)) == 10
        assert index.read() == living
        index.check()


@contextmanager
def opened(
    server: Valkey, namespace: str
) -> Iterator[tuple[SessionRegistry, SessionRegistry, Redis]]:
    """
    Open a registry, one of a user with fewer rights, and a client.
    """
    url = server.url.replace("redis://", "redis://lanyard:secret@")
    with (
        SessionRegistry.open(server.url, namespace=namespace) as registry,
        SessionRegistry.open(url, namespace=namespace) as limited,
        server.client() as client,
    ):
        yield registry, limited, client


def limit_user(client: Redis, space: Namespace, right: str) -> None:
    """
    Give the user all rights of the page but one.
    """
    rights = [one for one in rights_of(space).split() if right not in one]
    ask(client, "ACL SETUSER", "lanyard", "on", ">secret", *rights)


def test_without_a_right_nothing_is_half_done(
    server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Without the right to count the IDs of gaps an end is refused, does nothing, and check() says so.
    """
    names = sorted(alike(600))
    last = names[-1]
    with opened(server, namespace) as (registry, limited, client):
        index = Index(registry, client, space, names)
        index.keep(names)
        index.expire(names[:300])
        assert index.read() == names[300:]
        limit_user(client, space, "zlexcount")
        with pytest.raises(RegistryMisconfigured, match=r"\+zlexcount"):
            limited.end(last)
        assert index.read() == names[300:]
        assert registry.exists(last)
        client.zrem(index.ends, *client.zrangebyscore(index.ends, "-inf", "-inf"))
        with pytest.raises(RegistryMisconfigured, match=r"\+zlexcount"):
            limited.check()


def test_a_user_who_cannot_count_ids_notes_no_gap(
    server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Pages of a user without the right to count IDs note no gap, so that ends are done as before.
    """
    names = sorted(alike(600))
    with opened(server, namespace) as (registry, limited, client):
        index = Index(registry, client, space, names)
        index.keep(names)
        index.expire(names[:300])
        limit_user(client, space, "zlexcount")
        assert Index(limited, client, space, names).read() == names[300:]
        assert index.gaps() == []
        limited.end(names[-1])
        assert not registry.exists(names[-1])


def test_a_user_who_cannot_read_gaps_is_refused(
    server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    A session is not put into a gap, or extended there, by a user who cannot read the gaps.
    """
    names = sorted(alike(600))
    dead, living = names[:300], names[300:]
    with opened(server, namespace) as (registry, limited, client):
        index = Index(registry, client, space, names)
        index.keep(names)
        unnoted = dead[60]
        index.expire([name for name in dead if name != unnoted])
        # It lives, and its end is one that a process of the first layout has not changed.
        client.zadd(index.ends, {unnoted: OVER}, xx=True)
        assert index.read() == living
        limit_user(client, space, "zrangebyscore")
        with pytest.raises(RegistryMisconfigured, match=r"\+zrangebyscore"):
            Index(limited, client, space, names).keep([dead[150]])
        with pytest.raises(RegistryMisconfigured, match=r"\+zrangebyscore"):
            limited.touch(unnoted, ttl=900)
        assert not registry.exists(dead[150])
        assert registry.touch(unnoted, ttl=900).session_id == unnoted
        assert index.read() == [unnoted, *living]
        index.check()


MOVED_FIRST = ["ends", "index", "index and ends", "sessions"]


@pytest.mark.parametrize("first", MOVED_FIRST)
def test_gaps_move_with_their_slot(servers: ValkeyCluster, first: str) -> None:
    """
    While index, ends and sessions are at two nodes, no gap hides what is made or touched.
    """
    tag = MOVED_FIRST.index(first)
    names = sorted(alike(500, tag=tag))
    dead, living = names[:200], names[200:]
    space = Namespace("idlanyard")
    with SessionRegistry.open(servers.url, timeout=SOON) as registry:
        slot, source, target = servers_of(servers, space, names[0])
        with source.client() as old, target.client() as new:
            index = Index(registry, old, space, names)
            index.keep(names)
            unnoted = dead.pop(50)
            index.expire(dead)
            old.zadd(index.ends, {unnoted: OVER})
            assert index.read() == living
            assert len(index.gaps()) == 1
            begin_to_move(old, new, slot)
            sessions = [where(space, name) for name in (unnoted, dead[20], *living)]
            sets = {"ends": [index.ends], "index": [index.index], "sessions": []}
            moved = sets.get(first, [index.index, index.ends])
            carry(old, target, moved if first == "index" else [*moved, *sessions])
            try:
                registry.touch(unnoted, ttl=3700)
                registry.create(dead[20], client_id="c", ttl=600)
            except RegistryUnavailable:
                pass
            carry(old, target, [index.index, index.ends, *sessions])
            for client in (new, old):
                ask(client, "CLUSTER SETSLOT", slot, "NODE", ask(new, "CLUSTER MYID"))
        with target.client() as new:
            index = Index(registry, new, space, names)
            registry.touch(unnoted, ttl=3800)
            if not registry.exists(dead[20]):
                registry.create(dead[20], client_id="c", ttl=600)
            assert index.read() == sorted([dead[20], unnoted, *living])
            index.check()


@pytest.fixture(scope="module")
def servers() -> Any:
    """
    Start a cluster whose slots the tests of this file move.
    """
    with ValkeyCluster() as servers:
        yield servers


def servers_of(servers: ValkeyCluster, space: Namespace, name: str) -> tuple[int, Valkey, Valkey]:
    """
    Return the slot of a session, its node and the next one.
    """
    slot = key_slot(where(space, name))
    place = slot * 3 // SLOTS
    return slot, servers.nodes[place], servers.nodes[(place + 1) % 3]


def begin_to_move(old: Redis, new: Redis, slot: int) -> None:
    """
    Begin to move a slot from one node to another.
    """
    ask(new, "CLUSTER SETSLOT", slot, "IMPORTING", ask(old, "CLUSTER MYID"))
    ask(old, "CLUSTER SETSLOT", slot, "MIGRATING", ask(new, "CLUSTER MYID"))


def carry(old: Redis, target: Valkey, keys: Any) -> None:
    """
    Move keys to another node.
    """
    ask(old, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

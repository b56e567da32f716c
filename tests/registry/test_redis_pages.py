"""
Pages of a client's sessions, and the expired ones in its indexes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from idlanyard.registry import (
    SessionRegistry,
)
from idlanyard.registry._questions import Put
from idlanyard.registry._record import Kept
from idlanyard.registry._redis._keys import TAGS, Namespace
from idlanyard.registry._redis._paging import (
    BATCH,
    LARGEST_READ,
    LARGEST_ROUND,
    MOST_CLEARED,
    drop_names,
    read_page,
)
from idlanyard.registry._redis._scripts import READ
from registry.faces import store_of
from registry.naming import eventually, fresh
from registry.redis_fixtures import (
    Face,
    alike,
    anywhere,
    face,
    follow,
    index_sizes,
    key_of,
    namespace,
    server,
    space,
    where,
)
from registry.redis_of_old import Old
from registry.valkey import Valkey, cluster, until, valkey

__all__ = ["anywhere", "cluster", "face", "namespace", "server", "space", "valkey"]


def test_purging_clears_the_indexes(
    face: Face, anywhere: str, namespace: str, space: Namespace
) -> None:
    """
    Purging counts the dead entries of every client's indexes, takes them out, and no more.
    """
    dead, living = alike(BATCH * 2 + 5), fresh()
    with face(anywhere, namespace=namespace) as registry:
        for client in ("busy", "other"):
            registry.create(living + client, client_id=client)
            registry.create(alike(1)[0], client_id=client, ttl=600)
        registry.create(last := alike(1)[0], client_id="other", ttl=0.001)
        # All expire at once: a create or a touch would clear expired IDs in passing.
        now, life = time.time_ns() // 1000, 3_000_000
        batch = [Kept(name, "busy", "{}", life, now, now + life) for name in dead]
        assert set(store_of(registry).ask(Put(batch))) == {"kept"}
        eventually(lambda: not any(map(registry.exists, [*dead[-3:], last])))
        assert registry.purge_expired() == len(dead) + 1
        assert registry.purge_expired() == 0
        for client in ("busy", "other"):
            assert len(registry.find(client_id=client)) == 2


def test_purging_goes_through_all_keys(face: Face, server: Valkey) -> None:
    """
    Purging finds every client's index among however many keys.
    """
    with face(server.url) as registry, server.client() as client:
        client.mset({f"other{number}": "" for number in range(5000)})
        space = Namespace("idlanyard")
        indexes = [space.index(bytes([one]), key_of(str(one))) for one in range(60)]
        for index in indexes:
            client.zadd(index, {"gone": 0})
        client.zadd(indexes[0], {str(number): 0 for number in range(BATCH - 1)})
        assert registry.purge_expired() == 60 + BATCH - 1
        assert client.dbsize() == 5000 + 1


def test_finding_clears_what_it_walks_over(
    face: Face, server: Valkey, namespace: str, space: Namespace
) -> None:
    """
    A page takes dead entries out of the indexes, many and few, and is full all the same.
    """
    dead, few = alike(BATCH * 2 + 5), alike(3, tag=1)
    living = [f"~{number}" for number in range(5)]
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        registry.create(living[0], client_id="c")
        for name in dead + few:
            index = space.index(key_of(name), key_of("c"))
            client.zadd(index, {name: 0})
        for name in living[1:]:
            registry.create(name, client_id="c")
        found = registry.find(client_id="c", limit=5)
        assert [one.session_id for one in found] == living
        assert sum(map(client.zcard, space.indexes_of(key_of("c")))) == 5


def test_pages_are_in_order_however_the_ids_are_spread(face: Face, anywhere: str) -> None:
    """
    Pages are whole and in order where one index has more than its share.
    """
    client = fresh("client")
    names = sorted(alike(BATCH * 2) + [fresh() for _ in range(BATCH)], key=str.encode)
    with face(anywhere) as registry:
        for name in reversed(names):
            registry.create(name, client_id=client)
        for limit in (7, BATCH, BATCH + 1, 1000):
            found: list[str] = []
            while True:
                after = found[-1] if found else None
                part = registry.find(client_id=client, limit=limit, after=after)
                found += [one.session_id for one in part]
                if len(part) < limit:
                    break
            assert found == names


def test_no_step_of_a_page_is_large(valkey: str, namespace: str, space: Namespace) -> None:
    """
    However much of an index is dead, each step asks for a bounded part of it.
    """
    names = alike(BATCH * 5)
    index = space.index(key_of(names[0]), key_of("c"))
    sizes: dict[str, list[int]] = {"try_run": [], "run_all": [], "send_all": []}
    with SessionRegistry.open(valkey, namespace=namespace) as registry:
        with Redis.from_url(valkey) as client:
            client.zadd(index, dict.fromkeys(names, 0))
        registry.create("~", client_id="c")
        rows = follow(registry, noted(read_page(space, key_of("c"), None, 5), sizes))
    assert [row.session_id for row in rows] == ["~"]
    assert max(sizes["send_all"]) <= BATCH
    assert max(sizes["run_all"]) <= TAGS
    assert len(sizes["try_run"]) > 1
    assert max(sizes["try_run"]) <= BATCH + 5


def noted(question: Any, sizes: dict[str, list[int]]) -> Any:
    """
    Note how many keys each step has, or commands.
    """

    def note(method: str, arguments: Any) -> None:
        sizes[method].append(len(arguments[1] if method == "try_run" else arguments[0]))

    return watched(question, note)


def watched(question: Any, note: Callable[[str, Any], None]) -> Any:
    """
    Pass the steps of a question on, and note each.
    """
    answer = None
    while True:
        try:
            method, arguments = question.send(answer)
        except StopIteration as done:
            return done.value
        note(method, arguments)
        answer = yield method, arguments


def test_a_page_and_its_rounds_are_bounded(
    server: Valkey, namespace: str, space: Namespace
) -> None:
    """
    However many expired IDs are in its way, a page looks up some, and each round reads few.
    """
    dead = [f"dead-{number:05}" for number in range(80_000)]
    # More than the ends are asked for.
    behind = [f"~{number:05}" for number in range(40_000)]
    counts: list[int] = []
    with SessionRegistry.open(server.url, namespace=namespace, timeout=30) as registry:
        registry.create("living", client_id="c")
        with server.client() as client:
            littered(client, space, dead, noted=True)
            littered(client, space, behind, noted=True, end=10**18)
        rows = follow(registry, counted(read_page(space, key_of("c"), None, 1), counts))
        left = registry.purge_expired() - len(behind)
    assert [row.session_id for row in rows] == ["living"]
    assert LARGEST_READ * TAGS > LARGEST_ROUND >= max(counts) > LARGEST_ROUND // 2
    assert MOST_CLEARED <= len(dead) - left <= MOST_CLEARED + LARGEST_ROUND + BATCH


def counted(question: Any, counts: list[int]) -> Any:
    """
    Note how many IDs are read by the scripts that are sent at once.
    """

    def note(method: str, arguments: Any) -> None:
        if method == "run_all":
            counts.append(sum(words[1] for script, _, words in arguments[0] if script is READ))

    return watched(question, note)


def test_a_session_that_lives_is_not_dropped(valkey: str, namespace: str, space: Namespace) -> None:
    """
    A session created after a page found it gone stays in its client's index.
    """
    (name,) = alike(1)
    index = space.index(key_of(name), key_of("c"))
    with SessionRegistry.open(valkey, namespace=namespace) as registry:
        registry.create(name, client_id="c")
        assert follow(registry, drop_names(space, index, [name.encode()])) == 0
        assert [one.session_id for one in registry.find(client_id="c")] == [name]


def test_the_dead_of_a_busy_client_leave_in_passing(face: Face, server: Valkey) -> None:
    """
    A client that keeps creating has about as many entries as it has living sessions.
    """
    with face(server.url) as registry, server.client() as client:
        for number in range(100):
            registry.create(f"live{number}", client_id="crm", ttl=86_400)
        for number in range(4000):
            registry.create(f"s{number}", client_id="crm", ttl=0.05)
        until(lambda: len(client.keys("*:session:*")) == 100)
        for number in range(1000):
            registry.create(f"t{number}", client_id="crm", ttl=86_400)
        assert index_sizes(client) <= 1100 + TAGS
        assert index_sizes(client, "ends") <= 1100 + TAGS
        assert len(registry.find(client_id="crm", limit=1000)) == 1000
        assert registry.purge_expired() <= TAGS
        assert index_sizes(client) == index_sizes(client, "ends") == 1100


def test_a_touch_notes_an_end_that_is_not_noted(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    A touch writes a session's end where the ends lack it, as while its slot moved.
    """
    name = fresh()
    key, client_key = key_of(name), key_of("c")
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        registry.create(name, client_id="c", ttl=60)
        assert client.zrem(space.ends(key, client_key), name) == 1
        end = registry.touch(name).expires_at
        assert end is not None
        noted = client.zscore(space.ends(key, client_key), name)
        assert noted is not None
        assert abs(float(str(noted)) / 1e6 - end.timestamp()) < 0.001


def test_the_dead_beside_an_endless_session_leave_too(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    In an index that an endless session keeps alive, the next create removes expired IDs.
    """
    *short, endless, last = alike(12)
    index = space.index(key_of(last), key_of("c"))
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        for name in short:
            registry.create(name, client_id="c", ttl=0.2)
        made = registry.create(endless, client_id="c")
        over = made.created_at.timestamp() + 1
        until(lambda: float(client.time()[0]) > over)
        assert client.zcard(index) == 11
        registry.create(last, client_id="c")
        assert client.zcard(index) == 2


def test_a_touch_clears_expired_ids(
    face: Face, anywhere: str, namespace: str, space: Namespace
) -> None:
    """
    A client that only touches its sessions has hardly more IDs in its indexes than sessions.
    """
    name, *dead = alike(200)
    with face(anywhere, namespace=namespace) as registry:
        registry.create(name, client_id="c", ttl=600)
        now, life = time.time_ns() // 1000, 3_000_000
        batch = [Kept(one, "c", "{}", life, now, now + life) for one in dead]
        assert set(store_of(registry).ask(Put(batch))) == {"kept"}
        eventually(lambda: not any(map(registry.exists, dead[-3:])))
        # The first ones come too early: an ID counts as expired 2 ms after its session.
        for _ in range(100):
            registry.touch(name)
        assert registry.purge_expired() <= 15
        assert [one.session_id for one in registry.find(client_id="c")] == [name]


def littered(
    client: Redis, space: Namespace, names: list[str], *, noted: bool, end: int = 10**15
) -> None:
    """
    Leave dead sessions of ``"c"`` in their indexes; with *noted*, as this version does.
    """
    indexes: dict[bytes, list[str]] = {}
    for name in names:
        indexes.setdefault(space.index(key_of(name), key_of("c")), []).append(name)
    for index, inside in indexes.items():
        client.zadd(index, dict.fromkeys(inside, 0))
        if noted:
            client.zadd(index.replace(b":client:", b":ends:"), dict.fromkeys(inside, end))


@pytest.mark.parametrize("noted", [True, False], ids=["this layout", "the first layout"])
def test_a_page_reads_past_the_dead(
    face: Face, server: Valkey, space: Namespace, namespace: str, noted: bool
) -> None:
    """
    A page comes in time past many thousands of dead, and in the right order.
    """
    dead = [f"{number:06}" for number in range(0, 60_000, 2)]
    living = [f"{number:06}" for number in range(1, 60_000, 600)]
    with face(server.url, namespace=namespace, timeout=10) as registry, server.client() as client:
        for name in living:
            registry.create(name, client_id="c", ttl=600)
        littered(client, space, dead, noted=noted)
        for _ in range(2):
            found = registry.find(client_id="c", limit=1000)
            assert [one.session_id for one in found] == living
        left = index_sizes(client)
        assert left < len(dead) if noted else left == len(living)
        registry.purge_expired()
        assert index_sizes(client) == index_sizes(client, "ends") or not noted


@pytest.mark.parametrize(
    ("living", "before", "most"),
    [(10, 0, 1_000), (6_400, 1, 2_500)],
    ids=["few are living", "many are living"],
)
def test_the_work_of_a_page_does_not_grow_with_the_dead(
    face: Face,
    server: Valkey,
    space: Namespace,
    namespace: str,
    living: int,
    before: int,
    most: int,
) -> None:
    """
    A page costs the same commands beside three times as many dead, few or many of them living.
    """
    names = [f"living-{number:04}" for number in range(living)]
    work: list[int] = []
    # The first time the server learns the scripts.
    for dead in (12_000, 12_000, 40_000):
        with face(server.url, namespace=namespace) as registry, server.client() as client:
            for start in range(0, living, 1000):
                store_of(registry).ask(Put([kept_of(name) for name in names[start : start + 1000]]))
            littered(client, space, [f"dead-{number:05}" for number in range(dead)], noted=True)
            for _ in range(before):
                registry.find(client_id="c", limit=10)
            client.config_resetstat()
            found = registry.find(client_id="c", limit=10)
            work.append(sum(one["calls"] for one in client.info("commandstats").values()))
            assert [one.session_id for one in found] == names[:10]
            client.flushdb()
    assert work[1] == work[2] < most


def kept_of(name: str) -> Kept:
    """
    Return a session of ``"c"`` that never expires, as another store kept it.
    """
    return Kept(name, "c", "{}", None, 1, None)


def test_an_expired_id_is_met_once(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Expired IDs in the way of a page leave index and ends, once their sessions were looked up.
    """
    dead = [f"dead-{number:05}" for number in range(20_000)]
    living = [f"living-{number:04}" for number in range(3_200)]
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        for start in range(0, len(living), 1000):
            store_of(registry).ask(Put([kept_of(name) for name in living[start : start + 1000]]))
        littered(client, space, dead, noted=True)
        found = registry.find(client_id="c", limit=10)
        assert [one.session_id for one in found] == living[:10]
        left = index_sizes(client) - len(living)
        assert left < len(dead)
        assert index_sizes(client, "ends") == index_sizes(client)
        assert registry.purge_expired() == left
        assert index_sizes(client) == index_sizes(client, "ends") == len(living)


@pytest.mark.parametrize("mend", ["find", "touch", "purge_expired"])
@pytest.mark.parametrize("ttl", [None, 600], ids=["endless", "expires"])
@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another"])
def test_what_the_first_version_extended_stays(
    face: Face,
    server: Valkey,
    space: Namespace,
    namespace: str,
    mend: str,
    ttl: int | None,
    others: int,
) -> None:
    """
    A session that an old process extended without noting its end stays, and is noted anew.
    """
    name, *rest = alike(1 + others)
    index, ends = space.index(key_of(name), key_of("c")), space.ends(key_of(name), key_of("c"))
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        registry.create(name, client_id="c", ttl=ttl)
        client.zadd(ends, {name: 1})
        for other in rest:
            registry.create(other, client_id="c", ttl=1)
        if mend == "find":
            assert name in [one.session_id for one in registry.find(client_id="c")]
        elif mend == "touch":
            registry.touch(name, ttl=600)
        else:
            assert registry.purge_expired() == 0
        left = client.pttl(where(space, name))
        assert client.zscore(index, name) == 0
        life = client.pttl(index)
        assert life == -1 or life >= left > 500_000
        assert float(client.zscore(ends, name) or 0) > 1
        assert [one.session_id for one in registry.find(client_id="c")][-2:].count(name) == 1


def test_equal_counts_hide_no_session_that_an_old_process_created(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    A session of an old process is found if it also ended one, and the counts are as before.
    """
    ended, expired, created = alike(3)
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        old = Old(client, space)
        registry.create(ended, client_id="c", ttl=600)
        registry.create(expired, client_id="c", ttl=0.001)
        old.end(ended)
        old.create(created, "c")
        until(lambda: not client.exists(where(space, expired)))
        assert [one.session_id for one in registry.find(client_id="c")] == [created]


def test_purging_removes_a_session_that_an_old_process_ended(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Purging removes all expired IDs, and one that only an old process has ended.
    """
    ended, created, *dead = alike(BATCH * 2 + 10)
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        old = Old(client, space)
        registry.create(ended, client_id="c", ttl=600)
        old.end(ended)
        old.create(created, "c")
        littered(client, space, dead, noted=True)
        assert registry.purge_expired() == len(dead) + 1
        assert registry.purge_expired() == 0
        assert [one.session_id for one in registry.find(client_id="c")] == [created]


def test_equal_counts_hide_no_session_beside_what_an_old_process_removed(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    A session of an old process is found if its pages removed as many expired IDs.
    """
    kept, *names = alike(5)
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        old = Old(client, space)
        registry.create(kept, client_id="c", ttl=600)
        now, life = time.time_ns() // 1000, 1_000_000
        batch = [Kept(name, "c", "{}", life, now, now + life) for name in names[:2]]
        assert set(store_of(registry).ask(Put(batch))) == {"kept"}
        until(lambda: not any(client.exists(where(space, name)) for name in names[:2]))
        assert old.find("c") == [kept]
        for name in names[2:4]:
            old.create(name, "c")
        found = [one.session_id for one in registry.find(client_id="c")]
        assert found == sorted([kept, *names[2:4]])


def test_a_touch_moves_the_end_in_its_clients_ends(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Beside a client's index stands when each session ends, as it was last touched.
    """
    (name,) = alike(1)
    ends = space.ends(key_of(name), key_of("c"))

    def end_of(record: Any) -> float:
        return float(record.expires_at.timestamp() * 1_000_000)

    with face(server.url, namespace=namespace) as registry, server.client() as client:
        made = registry.create(name, client_id="c", ttl=100)
        assert client.zscore(ends, name) == pytest.approx(end_of(made), abs=1)
        for ttl in (110, 10_000, None):
            touched = registry.touch(name, ttl=ttl)
            assert client.zscore(ends, name) == pytest.approx(end_of(touched), abs=1)
            assert client.pttl(ends) >= client.pttl(where(space, name))
        registry.end(name)
        assert client.exists(ends) == 0
        registry.create(name, client_id="c")
        assert client.zscore(ends, name) == math.inf
        touched = registry.touch(name, ttl=50)
        assert client.zscore(ends, name) == pytest.approx(end_of(touched), abs=1)

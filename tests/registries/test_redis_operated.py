"""
What Redis and Valkey keep, however long it is operated: no litter, no lost retries, one layout.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from idlanyard._failures import warned
from idlanyard.registry import (
    IdempotencyMismatch,
    RegistryMisconfigured,
    SessionExists,
    SessionNotFound,
    SessionRegistry,
)
from idlanyard.registry._questions import Put, Walk
from idlanyard.registry._record import Draft, Kept, Repeated, Row
from idlanyard.registry._redis._claims import release_claim
from idlanyard.registry._redis._commands import insert
from idlanyard.registry._redis._keys import TAGS, VERSION, Namespace
from idlanyard.registry._redis._settings import faults_of, rights_of
from registries.contract import RacingContract
from registries.faces import Opened, store_of
from registries.naming import eventually, fresh
from registries.operated import walked
from registries.redis_of_old import Old
from registries.test_redis import (
    Face,
    alike,
    anywhere,
    face,
    follow,
    key_of,
    namespace,
    once,
    run,
    server,
    space,
    where,
)
from registries.valkey import Valkey, ask, cluster, until, valkey

__all__ = ["anywhere", "cluster", "face", "namespace", "server", "space", "valkey"]

REQUEST = b"r" * 32
OTHER = b"o" * 32


def draft_of(name: str, *, key: bytes, request: bytes = REQUEST, ttl: int | None = None) -> Draft:
    """
    Return a session that is about to be created with an idempotency key.
    """
    return Draft(key_of(name), name, None, None, "{}", ttl, key, request)


def taken(registry: SessionRegistry, question: Any, steps: int) -> Any:
    """
    Take so many steps of a question, and return it where it was left.
    """
    answer = None
    for _ in range(steps):
        method, arguments = question.send(answer)
        answer = follow(registry, once(method, *arguments))
    return answer


def finished(registry: SessionRegistry, question: Any, answer: Any) -> Any:
    """
    Take the rest of the steps.
    """
    while True:
        try:
            method, arguments = question.send(answer)
        except StopIteration as done:
            return done.value
        answer = follow(registry, once(method, *arguments))


def index_sizes(client: Redis, kind: str = "client") -> int:
    """
    Return how many entries all the indexes have together.
    """
    return sum(client.zcard(key) for key in client.scan_iter(match=f"*:{kind}:*", count=1000))


# Retries.


@pytest.mark.parametrize("named", [True, False], ids=["its own ID", "a minted ID"])
def test_of_many_creates_with_one_key_one_makes_the_session(
    face: Face, anywhere: str, named: bool
) -> None:
    """
    Threads that send the same create at once have the same record, and there is one session.
    """
    client, crowd = fresh("client"), 8
    with ExitStack() as stack, ThreadPoolExecutor(crowd) as threads:
        opened = [stack.enter_context(face(anywhere)) for _ in range(crowd)]
        for round_ in range(10):
            asked = {"idempotency_key": f"{client}-{round_}", "client_id": client, "ttl": 60}
            name = fresh() if named else None
            creates = [threads.submit(one.create, name, **asked) for one in opened]
            made = [create.result() for create in creates]
            assert all(record == made[0] for record in made)
            assert len(opened[0].find(client_id=client)) == round_ + 1


def test_processes_with_one_key_make_one_session(anywhere: str) -> None:
    """
    Processes that send the same create at once have the same record, and there is one session.
    """
    program = """
        import os, sys
        from idlanyard.registry import SessionRegistry

        with SessionRegistry.open(sys.argv[1]) as registry:
            reader, writer = os.pipe()
            go, begin = os.pipe()
            children = []
            for _ in range(6):
                child = os.fork()
                if child == 0:
                    registry.exists("x")
                    os.close(begin)
                    os.read(go, 1)
                    for number in range(20):
                        key = f"{sys.argv[2]}-{number}"
                        made = registry.create(client_id=sys.argv[2], idempotency_key=key)
                        line = f"{number} {made.session_id} {made.created_at}\\n"
                        os.write(writer, line.encode())
                    os._exit(0)
                children.append(child)
            os.close(begin)
            os.close(writer)
            with os.fdopen(reader) as pipe:
                told = pipe.read().splitlines()
            assert all(os.waitpid(child, 0)[1] == 0 for child in children)
            assert len(told) == 120 and len(set(told)) == 20, set(told)
            assert len(registry.find(client_id=sys.argv[2])) == 20
        print("well")
    """
    assert run(program, anywhere, fresh("client")) == ""


def test_of_many_requests_with_one_key_one_is_served(face: Face, anywhere: str) -> None:
    """
    Of different creates with one key, sent at once, one makes a session and the others are refused.
    """
    crowd = 6
    with ExitStack() as stack, ThreadPoolExecutor(crowd) as threads:
        opened = [stack.enter_context(face(anywhere)) for _ in range(crowd)]
        for _ in range(10):
            key = fresh("key")

            def create(number: int, key: str = key) -> str | None:
                try:
                    name = f"{key}-{number}"
                    made: str = opened[number].create(name, idempotency_key=key).session_id
                except IdempotencyMismatch:
                    return None
                return made

            made = [name for name in threads.map(create, range(crowd)) if name]
            there = [opened[0].exists(f"{key}-{number}") for number in range(crowd)]
            assert (len(made), sum(there)) == (1, 1)


@pytest.mark.parametrize("steps", [1, 2], ids=["after the claim", "before it is confirmed"])
def test_a_create_that_broke_off_is_finished_by_its_retry(
    anywhere: str, namespace: str, space: Namespace, steps: int
) -> None:
    """
    A create whose process died between two steps is finished by whoever sends it again.
    """
    first, second, key = fresh(), fresh(), key_of(fresh())
    with SessionRegistry.open(anywhere, namespace=namespace) as registry:
        taken(registry, insert(space, draft_of(first, key=key), 5.0), steps)
        again = follow(registry, insert(space, draft_of(second, key=key), 5.0))
        assert (again.row.session_id, again.request) == (first, REQUEST)
        assert follow(registry, insert(space, draft_of(second, key=key), 5.0)) == again
        assert registry.exists(first)
        assert not registry.exists(second)


def test_a_create_that_broke_off_gives_way_to_another(
    anywhere: str, namespace: str, space: Namespace
) -> None:
    """
    Another request is refused while the first may be about to be done, and served afterwards.
    """
    first, second, key = fresh(), fresh(), key_of(fresh())
    other = draft_of(second, key=key, request=OTHER)
    with SessionRegistry.open(anywhere, namespace=namespace) as registry:
        taken(registry, insert(space, draft_of(first, key=key), 5.0), 1)
        refused = follow(registry, insert(space, other, 5.0))
        assert isinstance(refused, Repeated)
        assert refused.request == REQUEST
        key = key_of(fresh())
        other = other._replace(idempotency=key)
        taken(registry, insert(space, draft_of(first, key=key), 0.01), 1)
        made: list[Row | Repeated] = []

        def is_served() -> bool:
            made.append(follow(registry, insert(space, other, 5.0)))
            return isinstance(made[-1], Row)

        eventually(is_served)
        assert registry.exists(second)
        assert not registry.exists(first)


def test_who_was_overtaken_undoes_their_session(
    anywhere: str, namespace: str, space: Namespace
) -> None:
    """
    A create whose claim another request has taken over meanwhile leaves no session behind.
    """
    slow, quick, key = fresh(), fresh(), key_of(fresh())
    with SessionRegistry.open(anywhere, namespace=namespace) as registry:
        question = insert(space, draft_of(slow, key=key), 5.0)
        claimed = taken(registry, question, 1)
        follow(registry, release_claim(space, key, claimed[2]))
        other = follow(registry, insert(space, draft_of(quick, key=key, request=OTHER), 5.0))
        assert other.session_id == quick
        answer = finished(registry, question, claimed)
        assert isinstance(answer, Repeated)
        assert (answer.row.session_id, answer.request) == (quick, OTHER)
        assert not registry.exists(slow)


def test_who_finds_the_session_made_leaves_it(
    anywhere: str, namespace: str, space: Namespace
) -> None:
    """
    A create that was overtaken by a retry of itself, which made the session, does not undo it.
    """
    name, key = fresh(), key_of(fresh())
    with SessionRegistry.open(anywhere, namespace=namespace) as registry:
        question = insert(space, draft_of(name, key=key), 5.0)
        claimed = taken(registry, question, 1)
        again = follow(registry, insert(space, draft_of(fresh(), key=key), 5.0))
        follow(registry, release_claim(space, key, claimed[2]))
        third = follow(registry, insert(space, draft_of(fresh(), key=key), 5.0))
        answer = finished(registry, question, claimed)
        assert again.row.session_id == name
        assert answer.row.session_id == third.session_id
        assert registry.exists(name)


def test_a_key_outlives_the_loss_of_its_claim(
    face: Face, server: Valkey, namespace: str, space: Namespace
) -> None:
    """
    The session itself knows its idempotency key: a retry with its ID is answered as before.
    """
    name = fresh()
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        made = registry.create(name, idempotency_key="k")
        [claim] = client.keys("*:create:*")
        client.delete(claim)
        assert registry.create(name, idempotency_key="k") == made
        assert client.keys("*:create:*") == []


def test_a_minted_id_is_not_given_again(face: Face, server: Valkey) -> None:
    """
    A create that is sent again after its session has ended makes a session with an ID of its own.
    """
    with face(server.url) as registry:
        made = registry.create(idempotency_key="k")
        registry.end(made.session_id)
        assert registry.create(idempotency_key="k").session_id != made.session_id


def test_a_minted_id_is_not_given_again_after_it_expired(face: Face, server: Valkey) -> None:
    """
    A create that is sent again after its session has expired makes one with an ID of its own.
    """
    with face(server.url) as registry:
        made = registry.create(ttl=0.05, idempotency_key="k")
        eventually(lambda: not registry.exists(made.session_id))
        assert registry.create(ttl=0.05, idempotency_key="k").session_id != made.session_id


def test_a_claim_lives_as_long_as_its_session(face: Face, server: Valkey, space: Namespace) -> None:
    """
    The claim of a key is there until its session is gone, and not for ever where that is not.
    """
    with face(server.url, timeout=1.0) as registry, server.client() as client:

        def lives() -> tuple[int, int]:
            [claim] = client.keys("*:create:*")
            [session] = client.keys("*:session:*")
            return client.pttl(claim), client.pttl(session)

        registry.create("a", ttl=10, idempotency_key="k")
        claim, session = lives()
        assert session < claim < 40_000
        registry.touch("a", ttl=15)
        assert lives()[0] == pytest.approx(claim, abs=2000)
        registry.touch("a", ttl=1000)
        claim, session = lives()
        assert session < claim < 2_100_000
        registry.end("a")
        assert client.keys("*:create:*") == []
        registry.create("b", idempotency_key="k")
        assert lives() == (-1, -1)
        registry.touch("b", ttl=10)
        claim, session = lives()
        assert session < claim < 40_000
        registry.end("b")
        registry.create("c", idempotency_key="k")
        registry.end("c")
        assert client.keys("*:create:*") == []


def test_what_was_made_with_keys_leaves_nothing(face: Face, server: Valkey) -> None:
    """
    Claims of sessions that have expired vanish by themselves.
    """
    with face(server.url, timeout=0.5) as registry, server.client() as client:
        for number in range(20):
            registry.create(ttl=0.1, client_id="c", idempotency_key=str(number))
        until(lambda: client.keys() == [Namespace("idlanyard").version])


def test_purging_gives_up_claims_whose_sessions_are_gone(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    The claim of a session that a process of the first version has ended does not stay for ever.
    """
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        gone, stays = (registry.create(idempotency_key=key).session_id for key in "ab")
        with SessionRegistry.open(server.url, namespace=namespace) as other:
            taken(other, insert(space, draft_of(fresh(), key=key_of("c")), 5.0), 1)
        Old(client, space).end(gone)
        assert len(client.keys("*:create:*")) == 3
        assert registry.purge_expired() == 0
        assert len(client.keys("*:create:*")) == 2
        assert registry.create(idempotency_key="b").session_id == stays


def test_a_claim_of_a_taken_id_is_given_up(face: Face, server: Valkey) -> None:
    """
    A create that meets a taken ID leaves its key free, for itself under another ID.
    """
    with face(server.url) as registry, server.client() as client:
        registry.create("a")
        with pytest.raises(SessionExists):
            registry.create("a", idempotency_key="k")
        assert client.keys("*:create:*") == []
        assert registry.create_or_suffix("a", idempotency_key="k").session_id == "a_1"


def test_who_helps_with_a_taken_id_goes_on_with_their_own(
    valkey: str, namespace: str, space: Namespace
) -> None:
    """
    A claim whose ID was taken before its session was made gives way to the next of its retries.
    """
    name, other, key = fresh(), fresh(), key_of(fresh())
    with SessionRegistry.open(valkey, namespace=namespace) as registry:
        taken(registry, insert(space, draft_of(name, key=key), 5.0), 1)
        registry.create(name)
        row = follow(registry, insert(space, draft_of(other, key=key), 5.0))
        assert isinstance(row, Row)
        assert row.session_id == other


# What has expired.


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


def test_the_dead_beside_an_endless_session_leave_too(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Where an index lives on for an endless session, the next create finds what is dead in it.
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


def littered(client: Redis, space: Namespace, names: list[str], *, noted: bool) -> None:
    """
    Leave dead sessions of ``"c"`` in their indexes; with *noted*, as this version does.
    """
    indexes: dict[bytes, list[str]] = {}
    for name in names:
        indexes.setdefault(space.index(key_of(name), key_of("c")), []).append(name)
    for index, inside in indexes.items():
        client.zadd(index, dict.fromkeys(inside, 0))
        if noted:
            client.zadd(index.replace(b":client:", b":ends:"), dict.fromkeys(inside, 10**15))


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
    ("living", "before"), [(10, 0), (6_400, 1)], ids=["few are living", "many are living"]
)
def test_the_work_of_a_page_does_not_grow_with_the_dead(
    face: Face, server: Valkey, space: Namespace, namespace: str, living: int, before: int
) -> None:
    """
    A page costs the same commands beside ten times as many dead, once it has met those in its way.
    """
    names = [f"living-{number:04}" for number in range(living)]
    work: list[int] = []
    # The first time the server learns the scripts.
    for dead in (3_000, 3_000, 30_000):
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
    assert work[1] == work[2] < 2500


def kept_of(name: str) -> Kept:
    """
    Return a session of ``"c"`` that never expires, as another store kept it.
    """
    return Kept(name, "c", "{}", None, 1, None)


def test_an_expired_id_is_met_once(
    face: Face, server: Valkey, space: Namespace, namespace: str
) -> None:
    """
    Expired IDs in the way of a page leave the index, and purging gives them up for good.
    """
    dead = [f"dead-{number:05}" for number in range(20_000)]
    living = [f"living-{number:04}" for number in range(3_200)]
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        for start in range(0, len(living), 1000):
            store_of(registry).ask(Put([kept_of(name) for name in living[start : start + 1000]]))
        littered(client, space, dead, noted=True)
        found = registry.find(client_id="c", limit=10)
        assert [one.session_id for one in found] == living[:10]
        assert index_sizes(client) == len(living)
        left = index_sizes(client, "ends") - len(living)
        assert left > len(dead) / 2
        assert registry.purge_expired() == left
        assert index_sizes(client, "ends") == len(living)


@pytest.mark.parametrize("mend", ["find", "touch", "purge_expired"])
@pytest.mark.parametrize("ttl", [None, 600], ids=["endless", "expires"])
@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another"])
def test_what_the_first_version_extended_goes_back(
    face: Face,
    server: Valkey,
    space: Namespace,
    namespace: str,
    mend: str,
    ttl: int | None,
    others: int,
) -> None:
    """
    A session that left its index, since only an old process knows that it lives, goes back there.
    """
    name, *rest = alike(1 + others)
    index, ends = space.index(key_of(name), key_of("c")), space.ends(key_of(name), key_of("c"))
    with face(server.url, namespace=namespace) as registry, server.client() as client:
        registry.create(name, client_id="c", ttl=ttl)
        client.zrem(index, name)
        client.zadd(ends, {name: -1})
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
        assert float(client.zscore(ends, name) or 0) > 0
        assert [one.session_id for one in registry.find(client_id="c")][-2:].count(name) == 1


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


# The layout.


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
            version = follow(other, once("ask", "GET", space.version))
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


# Settings and rights.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({}, [], id="none"),
        pytest.param(
            {"maxmemory-policy": "allkeys-lru"}, ["once maxmemory is set", "noeviction"], id="evict"
        ),
        pytest.param(
            {"maxmemory-policy": "volatile-lru", "maxmemory": str(2**30)},
            ["once maxmemory is reached", "volatile-lru"],
            id="evict with a maximum",
        ),
        pytest.param({"appendonly": "no"}, ["every session", "appendonly yes"], id="no file"),
        pytest.param(
            {"appendonly": "no", "save": "60 1"}, ["last snapshot", "appendonly yes"], id="snapshot"
        ),
        pytest.param({"appendfsync": "no"}, ["appendfsync everysec"], id="no fsync"),
    ],
)
def test_settings_that_void_a_promise_are_told(
    face: Face, settings: dict[str, str], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A check says each setting that voids a promise, and so does the first use, once.
    """
    caplog.set_level(logging.WARNING, "idlanyard")
    with Valkey(appendonly="yes") as one, one.client() as client:
        for name, value in settings.items():
            client.config_set(name, value)
        with face(one.url) as registry:
            sentences = registry.check()
            assert len(sentences) == bool(words)
            assert all(word in sentence for sentence in sentences for word in words)
            for value in re.findall(r"write (\S+) (\w+)", " ".join(sentences)):
                client.config_set(*value)
            assert registry.check() == []
        for name, value in settings.items():
            client.config_set(name, value)
        warned.difference_update(sentences)
        caplog.clear()
        for _ in range(2):
            with face(one.url) as registry:
                registry.exists("a")
                registry.exists("b")
        assert [record.getMessage() for record in caplog.records] == [
            f"idlanyard: {sentence}" for sentence in sentences
        ]


def test_a_replica_is_told(face: Face, server: Valkey) -> None:
    """
    A check says of a replica that it takes no sessions.
    """
    with Valkey(appendonly="yes") as primary, server.client() as client:
        client.config_set("appendonly", "yes")
        ask(client, "REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: client.info("replication")["master_link_status"] == "up")
        with face(server.url) as registry:
            [sentence] = registry.check()
        assert "replica" in sentence


def test_what_a_server_does_not_tell_is_no_fault() -> None:
    """
    A server that answers neither INFO nor CONFIG is found well.
    """
    assert faults_of({}, {}, {}) == []
    [sentence] = faults_of({"aof_enabled": 0}, {}, {})
    assert "last snapshot" in sentence


@pytest.fixture(scope="module")
def restricted() -> Iterator[str]:
    """
    Return the URL of a server, by a user with no more rights than the page says.
    """
    with Valkey(appendonly="yes") as one, one.client() as client:
        rules = rights_of(Namespace("idlanyard")).split()
        # The contract has namespaces of its own.
        ask(client, "ACL SETUSER", "lanyard", "on", ">secret", *rules, "~{[not]*")
        yield f"redis://lanyard:secret@127.0.0.1:{one.port}/0"


class TestRestricted(RacingContract):
    """
    The contract, by a user with the rights that the page lists.
    """

    @pytest.fixture
    def url(self, restricted: str) -> str:
        """
        Return where the sessions are.
        """
        return restricted


def test_the_page_lists_the_rights() -> None:
    """
    The rights on the page are those that the registry needs.
    """
    page_ = Path(__file__).parents[2] / "docs/registry_machines.md"
    assert f" {rights_of(Namespace('idlanyard'))}\n" in page_.read_text()


def test_a_check_finds_what_is_missing(face: Face, server: Valkey) -> None:
    """
    A check asks for everything that the verbs do: who lacks one right is told.
    """
    rights = rights_of(Namespace("idlanyard")).split()
    with server.client() as client:
        url = f"redis://lanyard:secret@127.0.0.1:{server.port}/0"
        for missing in ("+rename", "+zadd", "+pttl", "+evalsha", "+get", "+zrangebylex"):
            rules = [right for right in rights if right != missing]
            ask(client, "ACL SETUSER", "lanyard", "reset", "on", ">secret", *rules)
            with face(url) as registry, pytest.raises(RegistryMisconfigured, match="ACL SETUSER"):
                registry.check()
        ask(client, "ACL SETUSER", "lanyard", "reset", "on", ">secret", *rights)
        with face(url) as registry:
            assert len(registry.check()) == 1


def test_a_missing_right_is_told(face: Face, server: Valkey) -> None:
    """
    Who lacks a right is told all of them, as a line that works as it stands.
    """
    with server.client() as client:
        ask(client, "ACL SETUSER", "lanyard", "on", ">secret", "~idlanyard*", "+@all")
        url = f"redis://lanyard:secret@127.0.0.1:{server.port}/0"
        with face(url) as registry:
            for verb in (registry.create, registry.check, registry.count):
                with pytest.raises(RegistryMisconfigured, match="ACL SETUSER"):
                    verb()
            with pytest.raises(RegistryMisconfigured) as raised:
                registry.exists("a")
            line = raised.value.fault.partition("ACL SETUSER name ")[2]
            ask(client, "ACL SETUSER", "lanyard", "reset", "on", ">secret", *line.split())
            assert registry.create("a", client_id="c", ttl=60) in registry.find(client_id="c")
            assert registry.count() == 1


# All of them.


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

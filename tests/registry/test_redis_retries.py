"""
Creates and ends that are sent again: by redis-py, and with an idempotency key.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from idlanyard.registry import (
    IdempotencyMismatch,
    SessionExists,
    SessionRegistry,
)
from idlanyard.registry._checks import convert_datetime
from idlanyard.registry._questions import Delete
from idlanyard.registry._record import Draft, Repeated, Row
from idlanyard.registry._redis._claims import release_claim
from idlanyard.registry._redis._commands import delete, insert
from idlanyard.registry._redis._keys import Namespace
from registry.naming import eventually, fresh
from registry.redis_fixtures import (
    REQUEST,
    Face,
    Route,
    alike,
    anywhere,
    cluster_behind,
    face,
    follow,
    key_of,
    namespace,
    once,
    run,
    server,
    space,
)
from registry.redis_of_old import Old
from registry.relay import Relay
from registry.valkey import Valkey, cluster, until, valkey

__all__ = ["anywhere", "cluster", "face", "namespace", "server", "space", "valkey"]


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


def test_an_end_that_is_asked_again_meets_no_successor(
    valkey: str, namespace: str, space: Namespace
) -> None:
    """
    An end of one moment, asked again by redis-py, answers as it did and ends no other.
    """
    name = fresh()
    with SessionRegistry.open(valkey, namespace=namespace) as registry:
        made = registry.create(name)
        moment = convert_datetime(made.created_at)
        method, (script, keys, words) = next(delete(space, Delete(key_of(name), moment), 1.0))
        first = follow(registry, once(method, script, keys, words))
        new = registry.create(name)
        assert follow(registry, once(method, script, keys, words)) == first
        assert registry.get(name) == new


@pytest.fixture(scope="module")
def cluster_route() -> Iterator[Route]:
    """
    Start such a cluster for several tests.
    """
    with cluster_behind([Relay() for _ in range(3)]) as route:
        yield route


@pytest.fixture
def server_route(server: Valkey) -> Iterator[Route]:
    """
    Start a server that is reached by a relay.
    """
    with Relay(server.port) as relay:
        yield Route([relay], relay.url)


@pytest.fixture(params=["server_route", "cluster_route"])
def route(request: pytest.FixtureRequest) -> Route:
    """
    Return a way to a server, and one to a cluster.
    """
    found: Route = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("client_id", [None, "c"])
@pytest.mark.parametrize("ttl", [None, 60])
def test_the_creator_whose_answer_was_lost_is_not_told_that_it_exists(
    face: Face, route: Route, client_id: str | None, ttl: float | None
) -> None:
    """
    R16: redis-py's own retry of a create gets the answer that was lost; another creator does not.
    """
    name, before = fresh(), route.lost
    with face(route.url) as registry:
        registry.create(client_id=client_id)
        route.lose(name.encode())
        made = registry.create(name, client_id=client_id, metadata={"n": 1}, ttl=ttl)
        assert route.lost == before + 1
        assert made == registry.get(name)
        with pytest.raises(SessionExists):
            registry.create(name, client_id=client_id, metadata={"n": 1}, ttl=ttl)


@pytest.mark.parametrize("client_id", [None, "c"])
def test_an_end_whose_answer_was_lost_is_no_unknown_session(
    face: Face, route: Route, client_id: str | None
) -> None:
    """
    A retried end returns the session that it ended, and leaves a new one with the ID alone.
    """
    # A neighbour, so that the server knows the script, and has no other answer to lose.
    (neighbour, name), before = alike(2), route.lost
    with face(route.url) as registry, SessionRegistry.open(route.url) as other:
        registry.create(neighbour, client_id=client_id)
        registry.end(neighbour)
        made = registry.create(name, client_id=client_id, metadata={"n": 1})
        # With a client, the second question is the one that ends it, and names the index.
        mark = key_of(name) if client_id is None else key_of(client_id)
        route.lose(mark, lambda: other.create(name, metadata={"n": 2}))
        ended = registry.end(name)
        assert route.lost == before + 1
        assert (ended.created_at, ended.metadata) == (made.created_at, {"n": 1})
        assert registry.get(name).metadata == {"n": 2}
        for relay in route.relays:
            relay.between = lambda: None


def test_a_touch_whose_answer_was_lost_is_done(face: Face, route: Route) -> None:
    """
    A retried touch is a touch.
    """
    name, before = fresh(), route.lost
    with face(route.url) as registry:
        registry.create(name, ttl=60)
        route.lose(key_of(name))
        assert registry.touch(name, ttl=600) == registry.get(name)
        assert route.lost == before + 1


def test_a_client_that_changes_meanwhile_is_asked_about_again(
    valkey: str, namespace: str, space: Namespace
) -> None:
    """
    An ID that goes to another client between two steps of an end is ended as it is.
    """
    name = fresh()
    key = key_of(name)
    with SessionRegistry.open(valkey, namespace=namespace) as registry:
        registry.create(name, client_id="one")
        question = delete(space, Delete(key, None), 1.0)
        method, (script, keys, words) = next(question)
        owner = follow(registry, once(method, script, keys, words))
        assert owner == key_of("one")
        method, (script, keys, words) = question.send(owner)
        registry.end(name)
        registry.create(name, client_id="two")
        owner = follow(registry, once(method, script, keys, words))
        assert owner == key_of("two")
        assert registry.exists(name)
        method, (script, keys, words) = question.send(owner)
        with pytest.raises(StopIteration):
            question.send(follow(registry, once(method, script, keys, words)))
        assert registry.find(client_id="two") == []
        assert not registry.exists(name)


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

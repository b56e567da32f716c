"""
Real shared caches, in their default configuration, hand nobody's IDs on (R9, S11).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from servers.caches import COMMANDS, cache
from servers.launch import DEADLINE, LISTEN, Running, Server, running
from servers.raw import Answer, Line, ask

WAITRESS = ("-m", "waitress", "--listen=127.0.0.1:{port}", "--call")
UVICORN = ("-m", "uvicorn", "--no-proxy-headers", "--lifespan", "off", *LISTEN, "--factory")
APPS = [
    Server("flask", (*WAITRESS, "servers.stored:flask"), "wsgi"),
    Server("starlette", (*UVICORN, "servers.stored:starlette"), "asgi"),
    Server("fastapi", (*UVICORN, "servers.stored:fastapi"), "asgi"),
    Server("django", (*WAITRESS, "servers.stored:django"), "wsgi"),
]
ALICE = (("X-Session-ID", "s-alice"), ("X-User-ID", "alice"))
BOB = (("X-Session-ID", "s-bob"), ("X-User-ID", "bob"))


@pytest.fixture(scope="module", params=APPS, ids=lambda server: server.name)
def behind(request: pytest.FixtureRequest) -> Iterator[Running]:
    """
    One application on its server.
    """
    with running(request.param) as up:
        yield up


@pytest.fixture(scope="module", params=COMMANDS)
def front(
    request: pytest.FixtureRequest, behind: Running, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """
    One cache in front of it.
    """
    with cache(request.param, behind, tmp_path_factory.mktemp("cache")) as up:
        yield up


def _is_hit(answer: Answer) -> bool:
    """
    Return whether the response came out of the cache.
    """
    # Varnish names the request by which the response was stored beside this one.
    varnish = [value for line in answer.all("x-varnish") for value in line.split()]
    return len(varnish) > 1 or any(said != "MISS" for said in answer.all("x-cache"))


def _ids(answer: Answer) -> tuple[list[str], list[str]]:
    return answer.all("x-session-id"), answer.all("x-user-id")


def _asked(front: Running, path: str, *clients: tuple[Line, ...]) -> list[Answer]:
    """
    Ask for one path as one client after the other.
    """
    answers = [ask(front, path, client) for client in clients]
    assert {answer.status for answer in answers} <= {200, 302, 404, 410}
    return answers


@pytest.mark.parametrize(
    "path",
    [
        *("silent", "no-cache", "revalidated", "expired", "quoted", "gone", "moved", "private"),
        *("not-stored", "for-cdns", "surrogates", "static/nowhere"),
    ],
)
def test_every_client_gets_its_own_ids(front: Running, path: str) -> None:
    """
    A response that may not be shared, or says nothing, comes from the application each time,
    with the IDs of its client; clients who send none get fresh ones.
    """
    alice, bob, one, other = _asked(front, f"/{path}", ALICE, BOB, (), ())
    assert _ids(alice) == (["s-alice"], ["alice"])
    assert _ids(bob) == (["s-bob"], ["bob"])
    (first,), (second,) = one.all("x-session-id"), other.all("x-session-id")
    assert len({first, second, "s-alice", "s-bob"}) == 4
    assert (one.all("x-user-id"), other.all("x-user-id")) == ([], [])
    assert not any(map(_is_hit, (alice, bob, one, other)))


@pytest.mark.parametrize("path", ["public", "static/stored.py"])
def test_what_a_cache_keeps_has_no_ids(front: Running, path: str) -> None:
    """
    A response that caches may keep, and a file, comes from the cache and carries no IDs.
    """
    answers = _asked(front, f"/{path}?stored", (), ALICE, BOB, ())
    assert [_ids(answer) for answer in answers] == [([], [])] * 4
    # Flask says no-cache of its files, for which either cache asks the application.
    if answers[0].all("cache-control") != ["no-cache"]:
        assert list(map(_is_hit, answers)) == [False, True, True, True]


@pytest.mark.parametrize("path", ["file", "accelerated"])
def test_nobody_gets_the_ids_of_another(front: Running, path: str) -> None:
    """
    With any headers of a framework about a file, and with a header for one cache alone, each
    client gets its own IDs or none.
    """
    alice, bob, one, other = _asked(front, f"/{path}", ALICE, BOB, (), ())
    assert _ids(alice) in ((["s-alice"], ["alice"]), ([], []))
    assert _ids(bob) in ((["s-bob"], ["bob"]), ([], []))
    minted = one.all("x-session-id") + other.all("x-session-id")
    assert len({*minted, "s-alice", "s-bob"}) == len(minted) + 2
    assert (one.all("x-user-id"), other.all("x-user-id")) == ([], [])


def test_a_response_that_was_found_unchanged_has_no_ids(front: Running) -> None:
    """
    The 304 by which a cache hears that what it keeps is still right leaves nobody's IDs in it.
    """
    before = int(ask(front, "/revalidations").body)
    deadline = time.monotonic() + DEADLINE
    answers = _asked(front, "/tagged", (), ALICE)
    while int(ask(front, "/revalidations").body) == before:
        assert time.monotonic() < deadline, "the cache never asked again"
        answers += _asked(front, "/tagged", ALICE)
    answers += _asked(front, "/tagged", BOB, (), ALICE)
    assert {repr(_ids(answer)) for answer in answers} == {"([], [])"}
    assert len({answer.body for answer in answers}) == 1

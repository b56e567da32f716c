"""
Who has the IDs of a request where its work is done elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from idlanyard import (
    Policy,
    Provenance,
    carry,
    dump,
    effective_session_id,
    get_session_context,
    get_session_id,
    get_user_id,
    process_session_id,
    request_spec,
    session_context,
    set_session_id,
    use_policy,
    without,
)
from integrations.apps.elsewhere_app import APART, BY_VALUE, NAMED, SHARED, build, work
from integrations.apps.seen import DEADLINE
from integrations.sides import Ask, over_http, serving_asgi

LINES = [("X-Session-ID", "s1")]
REQUEST = {"session_id": "s1"}


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """
    The application under uvicorn, with a pool of one thread for all its requests.
    """
    with ThreadPoolExecutor(1) as pool, serving_asgi(build(pool)) as port:
        yield over_http(port)


@pytest.mark.parametrize("where", SHARED)
def test_it_is_still_the_request(ask: Ask, where: str) -> None:
    """
    Work done there has the request's IDs, and the response echoes whom it names.
    """
    answer = ask(f"/{where}", LINES)
    assert answer.json()["ids"] == {"session_id": "s1", "user_id": NAMED}
    assert (answer.all("X-Session-ID"), answer.all("X-User-ID")) == (["s1"], [NAMED])


@pytest.mark.parametrize("where", APART)
def test_it_is_no_request_any_more(ask: Ask, where: str) -> None:
    """
    Work done there without carry sees no ID and names nobody for the request.
    """
    answer = ask(f"/{where}", LINES)
    assert answer.json()["ids"] == {"user_id": NAMED}
    assert (answer.all("X-Session-ID"), answer.all("X-User-ID")) == (["s1"], [])


@pytest.mark.parametrize("where", BY_VALUE)
def test_another_process_has_a_copy(ask: Ask, where: str) -> None:
    """
    Another process has the IDs by value, and whom it names stays there.
    """
    answer = ask(f"/{where}", LINES)
    assert answer.json() == {
        "ids": {"session_id": "s1", "user_id": NAMED},
        "how": {"session_id": str(Provenance.CLIENT), "user_id": str(Provenance.CODE)},
    }
    assert (answer.all("X-Session-ID"), answer.all("X-User-ID")) == (["s1"], [])


def test_a_pools_thread_keeps_nothing(ask: Ask) -> None:
    """
    The next job in the thread of a pool sees nothing of the one before.
    """
    assert ask("/pool_carried", LINES).json()["ids"] == {"session_id": "s1", "user_id": NAMED}
    assert ask("/pool", LINES).json()["ids"] == {}


def test_threads_and_the_main_thread_keep_apart() -> None:
    """
    IDs that a thread sets are its own, and a new thread starts with none.
    """
    seen: list[str | None] = []

    def run(session: str) -> None:
        seen.append(get_session_id())
        set_session_id(session)
        seen.append(get_session_id())

    with session_context("main"):
        for session in ("t1", "t2"):
            one = threading.Thread(target=run, args=(session,))
            one.start()
            one.join()
        assert get_session_id() == "main"
    assert seen == [None, "t1", None, "t2"]


def test_tasks_on_one_thread_keep_apart() -> None:
    """
    Two tasks that take turns on one thread read their own session each.
    """

    async def one(session: str) -> str | None:
        set_session_id(session)
        await asyncio.sleep(0)
        return get_session_id()

    async def both() -> list[str | None]:
        return await asyncio.gather(*(one(session) for session in ("task-1", "task-2")))

    assert asyncio.run(both()) == ["task-1", "task-2"]


def test_a_long_lived_task_does_not_keep_the_request() -> None:
    """
    A task that is started in without() has nothing bound, and the block puts it back.
    """

    async def run() -> None:
        ready = asyncio.Event()

        async def serve() -> str | None:
            await ready.wait()
            return get_session_id()

        with session_context("s"):
            async with without():
                alone = asyncio.create_task(serve())
            along = asyncio.create_task(serve())
            assert get_session_id() == "s"
        ready.set()
        assert (await alone, await along) == (None, "s")

    asyncio.run(run())


def test_a_threads_carried_work_outlives_the_block() -> None:
    """
    Carried work that runs when the block is over still has its IDs.
    """
    go, seen = threading.Event(), list[str | None]()

    def later() -> None:
        go.wait(DEADLINE)
        seen.append(get_session_id())

    with session_context("s"):
        one = threading.Thread(target=carry(later))
        one.start()
    go.set()
    one.join()
    assert seen == ["s"]


def child_reads() -> dict[str, Any]:
    """
    Return the IDs of a child process that was given none, for a pool to find by name.
    """
    context = get_session_context()
    return {name: str(context.provenance(name)) for name in context.as_dict()}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_every_job_of_a_process_pool_has_its_own(method: str) -> None:
    """
    Jobs that share a process of a pool have the IDs of their submit each.
    """
    with multiprocessing.get_context(method).Pool(1) as pool:
        for session in ("a", "b"):
            with session_context(session):
                found = pool.apply(carry(work))
            assert found["ids"] == {"session_id": session, "user_id": NAMED}
        assert pool.apply(child_reads) == {}
        pool.close()
        pool.join()


def test_a_map_over_processes_is_carried() -> None:
    """
    One carried function serves every item of a map.
    """
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool, session_context("s"):
        assert list(pool.map(carry(os.path.basename), ["a/b", "c/d"])) == ["b", "d"]
        assert list(pool.map(carry(labelled), ["x", "y"])) == ["s x", "s y"]


def labelled(item: str) -> str:
    """
    An item with the session it is worked on in.
    """
    return f"{get_session_id()} {item}"


def ran(script: str, **environ: str) -> list[Any]:
    """
    Run a script in a process of its own; each line of JSON that it prints comes back.
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


FORK = """
import json, multiprocessing, os
from idlanyard import *

def tell():
    identify(user_id="child")
    context = get_session_context().as_dict()
    print(json.dumps([context, process_session_id()]), flush=True)

print(json.dumps(process_session_id()), flush=True)
with restore({"session_id": ["s", "code"]}):
    child = os.fork()
    if child == 0:
        tell()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    started = multiprocessing.get_context("fork").Process(target=tell)
    started.start()
    started.join()
    with without():
        bare = multiprocessing.get_context("fork").Process(target=tell)
        bare.start()
        bare.join()
    print(json.dumps([get_session_context().as_dict(), process_session_id()]))
"""


def test_a_fork_inherits_what_is_bound_and_nothing_comes_back() -> None:
    """
    A forked child has the IDs, names its own user, and mints its own process ID.
    """
    mine, forked, started, bare, after = ran(FORK)
    both = {"session_id": "s", "user_id": "child"}
    assert (forked[0], started[0], bare[0]) == (both, both, {"user_id": "child"})
    assert after == [{"session_id": "s"}, mine]
    assert len({mine, forked[1], started[1], bare[1]}) == 4


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gc, json, threading
import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.threadpool import ThreadPool
from idlanyard import *

def tell(name, value):
    print(json.dumps([name, value]))

with session_context("s"):
    tell("spawn", gevent.spawn(get_session_id).get())
    tell("spawn carried", gevent.spawn(carry(get_session_id)).get())
    tell("pool carried", Pool(2).map(carry(lambda _: get_session_id()), range(2)))
    threads = ThreadPool(1)
    tell("thread carried", threads.spawn(carry(get_session_id)).get())
    tell("thread", threads.spawn(get_session_id).get())
    threads.kill()
    with ContextThreadPoolExecutor(1) as executor:
        tell("executor", executor.submit(get_session_id).result())
    found = []
    thread = threading.Thread(target=carry(lambda: found.append(get_session_id())))
    thread.start()
    thread.join()
    tell("patched thread carried", found)

both, first = Event(), Event()

def turns(session, mine, other):
    with session_context(session):
        mine.set()
        other.wait()
        return get_session_id()

greenlets = [gevent.spawn(turns, "a", both, first), gevent.spawn(turns, "b", first, both)]
tell("turns", [greenlet.get() for greenlet in greenlets])
tell("after", get_session_id())
"""


def test_greenlets_start_with_nothing_and_carry_brings_it() -> None:
    """
    Greenlets keep apart; gevent starts each one empty, and carry helps.
    """
    assert dict(ran(GEVENT)) == {
        "spawn": None,
        "spawn carried": "s",
        "pool carried": ["s", "s"],
        "thread carried": "s",
        "thread": None,
        "executor": "s",
        "patched thread carried": ["s"],
        "turns": ["a", "b"],
        "after": None,
    }


GEVENT_SERVER = """
from gevent import monkey
monkey.patch_all()
import json
import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from http.client import HTTPConnection
from idlanyard import *
from idlanyard.wsgi import SessionContextMiddleware

arrived = Event()

def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/slow":
        arrived.wait(30)
    else:
        arrived.set()
    gevent.spawn(carry(identify), user_id=environ["PATH_INFO"][1:]).join()
    def body():
        for name in ("session_id", "user_id"):
            gevent.sleep(0)
            yield f"{get_id(name)} ".encode()
    return body()

server = WSGIServer(("127.0.0.1", 0), SessionContextMiddleware(app, Policy()), log=None)
server.start()

def ask(path, session):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path, headers={"X-Session-ID": session})
    response = connection.getresponse()
    answer = [response.headers["X-Session-ID"], response.read().decode()]
    connection.close()
    return answer

asked = [gevent.spawn(ask, "/slow", "a"), gevent.spawn(ask, "/fast", "b")]
for one in asked:
    print(json.dumps(one.get()))
server.stop()
"""


def test_requests_at_once_under_gevent_keep_apart() -> None:
    """
    S28: under gevent's server two requests that overlap keep their IDs, also in their bodies.
    """
    assert ran(GEVENT_SERVER) == [["a", "a slow "], ["b", "b fast "]]


SUBPROCESS = """
import json
from idlanyard import *
context = get_session_context()
print(json.dumps({n: [v, context.provenance(n).value] for n, v in context.as_dict().items()}))
print(json.dumps([get_session_id(), effective_session_id()]))
"""


def test_a_subprocess_is_told_by_a_variable() -> None:
    """
    IDLANYARD_SESSION_ID names a program's session, on the environment's word.
    """
    with session_context("s", user_id="u"):
        told = {"IDLANYARD_SESSION_ID": get_session_id() or ""}
    assert ran(SUBPROCESS, **told) == [{"session_id": ["s", "environment"]}, ["s", "s"]]
    untold = ran(SUBPROCESS)
    assert untold[0] == {}
    assert untold[1][0] is None


def test_all_ids_go_to_a_subprocess_one_variable_each() -> None:
    """
    Each of the three IDs has its variable; the user is not proven by it.
    """
    found, _ = ran(
        SUBPROCESS, IDLANYARD_SESSION_ID="s", IDLANYARD_USER_ID="u", IDLANYARD_TENANT_ID="t"
    )
    names = {"session_id": "s", "user_id": "u", "tenant_id": "t"}
    assert found == {name: [value, "environment"] for name, value in names.items()}


RESTORING = """
import json, os
from idlanyard import *
use_policy(Policy(extra=[request_spec()], trusted_queue=True))
with restore(json.loads(os.environ["IDS"])) as context:
    print(json.dumps({n: [v, context.provenance(n).value] for n, v in context.as_dict().items()}))
print(json.dumps(get_session_context().as_dict()))
"""


def test_a_carrier_in_one_variable_keeps_who_said_so() -> None:
    """
    R13: what dump returns fits one variable, and restore has every declared ID with its provenance,
    where the program says that it believes who starts it.
    """
    undo = use_policy(Policy(extra=[request_spec()]))
    try:
        with session_context("s", user_id="u", request_id="r"):
            carrier = json.dumps(dump())
    finally:
        undo()
    names = {"session_id": "s", "user_id": "u", "request_id": "r"}
    assert ran(RESTORING, IDS=carrier) == [{n: [v, "code"] for n, v in names.items()}, {}]


def test_a_request_does_not_look_at_the_environment(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    R5: in a process that was told its IDs, a request has its own, in other processes too.
    """
    monkeypatch.setenv("IDLANYARD_SESSION_ID", "of-process")
    monkeypatch.setenv("IDLANYARD_TENANT_ID", "acme")
    assert ask("/to_thread", LINES).json()["ids"] == {"session_id": "s1", "user_id": NAMED}
    assert ask("/pool", LINES).json()["ids"] == {
        "session_id": "of-process",
        "tenant_id": "acme",
    }


def test_what_is_said_here_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    R2.1: outside requests each ID is the one bound here, else the variable's.
    """
    monkeypatch.setenv("IDLANYARD_SESSION_ID", "env")
    monkeypatch.setenv("IDLANYARD_USER_ID", "env-user")
    with session_context("here"):
        assert (get_session_id(), get_user_id()) == ("here", "env-user")
    assert effective_session_id() == "env" != process_session_id()

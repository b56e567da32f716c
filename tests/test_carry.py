"""
IDs in threads, pools and other processes.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
from asgiref.sync import iscoroutinefunction
from starlette.background import BackgroundTask

import idlanyard
from idlanyard import (
    ContextThreadPoolExecutor,
    Policy,
    Provenance,
    carry,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    session_context,
    set_session_id,
    use_policy,
)
from idlanyard._binding.functions import mark_before_3_12
from idlanyard._binding.inheritance import INHERITS
from idlanyard._binding.state import _Writing
from idlanyard.asgi import SessionContextMiddleware


def read() -> dict[str, str]:
    """
    Return the current IDs, for a process pool to pickle by name.
    """
    return get_session_context().as_dict()


def provenance(name: str) -> Provenance | None:
    """
    Return the provenance of an ID, for a process pool.
    """
    return get_session_context().provenance(name)


def in_request(body: Any) -> None:
    """
    Run a coroutine function inside a request with session s1.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body()

    async def run() -> None:
        scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s1")]}
        await SessionContextMiddleware(app, Policy())(scope, None, None)

    asyncio.run(run())


def test_a_carried_function_shares_the_request() -> None:
    """
    R2: what a carried function identifies in a thread is seen by the request.
    """

    async def body() -> None:
        def work() -> str | None:
            identify(user_id="found")
            return get_session_id()

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(carry(work)).result() == "s1"
            assert pool.submit(get_session_id).result() == ("s1" if INHERITS else None)
        assert get_user_id() == "found"

    in_request(body)


def test_a_pool_of_ours_carries_by_itself() -> None:
    """
    Jobs of a ContextThreadPoolExecutor have what was bound at submit.
    """
    with ContextThreadPoolExecutor(2) as pool:
        with session_context("a"):
            first = pool.submit(get_session_id)
            mapped = list(pool.map(lambda _: get_session_id(), range(3)))
        with session_context("b"):
            second = pool.submit(get_session_id)
        assert (first.result(), second.result(), mapped) == ("a", "b", ["a"] * 3)
        assert pool.submit(get_session_id).result() is None


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_another_process_gets_the_ids_by_value(method: str) -> None:
    """
    Pickled, a carried function takes the IDs and their provenance by value.
    """
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        with session_context("s", user_id="u"):
            assert pool.submit(carry(read)).result() == {"session_id": "s", "user_id": "u"}
            assert pool.submit(carry(provenance), "user_id").result() is Provenance.CODE

        async def body() -> None:
            assert pool.submit(carry(read)).result() == {"session_id": "s1"}
            assert pool.submit(carry(provenance), "session_id").result() is Provenance.CLIENT

        in_request(body)
        assert pool.submit(carry(read)).result() == {}


def test_what_arrives_is_checked_against_the_policy_here() -> None:
    """
    R13: an ID that is not declared where a carried function arrives is dropped.
    """
    undo = use_policy(Policy(extra=[idlanyard.request_spec()]))
    try:
        with session_context("s", request_id="r"):
            packed = pickle.dumps(carry(read))
    finally:
        undo()
    assert pickle.loads(packed)() == {"session_id": "s"}


def test_async_functions_stay_async() -> None:
    """
    A carried coroutine function is awaited, also by who asks before calling.
    """
    seen: list[str | None] = []

    async def work() -> None:
        await asyncio.sleep(0)
        seen.append(get_session_id())

    with session_context("s"):
        carried = carry(work)
    assert iscoroutinefunction(carried)
    asyncio.run(BackgroundTask(carried)())
    assert seen == ["s"]


class Service:
    """
    An object whose calls are awaited.
    """

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    async def __call__(self) -> None:
        await asyncio.sleep(0)
        self.seen.append(get_session_id())


def test_objects_that_are_awaited_stay_so() -> None:
    """
    An object with an async __call__ is awaited, bound for the whole await.
    """
    service = Service()
    with session_context("s"):
        carried = carry(service)
    assert iscoroutinefunction(carried)
    asyncio.run(BackgroundTask(carried)())
    assert service.seen == ["s"]
    assert not iscoroutinefunction(carry(Service))


def test_what_is_carried_can_be_decorated() -> None:
    """
    R3: a block over a carried coroutine function is a coroutine function, bound when awaited.
    """

    async def work() -> dict[str, str]:
        await asyncio.sleep(0)
        return read()

    with session_context("s"):
        carried = carry(work)
    again = session_context(user_id="u")(carried)
    assert inspect.iscoroutinefunction(again)
    assert asyncio.run(again()) == {"session_id": "s"}
    with session_context("other"):
        assert asyncio.run(carry(carried)()) == {"session_id": "s"}


def test_only_our_own_variable_is_carried() -> None:
    """
    Other variables are those of the place where the function runs.
    """
    theirs = contextvars.ContextVar("theirs", default="there")
    token = theirs.set("here")
    try:
        with session_context("s"):
            carried = carry(lambda: (get_session_id(), theirs.get()))
    finally:
        theirs.reset(token)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(carried).result() == ("s", "there")
        assert pool.submit(get_session_id).result() is None


def test_what_is_bound_in_a_carried_function_stays_there() -> None:
    """
    R2.5: a carried function has an overlay of its own, also after it has raised.
    """

    def work() -> None:
        set_session_id("inside")
        raise KeyError(get_session_id())

    with session_context("s"):
        carried = carry(work)
        for _ in range(2):
            with pytest.raises(KeyError, match="inside"):
                carried()
            assert get_session_id() == "s"


def test_a_loops_default_executor_may_be_ours() -> None:
    """
    Run_in_executor with a pool of ours shares the request's scope.
    """

    async def body() -> None:
        loop = asyncio.get_running_loop()
        with ContextThreadPoolExecutor(1) as pool:
            assert await loop.run_in_executor(pool, get_session_id) == "s1"
            await loop.run_in_executor(pool, lambda: identify(user_id="pool"))
        assert get_user_id() == "pool"

    in_request(body)


def test_generators_and_methods_can_be_carried() -> None:
    """
    A function of any kind can be carried, and a method stays one.
    """

    def parts() -> Iterator[str | None]:
        yield get_session_id()
        yield get_session_id()

    class Service:
        with session_context("class"):

            @carry
            def name(self) -> tuple[str, str | None]:
                return type(self).__name__, get_session_id()

    with session_context("s"):
        carried = carry(parts)
    assert list(carried()) == ["s", "s"]
    assert Service().name() == ("Service", "class")
    assert Service.name(Service()) == ("Service", "class")
    assert carried.__name__ == "parts"


def test_worker_threads_of_the_frameworks_inherit() -> None:
    """
    Peers row 28: asyncio.to_thread and anyio's threads see the IDs and may identify.
    """

    async def body() -> None:
        assert await asyncio.to_thread(get_session_id) == "s1"
        await anyio.to_thread.run_sync(lambda: identify(user_id="u"))
        assert get_user_id() == "u"
        loop = asyncio.get_running_loop()
        in_executor = await loop.run_in_executor(None, get_session_id)
        assert in_executor == ("s1" if INHERITS else None)
        assert await loop.run_in_executor(None, carry(get_session_id)) == "s1"

    in_request(body)


FORKING = """
import os
from idlanyard import get_user_id, identify, process_session_id, restore
from idlanyard._binding.state import _Writing

mine = process_session_id()
with restore({"session_id": "s"}):
    _Writing.lock.acquire()
    child = os.fork()
    if child == 0:
        identify(user_id="child")
        print(process_session_id(), get_user_id(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print(mine, process_session_id())
"""


def test_a_forked_child_starts_anew() -> None:
    """
    R15: a fork mints the process-wide ID anew and frees the lock it caught.
    """
    command = [sys.executable, "-c", FORKING]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    theirs, user, mine, still = result.stdout.split()
    assert (len(theirs), user, mine) == (32, "child", still)
    assert theirs != mine


def test_a_lock_is_made_anew_and_marks_are_the_interpreters() -> None:
    """
    R14: what a fork calls makes a free lock; a marked function is known to its interpreter.
    """
    before = _Writing.lock
    _Writing.renew()
    assert (_Writing.lock is before, _Writing.lock.locked()) == (False, False)
    marked = SimpleNamespace()
    mark_before_3_12(marked)
    assert vars(marked).keys() == {"_is_coroutine"}


def test_the_package_has_no_other_names() -> None:
    """
    A name that is not there raises as usual.
    """
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        idlanyard.missing  # noqa: B018

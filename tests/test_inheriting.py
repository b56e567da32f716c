"""
Threads that start with a copy of a request's Context do not read it once the request is over.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from idlanyard._binding.inheritance import InheritedVariable, warn_of_inheritance
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import UNBOUND, Binding, Overlay, RequestIDs, make_request_ids
from idlanyard.ids import Provenance


class Inheriting(threading.Thread):
    """
    A thread that starts with a copy of the Context it was made in, on every Python.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._context = contextvars.copy_context()
        self._jobs: list[tuple[Callable[[], Any], list[Any], threading.Event]] = []
        self._wake = threading.Semaphore(0)
        self._run_here = sys.version_info < (3, 14)
        self.start()

    def run(self) -> None:
        """
        Work until told to end, in the Context that was inherited.
        """
        if self._run_here:
            self._context.run(self._work)
        else:
            self._work()

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            job, results, done = self._jobs.pop(0)
            try:
                results.append(job())
            finally:
                done.set()
            if results == [None]:
                return

    def ask(self, job: Callable[[], Any]) -> Any:
        """
        Return what *job* returns in this thread; one that returns None ends it.
        """
        results: list[Any] = []
        done = threading.Event()
        self._jobs.append((job, results, done))
        self._wake.release()
        assert done.wait(30)
        return results[0]


class World:
    """
    A variable of its own, and the bindings of one request in it.
    """

    def __init__(self) -> None:
        raw: contextvars.ContextVar[Binding] = contextvars.ContextVar("world", default=UNBOUND)
        self.variable = InheritedVariable(raw, UNBOUND)
        self.scope = make_request_ids(DEFAULT_POLICY, delta("s1", "u1"))

    def started(self, binding: Binding | None = None) -> Inheriting:
        """
        Return a thread that was started while *binding*, or that of the request, is current.
        """

        def start() -> Inheriting:
            self.variable.set(binding or self.scope)
            return Inheriting()

        return contextvars.copy_context().run(start)

    def read(self) -> str:
        """
        Return the session and the user that are in force here.
        """
        binding = self.variable.get()
        return f"{binding.look_up('session_id')[0]} {binding.look_up('user_id')[0]}"

    def layer(self, session: str | None = None, user: str | None = None) -> Overlay:
        """
        Bind a layer over what is bound here, as a block does, and return it.
        """
        below = self.variable.get()
        merged = {**getattr(below, "delta", {}), **delta(session, user)}
        over = below if isinstance(below, RequestIDs) else getattr(below, "over", None)
        made = Overlay(over, merged)
        inherited = self.variable.inherited_below(below)
        if inherited is not None:
            made.outlive(inherited)
        self.variable.set(made)
        return made


def delta(session: str | None = None, user: str | None = None) -> Any:
    """
    Return the fields that are given.
    """
    given = {"session_id": session, "user_id": user}
    return {name: (value, Provenance.CODE) for name, value in given.items() if value}


@pytest.fixture
def world() -> World:
    """
    Return a world in which nothing is bound.
    """
    return World()


@pytest.fixture
def threads() -> Iterator[list[Inheriting]]:
    """
    Return a list whose threads end with the test.
    """
    made: list[Inheriting] = []
    yield made
    for thread in made:
        thread.ask(lambda: None)


def test_what_was_inherited_is_read_until_it_is_over(
    world: World, threads: list[Inheriting]
) -> None:
    """
    A pool's thread that a request started reads it while it goes on, and never after.
    """
    threads.append(thread := world.started())
    assert thread.ask(world.read) == "s1 u1"
    world.scope.open = False
    assert thread.ask(world.read) == "None None"
    threads.append(late := world.started())
    assert late.ask(world.read) == "None None"


def test_what_runs_in_a_copy_still_reads_it(world: World, threads: list[Inheriting]) -> None:
    """
    R2.5: a function handed to that thread in a copy of the request's Context goes on reading it.
    """
    threads.append(thread := world.started())
    request = contextvars.copy_context()
    request.run(world.variable.set, world.scope)
    world.scope.open = False
    assert thread.ask(lambda: request.run(world.read)) == "s1 u1"
    assert thread.ask(world.read) == "None None"
    assert request.run(world.read) == "s1 u1"


def test_what_is_bound_there_on_purpose_is_read(world: World, threads: list[Inheriting]) -> None:
    """
    R13: what carry binds in that thread, even the very request, is read after its end too.
    """
    hidden = Overlay(world.scope, delta(user="u2"))
    for binding, expected in ((world.scope, "s1 u1"), (hidden, "s1 u2")):
        world.scope.open = True
        threads.append(thread := world.started(binding))

        def carried(binding: Binding = binding) -> str:
            token = world.variable.set(binding)
            world.scope.open = False
            try:
                return world.read()
            finally:
                world.variable.reset(token)

        assert thread.ask(carried) == expected
        assert thread.ask(world.read) == "None None"


def test_a_block_in_that_thread_outlives_the_request(
    world: World, threads: list[Inheriting]
) -> None:
    """
    R3: IDs of a block that was opened while the request went on stay; what was below goes.
    """
    for binding in (world.scope, Overlay(world.scope, delta(user="u2")), Overlay(None, delta("o"))):
        world.scope.open = True
        if isinstance(binding, Overlay) and binding.over is None:
            binding.block = [None]
        threads.append(thread := world.started(binding))
        thread.ask(lambda: world.layer(session="job"))
        assert thread.ask(world.read).startswith("job ")
        thread.ask(lambda: world.layer(user="worker"))
        assert thread.ask(world.read) == "job worker"
        world.scope.open = False
        if binding.inherited is None and isinstance(binding, Overlay) and binding.block:
            binding.block.clear()
        assert thread.ask(world.read) == "job worker"
        thread.ask(lambda: world.variable.set(world.variable.get()))
        assert thread.ask(world.read) == "job worker"


def test_an_empty_layer_in_that_thread_is_over_as_well(
    world: World, threads: list[Inheriting]
) -> None:
    """
    R3: a layer that changes nothing of its own has nothing when what was below is over.
    """
    threads.append(thread := world.started(Overlay(world.scope, delta(user="u2"))))
    thread.ask(world.layer)
    assert thread.ask(world.read) == "s1 u2"
    world.scope.open = False
    assert thread.ask(world.read) == "None None"


def test_a_layer_of_a_copy_is_the_requests(world: World, threads: list[Inheriting]) -> None:
    """
    R2.2: a layer made in a copy of the request's Context keeps what is below, in that thread too.
    """
    threads.append(thread := world.started())
    request = contextvars.copy_context()
    request.run(world.variable.set, world.scope)
    thread.ask(lambda: request.run(world.layer, user="task"))
    world.scope.open = False
    assert thread.ask(lambda: request.run(world.read)) == "s1 task"


def test_tasks_of_a_loop_in_that_thread_read_nothing(
    world: World, threads: list[Inheriting]
) -> None:
    """
    A loop that a request's thread runs has many tasks, which all descend from its Context.
    """
    threads.append(thread := world.started())

    async def task() -> str:
        return world.read()

    async def main() -> str:
        return await asyncio.create_task(task())

    assert thread.ask(lambda: asyncio.run(main())) == "s1 u1"
    world.scope.open = False
    assert thread.ask(lambda: asyncio.run(main())) == "None None"


def test_a_thread_that_inherits_nothing_reads_what_it_binds(world: World) -> None:
    """
    R3: threads without a Context of the starter's, as a server written in C has, are left alone.
    """

    def work() -> list[str]:
        found = [world.read()]
        world.variable.set(world.scope)
        world.scope.open = False
        found.append(world.read())
        world.variable.set(UNBOUND)
        return [*found, world.read()]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(contextvars.Context().run, work).result() == [
            "None None",
            "s1 u1",
            "None None",
        ]
    threading_less: list[list[str]] = []
    ended = threading.Lock()
    ended.acquire()
    world.scope.open = True

    def foreign() -> None:
        threading_less.append(contextvars.Context().run(work))
        ended.release()

    import _thread

    _thread.start_new_thread(foreign, ())
    assert ended.acquire(timeout=30)
    assert threading_less == [["None None", "s1 u1", "None None"]]


def test_nothing_is_a_node_like_the_others(world: World, threads: list[Inheriting]) -> None:
    """
    R2: where nothing is bound a thread inherits nothing, and binding nothing binds nothing.
    """
    assert UNBOUND.copy_as_own() is UNBOUND
    threads.append(thread := world.started(UNBOUND))
    assert thread.ask(world.read) == "None None"
    thread.ask(lambda: world.layer(session="own"))
    assert thread.ask(world.read) == "own None"


def test_the_warning_comes_once_and_only_there(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: where threads inherit a Context, one warning says what to use instead of a plain pool.
    """
    from idlanyard._failures import warned

    warned.discard("threads that inherit")
    with caplog.at_level(logging.WARNING, "idlanyard"):
        warn_of_inheritance(inherits=False)
        assert caplog.messages == []
        warn_of_inheritance(inherits=True)
        warn_of_inheritance(inherits=True)
    (line,) = caplog.messages
    assert "use ContextThreadPoolExecutor" in line
    assert "loop.set_default_executor(ContextThreadPoolExecutor())" in line


PROGRAM = """
import asyncio, contextvars, threading, logging, sys
from concurrent.futures import ThreadPoolExecutor
from idlanyard import ContextThreadPoolExecutor, carry, get_session_context, identify, restore
from idlanyard import scoped_iter, session_context, set_session_context
from idlanyard.asgi import SessionContextMiddleware as ASGI
from idlanyard.wsgi import SessionContextMiddleware as WSGI

logging.basicConfig()

def read():
    ids = get_session_context().as_dict()
    return " ".join(ids.get(name, "-") for name in ("session_id", "user_id"))

def serve(session, work, body=()):
    def app(environ, start_response):
        identify(user_id="user-of-" + session)
        work()
        start_response("200 OK", [])
        return body
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_SESSION_ID": session}
    response = WSGI(app)(environ, lambda *_: None)
    return response

# A plain pool, whose thread one request starts, serves others, jobs, blocks and nobody.
pool = ThreadPoolExecutor(1)
serve("s1", lambda: pool.submit(read).result())
found = []
serve("s2", lambda: found.append(pool.submit(read).result()))
found.append(pool.submit(read).result())
assert found == ["- -"] * 2, found
for block in (restore({"session_id": ["j1", "code"]}), session_context("b1")):
    other = ThreadPoolExecutor(1)
    with block:
        other.submit(read).result()
    assert other.submit(read).result() == "- -"

# carry, our pool, copies and tasks of the request go on reading it.
over = threading.Event()
def late():
    assert over.wait(30)
    return read()
kept = []
def outliving():
    lazily = ThreadPoolExecutor(1)
    copied = contextvars.copy_context()
    kept.append(lazily.submit(carry(late)))
    kept.append(lazily.submit(copied.run, late))
    kept.append(ContextThreadPoolExecutor(1).submit(late))
    plain.append(lazily.submit(late))
plain = []
serve("s3", outliving)
over.set()
assert [one.result() for one in kept] == ["s3 user-of-s3"] * 3
assert plain[0].result() == "- -"

# A body that the server closes after its last step.
class Body:
    def __iter__(self):
        yield read().encode()
    def close(self):
        kept.append(read())
def consume():
    response = serve("s4", lambda: None, Body())
    steps = list(response)
    response.close()
    return steps
starter = threading.Thread(target=lambda: kept.append(consume()))
starter.start(); starter.join()
assert kept[-2:] == ["s4 user-of-s4", [b"s4 user-of-s4"]], kept[-2:]

async def asgi(session, app):
    async def called(scope, receive, send):
        identify(user_id="user-of-" + session)
        await app()
    scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", session.encode())]}
    await ASGI(called)(scope, None, None)

async def main():
    loop = asyncio.get_running_loop()
    done = threading.Event()
    tasks = []
    def waiting():
        assert done.wait(30)
        return read()
    async def app():
        await loop.run_in_executor(None, read)
        tasks.append(asyncio.create_task(asyncio.to_thread(waiting)))
        tasks.append(asyncio.create_task(asyncio.sleep(0.01, None)))
        async def task():
            await asyncio.sleep(0)
            while not done.is_set():
                await asyncio.sleep(0.001)
            return read()
        tasks.append(asyncio.create_task(task()))
        await asyncio.sleep(0)
    await asgi("a1", app)
    done.set()
    results = [await task for task in tasks]
    assert results == ["a1 user-of-a1", None, "a1 user-of-a1"], results
    for _ in range(8):
        assert await loop.run_in_executor(None, read) == "- -"
    seen = []
    async def other():
        seen.append(await loop.run_in_executor(None, read))
        seen.append(await asyncio.to_thread(read))
    await asgi("a2", other)
    assert seen[1] == "a2 user-of-a2", seen
    assert seen[0] in ("- -", "a2 user-of-a2"), seen
asyncio.run(main())

# A job's block in a thread that a request has started.
async def lazily():
    class Worker(threading.Thread):
        pass
    begun, end, told = threading.Event(), threading.Event(), []
    def work():
        with session_context("job"):
            begun.set()
            assert end.wait(30)
            told.append(read())
        told.append(read())
    thread = Worker(target=work)
    async def app():
        thread.start()
        begun.wait(30)
    await asgi("w1", app)
    end.set()
    thread.join()
    assert told == ["job -", "- -"], told
asyncio.run(lazily())
print(bool(getattr(sys.flags, "thread_inherit_context", False)))
"""


@pytest.mark.parametrize("flag", ["thread_inherit_context=1", "thread_inherit_context=0"])
def test_no_thread_reads_what_is_over(flag: str) -> None:
    """
    With the flag and without it, what is over is read only where it was carried.
    """
    command = [sys.executable, "-X", flag, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    inherits = done.stdout.strip() == "True"
    assert inherits is (sys.version_info >= (3, 14) and flag.endswith("1"))
    assert done.stderr.count("threads of this Python start with the context") == inherits

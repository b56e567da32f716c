"""
Registries shared by threads, tasks and forked processes, cancelled and closed.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    SessionRegistry,
)
from idlanyard.registry._redis import async_store
from idlanyard.registry._redis._connections import deadline
from idlanyard.registry._urls import Pool
from registry.redis_fixtures import (
    Face,
    anywhere,
    connections,
    face,
    namespace,
    run,
    server,
    works,
)
from registry.valkey import Valkey, cluster, until, valkey

__all__ = ["anywhere", "cluster", "face", "namespace", "server", "valkey"]


def test_threads_share_what_is_reached_once(server: Valkey) -> None:
    """
    Threads that begin at once share a registry, and close leaves no connection.
    """
    start = threading.Barrier(8)
    with SessionRegistry.open(server.url) as registry, ThreadPoolExecutor(8) as pool:

        def create(_: int) -> str:
            start.wait()
            return registry.create().session_id

        assert len(set(pool.map(create, range(8)))) == 8
        assert len(set(pool.map(lambda _: registry.create().session_id, range(200)))) == 200
        assert 1 <= connections(server) <= 8
    until(lambda: connections(server) == 0)


def test_many_tasks_have_few_connections(server: Valkey) -> None:
    """
    However many tasks ask at once, they have all their answers by 64 connections.
    """

    async def main() -> int:
        async with AsyncSessionRegistry.open(server.url, timeout=30) as registry:
            await registry.create()
            made = await asyncio.gather(*(registry.create() for _ in range(500)))
            assert len({one.session_id for one in made}) == 500
            return connections(server)

    assert 1 <= asyncio.run(main()) <= 64
    until(lambda: connections(server) == 0)


def test_a_forked_child_has_connections_of_its_own(anywhere: str) -> None:
    """
    Parent and child go on with one registry, each by connections of its own.
    """
    program = """
        import os, sys
        from idlanyard.registry import SessionRegistry

        registry = SessionRegistry.open(sys.argv[1])
        registry.create(client_id="c")
        for round in range(3):
            child = os.fork()
            for number in range(50):
                name = registry.create().session_id
                assert registry.get(name).session_id == name
            if child == 0:
                registry.close()
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
        registry.close()
        registry.close()
        print("well")
    """
    assert run(program, anywhere) == ""


def test_an_interrupted_question_leaves_no_answer_behind(anywhere: str) -> None:
    """
    R14: an error of a signal's handler passes through; the next answer is the next question's.
    """
    program = """
        import signal, sys
        from idlanyard.registry import SessionRegistry

        class Interrupted(BaseException):
            pass

        def interrupt(*_):
            raise Interrupted

        signal.signal(signal.SIGALRM, interrupt)
        registry = SessionRegistry.open(sys.argv[1])
        one, other = (registry.create().session_id for _ in range(2))
        for number in range(1000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 + number % 200 * 0.000001)
                for _ in range(20):
                    registry.get(one)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                pass
            assert registry.get(other).session_id == other
        registry.close()
        print("well")
    """
    # Python and redis-py may complain of a socket that was interrupted while it was made.
    run(program, anywhere)


def test_what_was_dropped_is_closed(server: Valkey) -> None:
    """
    R14: after trouble no connection is used on which an answer may be waiting.
    """
    with SessionRegistry.open(server.url) as registry:
        registry.create("a")
        (servers,) = registry._store._of_process.values()  # type: ignore[attr-defined]
        (place,) = servers._servers.values()
        token = deadline.set(time.monotonic() + 30)
        try:
            links = [place._take_link() for _ in range(2)]
            for link in links:
                link.client.connection.send_command("ECHO", "stale")
            place._give_back(links[0])
            place._part_with(links[1], TimeoutError())
        finally:
            deadline.reset(token)
        until(lambda: connections(server) == 0)
        assert registry.get("a").session_id == "a"


def test_a_cancelled_question_leaves_no_answer_behind(anywhere: str) -> None:
    """
    R14: a verb may be cancelled anywhere, and the next answer is the next question's.
    """

    async def main() -> None:
        async with AsyncSessionRegistry.open(anywhere, timeout=30) as registry:
            one, other = [(await registry.create(client_id="c")).session_id for _ in range(2)]
            for steps in range(60):
                verbs = registry.get(one), registry.find(client_id="c"), registry.create()
                tasks = [asyncio.ensure_future(verb) for verb in verbs]
                await a_little(steps % 20)
                for task in tasks:
                    task.cancel()
                assert (await registry.get(other)).session_id == other
                await asyncio.gather(*tasks, return_exceptions=True)
                assert (await registry.get(one)).session_id == one

    asyncio.run(main())


def test_a_question_cancelled_in_its_wait_leaves_no_answer_behind(server: Valkey) -> None:
    """
    R14: cancelled while the server is silent, a verb takes its answer with it.
    """

    async def main() -> None:
        async with AsyncSessionRegistry.open(server.url, timeout=30) as registry:
            for name in ("a", "b"):
                await registry.create(name)
            server.freeze()
            task = asyncio.ensure_future(registry.get("a"))
            await a_little()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            server.wake()
            assert (await registry.get("b")).session_id == "b"

    asyncio.run(main())


def test_cancelled_while_it_connects_it_connects_again(server: Valkey) -> None:
    """
    R14: the first verb may be cancelled while it connects, and others go on.
    """

    async def main() -> None:
        async with AsyncSessionRegistry.open(server.url, timeout=30) as registry:
            for steps in range(30):
                tasks = [asyncio.ensure_future(registry.create()) for _ in range(3)]
                await a_little(steps)
                tasks[0].cancel()
                made = await asyncio.gather(*tasks, return_exceptions=True)
                assert not any(isinstance(one, Exception) for one in made[1:])
                await registry.close()

    asyncio.run(main())
    until(lambda: connections(server) == 0)


def test_a_registry_belongs_to_one_loop(anywhere: str) -> None:
    """
    Another event loop has to open its own registry, unless this one was closed.
    """
    registry = AsyncSessionRegistry.open(anywhere, timeout=30)

    async def crowd() -> None:
        await asyncio.gather(*(registry.create() for _ in range(100)))

    with asyncio.Runner() as first, asyncio.Runner() as second:
        name = first.run(registry.create()).session_id
        with pytest.raises(RuntimeError, match="open one registry for each loop"):
            second.run(registry.exists(name))
        first.run(crowd())
        second.run(registry.close())
        second.run(crowd())
        assert second.run(registry.exists(name))
        second.run(registry.close())


def test_closed_in_the_middle_of_a_verb_it_lets_go_of_all(server: Valkey) -> None:
    """
    A verb that is under way when the registry is closed has its answer or fails.
    """

    async def main() -> None:
        registry = AsyncSessionRegistry.open(server.url, timeout=30)
        await registry.create("a")
        server.freeze()
        task = asyncio.ensure_future(registry.get("a"))
        await a_little()
        await registry.close()
        server.wake()
        assert (await task).session_id == "a"

    asyncio.run(main())
    until(lambda: connections(server) == 0)


def test_closed_in_the_middle_of_a_thread_it_lets_go_of_all(server: Valkey) -> None:
    """
    Threads that go on while a registry is closed reach the server anew.
    """
    registry = SessionRegistry.open(server.url)
    name = registry.create().session_id
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(works, registry, name) for _ in range(400)]
        for _ in range(20):
            registry.close()
        assert any(one.result() for one in asked)
    registry.close()
    del registry
    gc.collect()
    until(lambda: connections(server) == 0)


async def a_little(steps: int = 20) -> None:
    """
    Give other tasks turns until they wait for the server.
    """
    for _ in range(steps):
        await asyncio.sleep(0)


def test_nothing_is_left_open(face: Face, anywhere: str, recwarn: pytest.WarningsRecorder) -> None:
    """
    A closed registry leaves nothing to the garbage collector, used or not.
    """
    # Django 5.2 leaves it the bodies of requests, in tests before this one.
    gc.collect()
    recwarn.clear()
    with face(anywhere) as registry:
        made = registry.create(client_id="c")
        assert made in [*registry.find(client_id="c", after=before(made.session_id))]
        registry.close()
        assert registry.exists(made.session_id)
    with face(anywhere) as registry:
        registry.close()
    del registry
    gc.collect()
    left = [str(one.message) for one in recwarn if issubclass(one.category, ResourceWarning)]
    assert left == []


def before(name: str) -> str:
    """
    Return an ID that is just before another one.
    """
    return name[:-1]


def test_a_store_is_made_without_a_loop() -> None:
    """
    Opening is a plain call, without an event loop and without a connection.
    """
    made = async_store(
        "redis://nowhere.invalid", scheme="redis", timeout=1.0, namespace="x", pool=Pool(1, 1, 1.0)
    )
    assert asyncio.run(made.close()) is None

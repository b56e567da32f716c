"""
``postgresql://`` with few connections, with failovers, and on event loops that end.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any

import psycopg
import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionRegistry,
)
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import DEADLINE, eventually, fresh
from registry.patience import SLACK, stopwatch
from registry.postgres import (
    PASSWORD,
    PostgreSQL,
    database,
    execute,
    fresh_database,
    own_server,
    postgres,
)
from registry.postgres_fixtures import blocked
from registry.relay import Relay
from registry.test_pgbouncer import pgbouncer

__all__ = ["database", "own_server", "postgres"]

Face = Callable[..., AbstractContextManager[Opened]]
SHORT = 2.0
OURS = "pg_stat_activity WHERE datname = current_database() AND application_name = 'idlanyard'"


@pytest.fixture(params=[synchronous, asynchronous])
def face(request: pytest.FixtureRequest) -> Face:
    """
    The sync and the async registry.
    """
    chosen: Face = request.param
    return chosen


@contextmanager
def role_of(url: str, options: str = "") -> Iterator[str]:
    """
    Create a role that may use a registry's table, and yield its URL.
    """
    role = fresh("role").replace("-", "_")
    execute(url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' {options}")
    execute(url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        yield url.replace("lanyard:", f"{role}:", 1)
    finally:
        execute(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def made(url: str) -> str:
    """
    Create a registry's table, and return the URL of its database.
    """
    with SessionRegistry.open(url) as registry:
        registry.exists("x")
    return url


def pids(url: str) -> set[object]:
    """
    Return the process numbers of the registry's connections at the server.
    """
    return {row[0] for row in execute(url, f"SELECT pid FROM {OURS}")}


def waits(url: str) -> list[tuple[object, ...]]:
    """
    Return those of the registry's connections that wait for a lock.
    """
    return execute(url, f"SELECT pid FROM {OURS} AND wait_event_type = 'Lock'")


@contextmanager
def holding(url: str, number: int) -> Iterator[list[psycopg.Connection[Any]]]:
    """
    Hold a number of a server's connections open.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(closing(psycopg.connect(url))) for _ in range(number)]


@contextmanager
def held_up(url: str, mode: str = "SHARE") -> Iterator[None]:
    """
    Block creates or, with ``"ACCESS EXCLUSIVE"``, all statements by a lock.
    """
    with closing(psycopg.connect(url)) as connection:
        connection.execute(f"LOCK TABLE idlanyard_sessions IN {mode} MODE".encode())
        yield
        connection.rollback()


def together(registry: Opened, url: str, number: int) -> None:
    """
    Make a registry that threads share open a number of connections at once.
    """
    with ThreadPoolExecutor(number) as pool:
        with held_up(url):
            asked = [pool.submit(registry.create, fresh()) for _ in range(number)]
            eventually(lambda: len(pids(url)) == number)
        for one in asked:
            one.result()


def demote(server: PostgreSQL) -> None:
    """
    Make a server read-only.
    """
    execute(server.url, "ALTER SYSTEM SET default_transaction_read_only = on")
    execute(server.url, "SELECT pg_reload_conf()")
    eventually(lambda: execute(server.url, "SHOW default_transaction_read_only") == [("on",)])


# Pools

WORKER = """
import sys, threading
from idlanyard.registry import RegistryUnavailable, SessionRegistry
registry = SessionRegistry.open(sys.argv[1], timeout=10)
ended, first = threading.Event(), threading.Event()
def work(start):
    number = 0
    while not ended.is_set():
        try:
            registry.create(f"{start}-{number}")
            first.set()
        except RegistryUnavailable:
            pass
        number += 1
        # Busy all the time, they would take the cores from what they wait for.
        ended.wait(0.02)
threads = [threading.Thread(target=work, args=(f"{sys.argv[2]}-{number}",)) for number in range(5)]
for thread in threads:
    thread.start()
print("begun", flush=True)
first.wait()
print("answered", flush=True)
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
registry.close()
"""


def test_no_worker_is_left_with_nothing() -> None:
    """
    Six workers with five threads each share a server with fewer connections.
    """
    with PostgreSQL(max_connections="12") as server, ExitStack() as stack:
        made(server.url)
        workers = []
        for number in range(6):
            program = [sys.executable, "-c", WORKER, server.url, str(number)]
            worker = stack.enter_context(
                subprocess.Popen(program, stdin=-1, stdout=-1, stderr=-1, text=True)
            )
            stack.callback(worker.kill)
            workers.append(worker)
            # The last workers find a server whose connections are all in use.
            assert worker.stdout is not None
            assert worker.stdout.readline() == "begun\n"
        for worker in workers:
            assert worker.stdout is not None
            # Thirty busy threads, seven processes and a server share the machine's cores.
            ready, _, _ = select.select([worker.stdout], [], [], 4 * DEADLINE)
            assert ready, "a worker has had no answer at all"
            assert worker.stdout.readline() == "answered\n"
        for worker in workers:
            _, said = worker.communicate("", timeout=2 * DEADLINE)
            assert (worker.returncode, said) == (0, "")


def test_who_has_connections_waits_for_one_of_them() -> None:
    """
    At a full server ten threads share the one connection of their process.
    """
    with PostgreSQL(max_connections="8") as server:
        made(server.url)
        with synchronous(server.url) as registry, holding(server.url, 7):
            registry.exists("x")
            with ThreadPoolExecutor(10) as pool:
                names = [fresh() for _ in range(100)]
                assert [one.session_id for one in pool.map(registry.create, names)] == names


def test_who_has_connections_waits_for_one_of_them_on_a_loop() -> None:
    """
    At a full server ten tasks share the one connection of their loop.
    """

    async def use(url: str) -> None:
        async with AsyncSessionRegistry.open(url) as registry:
            await registry.exists("x")
            names = [fresh() for _ in range(50)]
            answers = await asyncio.gather(*map(registry.create, names))
            assert [one.session_id for one in answers] == names

    with PostgreSQL(max_connections="8") as server:
        made(server.url)
        with holding(server.url, 7):
            asyncio.run(use(server.url))


def test_who_has_none_tries_again_until_there_is_one(face: Face) -> None:
    """
    A server that is full for a moment is tried again within the timeout.
    """
    with PostgreSQL(max_connections="8") as server:
        made(server.url)
        with (
            face(server.url, timeout=2 * DEADLINE) as registry,
            holding(server.url, 8) as held,
            ThreadPoolExecutor(1) as pool,
        ):
            asked = pool.submit(registry.create, "x")
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.5)
            held[0].close()
            assert asked.result().session_id == "x"


@pytest.mark.parametrize("kind", ["server", "role", "database", "pooler"])
def test_a_server_that_stays_full_is_unavailable_in_time(face: Face, kind: str) -> None:
    """
    A server that stays full is unavailable in time.
    """
    with ExitStack() as stack:
        settings = {"max_connections": "6"} if kind == "server" else {}
        server = stack.enter_context(PostgreSQL(**settings))
        url = made(server.url)
        if kind == "role":
            url = stack.enter_context(role_of(url, "CONNECTION LIMIT 6"))
        if kind == "database":
            execute(url, "ALTER DATABASE postgres CONNECTION LIMIT 6")
            url = stack.enter_context(role_of(url))
        if kind == "pooler":
            limits = {"max_client_conn": "6", "default_pool_size": "3"}
            url = stack.enter_context(pgbouncer(url, ignore_startup_parameters="options", **limits))
        stack.enter_context(holding(url, 6))
        registry = stack.enter_context(face(url, timeout=SHORT))
        began, seconds = time.monotonic(), stack.enter_context(stopwatch())
        with pytest.raises(RegistryUnavailable) as raised:
            registry.create("x")
        assert time.monotonic() - began > SHORT / 2
        assert seconds() < SHORT + SLACK
        assert "no connection left" in str(raised.value.__cause__)


def test_the_pools_size_and_maximum_are_kept(database: str) -> None:
    """
    At most ``pool_max`` connections are open, and ``pool_size`` of them stay open.
    """
    made(database)
    with synchronous(f"{database}?pool_size=2&pool_max=5") as registry:
        with ThreadPoolExecutor(8) as pool:
            with held_up(database):
                asked = [pool.submit(registry.create, fresh()) for _ in range(8)]
                eventually(lambda: len(pids(database)) == 5)
                assert not any(one.done() for one in asked)
            assert all(one.result() for one in asked)
        eventually(lambda: len(pids(database)) == 2)
    eventually(lambda: not pids(database))


def test_the_wait_for_a_connection_is_bounded(database: str, face: Face) -> None:
    """
    ``pool_wait`` ends the wait before the timeout, and leaves other waits alone.
    """
    made(database)
    with face(f"{database}?pool_max=1&pool_wait=0.2", timeout=DEADLINE) as registry:
        registry.exists("x")
        if face is asynchronous:
            return
        with ThreadPoolExecutor(1) as pool, held_up(database):
            asked = pool.submit(registry.create, "x")
            eventually(lambda: bool(waits(database)))
            with pytest.raises(RegistryUnavailable) as raised:
                registry.exists("y")
            assert "was in use" in str(raised.value.__cause__)
            assert raised.value.stale
        assert asked.result().session_id == "x"


def test_connections_are_handed_on_in_the_order_of_asking(database: str) -> None:
    """
    Ten threads get their single connection in turn.
    """
    made(database)
    counts = [0] * 10
    with synchronous(f"{database}?pool_max=1") as registry:

        def work(number: int) -> None:
            while max(counts) < 50:
                registry.exists("x")
                counts[number] += 1

        with ThreadPoolExecutor(10) as pool:
            list(pool.map(work, range(10)))
    assert min(counts) > 10


# Servers that change sides


def test_a_connection_that_may_only_read_is_replaced(database: str, face: Face) -> None:
    """
    A write that a read-only connection refuses is repeated on a new connection.
    """
    made(database)
    with role_of(database, "") as url:
        role = str(psycopg.conninfo.conninfo_to_dict(url)["user"])
        execute(database, f"ALTER ROLE {role} SET default_transaction_read_only = on")
        with face(url) as registry:
            assert not registry.exists("x")
            with pytest.raises(RegistryUnavailable):
                registry.create("y")
            execute(database, f"ALTER ROLE {role} RESET default_transaction_read_only")
            assert registry.create("x").session_id == "x"


def test_one_refusal_closes_all_older_connections(database: str) -> None:
    """
    If a new connection accepts a refused write, all older connections are replaced.
    """
    made(database)
    with role_of(database) as url, synchronous(url) as registry, ThreadPoolExecutor(5) as pool:
        role = str(psycopg.conninfo.conninfo_to_dict(url)["user"])
        execute(database, f"ALTER ROLE {role} SET default_transaction_read_only = on")
        with held_up(database, "ACCESS EXCLUSIVE"):
            asked = [pool.submit(registry.exists, "x") for _ in range(5)]
            eventually(lambda: len(pids(database)) == 5)
            before = pids(database)
        assert not any(one.result() for one in asked)
        execute(database, f"ALTER ROLE {role} RESET default_transaction_read_only")
        assert registry.create("x").session_id == "x"
        eventually(lambda: not before & pids(database))


def test_one_refusal_is_told_of_all_connections() -> None:
    """
    One refused write replaces the whole pool, also connections that are in use.
    """
    with (
        PostgreSQL() as old,
        PostgreSQL() as new,
        Relay(old.port) as relay,
        synchronous(old.url.replace(f":{old.port}/", f":{relay.port}/")) as registry,
        ThreadPoolExecutor(1) as pool,
    ):
        for server in (old, new):
            made(server.url)
        together(registry, old.url, 5)
        with blocked(old.url, "in use"):
            asked = pool.submit(registry.create, "in use")
            eventually(lambda: bool(waits(old.url)))
            demote(old)
            relay.target = new.port
            assert registry.create("moved")
        assert asked.result()
        eventually(lambda: not pids(old.url))
        assert not registry.exists("in use")


def test_a_database_that_may_only_be_read_keeps_its_connections(database: str, face: Face) -> None:
    """
    If a new connection refuses the write too, the pool keeps its connections for reads.
    """
    made(database)
    with role_of(database, "") as url:
        role = str(psycopg.conninfo.conninfo_to_dict(url)["user"])
        execute(database, f"ALTER ROLE {role} SET default_transaction_read_only = on")
        with face(url) as registry:
            registry.exists("x")
            for _ in range(3):
                with pytest.raises(RegistryUnavailable) as raised:
                    registry.create("x")
                assert "read-only" in str(raised.value.__cause__)
                # A connection that was closed may still be ending at the server.
                eventually(lambda: len(pids(database)) == 1)
                (pid,) = pids(database)
                assert not registry.exists("x")
                assert pids(database) == {pid}


def test_a_server_that_says_that_it_may_only_be_read_is_left(face: Face) -> None:
    """
    A demoted server reports it beside an answer, and is not asked again.
    """
    with PostgreSQL() as old, PostgreSQL() as new, Relay(old.port) as relay:
        for server in (old, new):
            made(server.url)
        execute(
            new.url,
            "INSERT INTO idlanyard_sessions (key, session_id, metadata, created_at)"
            " VALUES (sha256('there'), 'there', '{}', now())",
        )
        url = old.url.replace(f":{old.port}/", f":{relay.port}/")
        with face(url) as registry:
            assert not registry.exists("there")
            demote(old)
            relay.target = new.port
            eventually(lambda: bool(registry.exists("there")))
            assert registry.create("x").session_id == "x"
        assert execute(new.url, "SELECT session_id FROM idlanyard_sessions WHERE session_id = 'x'")


def test_a_route_that_moved_is_followed(face: Face) -> None:
    """
    A write that the demoted server refuses reaches the server now behind the address.
    """
    with PostgreSQL() as old, PostgreSQL() as new, Relay(old.port) as relay:
        for server in (old, new):
            made(server.url)
        url = old.url.replace(f":{old.port}/", f":{relay.port}/")
        with face(url) as registry:
            registry.create("before")
            demote(old)
            relay.target = new.port
            for number in range(5):
                assert registry.create(f"{number}").session_id == f"{number}"
        found = execute(new.url, "SELECT count(*) FROM idlanyard_sessions")
        assert found == [(5,)]


def test_a_statement_that_an_ending_server_refused_is_asked_again(
    database: str, face: Face
) -> None:
    """
    After "terminating connection" nothing was done, so the statement is repeated.
    """
    made(database)
    with face(database, timeout=2 * DEADLINE) as registry, ThreadPoolExecutor(1) as pool:
        registry.exists("x")
        with held_up(database):
            asked = pool.submit(registry.create, "x")
            eventually(lambda: bool(waits(database)))
            (before,) = waits(database)
            execute(database, f"SELECT pg_terminate_backend({before[0]}, 60000)")
            eventually(lambda: bool(waits(database)))
        assert asked.result().session_id == "x"


def test_a_failed_connection_says_whether_it_had_answered(
    own_server: PostgreSQL, face: Face
) -> None:
    """
    ``stale`` is true if a pooled connection died, and false if a new one failed.
    """
    with face(own_server.url, timeout=SHORT) as registry:
        registry.exists("x")
        own_server.freeze()
        seen = []
        for _ in range(2):
            with pytest.raises(RegistryUnavailable) as raised:
                registry.exists("x")
            seen.append(raised.value.stale)
        own_server.thaw()
    assert seen == [True, False]


def test_a_check_opens_a_connection_of_its_own(database: str, face: Face) -> None:
    """
    ``check`` finds out that new connections are refused, though a pooled one still works.
    """
    made(database)
    with role_of(database, "") as url, face(url) as registry:
        role = str(psycopg.conninfo.conninfo_to_dict(url)["user"])
        assert registry.check() == []
        execute(database, f"ALTER ROLE {role} PASSWORD 'another'")
        assert not registry.exists("x")
        with pytest.raises(RegistryMisconfigured, match="password"):
            registry.check()


# Loops and forks


def test_each_loop_that_begins_when_the_last_one_is_closed_is_served(database: str) -> None:
    """
    A registry works on one event loop after another, each closed before the next.
    """
    registry = AsyncSessionRegistry.open(database)

    async def use(name: str) -> str:
        return (await registry.create(name)).session_id

    assert [asyncio.run(use(name)) for name in "abc"] == ["a", "b", "c"]
    eventually(lambda: len(pids(database)) == 1)
    asyncio.run(registry.close())
    eventually(lambda: not pids(database))


def test_a_loop_that_ends_in_the_middle_leaves_no_connection(database: str) -> None:
    """
    Connections that were in use when their loop was closed are closed.
    """
    registry = AsyncSessionRegistry.open(made(database), timeout=2 * DEADLINE)

    async def use() -> bool:
        return await registry.exists("x")

    async def leave() -> None:
        await registry.exists("x")
        task = asyncio.create_task(registry.create("x"))
        await asyncio.to_thread(eventually, lambda: bool(waits(database)))
        assert not task.done()

    with held_up(database):
        asyncio.run(leave())
        assert asyncio.run(use()) is False
    eventually(lambda: len(pids(database)) == 1)
    asyncio.run(registry.close())


def test_a_registry_is_closed_from_another_loop_while_its_own_runs(database: str) -> None:
    """
    ``close`` works from any loop; calls in progress end first.
    """
    registry = AsyncSessionRegistry.open(made(database), timeout=2 * DEADLINE)
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as pool:

        async def create() -> str:
            await registry.exists("x")
            return (await registry.create("x")).session_id

        with held_up(database):
            asked = pool.submit(runner.run, create())
            eventually(lambda: bool(waits(database)))
            asyncio.run(registry.close())
        assert asked.result() == "x"
        eventually(lambda: not pids(database))


def test_a_forked_child_has_a_loop_and_connections_of_its_own(database: str) -> None:
    """
    An async registry that the parent has used works in the child, and in the parent.
    """
    registry = AsyncSessionRegistry.open(database)
    reader, writer = os.pipe()

    async def use(name: str) -> str:
        return (await registry.create(name)).session_id

    with asyncio.Runner() as runner:
        runner.run(use("parent"))
        child = os.fork()
        if not child:
            said = asyncio.run(use("child"))
            asyncio.run(registry.close())
            os.write(writer, json.dumps(said).encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert json.loads(os.read(reader, 1000)) == "child"
        assert runner.run(use("again")) == "again"
        runner.run(registry.close())
    os.close(reader)
    os.close(writer)


def test_many_threads_begin_at_one_moment(postgres: str) -> None:
    """
    R14: threads that use a registry for the first time at once share one pool.
    """
    with fresh_database(postgres) as url, synchronous(url, pool_max=4) as registry:
        start = threading.Barrier(12)

        def create(_: int) -> str:
            start.wait()
            return str(registry.create().session_id)

        with ThreadPoolExecutor(12) as pool:
            assert len(set(pool.map(create, range(12)))) == 12
        assert len(pids(url)) <= 4

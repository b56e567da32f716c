"""
The slots of the pool go to the waiters in order, and none is lost after a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from threading import Event
from time import monotonic
from typing import Any

import psycopg
import pytest

from idlanyard.registry import AsyncSessionRegistry
from idlanyard.registry._postgresql._attempts import Attempts, Execute, Open, ReadRoom, Wait
from idlanyard.registry._postgresql._connections import PooledConnection
from idlanyard.registry._postgresql._pool import (
    GROWTH_PAUSE,
    RETRY_PAUSE,
    ConnectionPool,
    Permit,
    Waiter,
)
from idlanyard.registry._urls import Pool
from ports import free_port
from registry.forking import fork_between_loops, outcome_of
from registry.postgres import database, execute, postgres

__all__ = ["database", "postgres"]


class Line(PooledConnection):
    """
    A connection that only knows whether it was closed.
    """

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.is_closed = False

    def close(self) -> None:
        """
        Close the connection.
        """
        self.is_closed = True


def pool_of(size: int, most: int) -> ConnectionPool:
    """
    Return a pool with bounds.
    """
    return ConnectionPool(Pool(size, most, 1.0))


def waiter() -> Waiter:
    """
    Return a new waiter.
    """
    return Waiter(Event())


def test_places_are_handed_on_in_the_order_of_asking() -> None:
    """
    A connection goes to the waiter that has waited longest.
    """
    pool, line = pool_of(1, 1), Line()
    assert pool.take(waiter()) is Permit.OPEN
    first, second = waiter(), waiter()
    assert pool.take(first) is None
    assert pool.take(second) is None
    pool.give_back(line)
    assert pool.retry(second) is None
    assert pool.retry(first) is line


@pytest.mark.parametrize("is_open", [True, False])
def test_whoever_leaves_hands_on_what_came_too_late(is_open: bool) -> None:
    """
    R14: a slot given to a waiter that leaves goes to the next one.
    """
    pool, line = pool_of(1, 1), Line()
    pool.take(waiter())
    first, second = waiter(), waiter()
    pool.take(first)
    pool.take(second)
    if is_open:
        pool.give_back(line)
    else:
        pool.free()
    pool.leave(first)
    assert pool.retry(second) is (line if is_open else Permit.OPEN)
    assert pool.open == 1


def test_whoever_leaves_twice_takes_nothing_away() -> None:
    """
    R14: leaving the queue twice, or without being in it, changes nothing.
    """
    pool, one = pool_of(1, 1), waiter()
    pool.leave(one)
    pool.take(waiter())
    pool.take(one)
    pool.leave(one)
    pool.leave(one)
    pool.free()
    assert pool.open == 0


def test_what_is_too_many_is_closed_when_it_comes_back() -> None:
    """
    Connections above the size of the pool are closed when they come back.
    """
    pool, lines = pool_of(1, 2), [Line(), Line()]
    assert [pool.take(waiter()) for _ in lines] == [Permit.OPEN] * 2
    for line in lines:
        pool.give_back(line)
    assert [line.is_closed for line in lines] == [False, True]
    assert pool.open == 1


def test_the_last_connections_are_for_others() -> None:
    """
    R16: at a server with hardly any room a process gives up all its connections but one.
    """
    pool = pool_of(2, 2)
    assert [pool.take(waiter()) for _ in range(2)] == [Permit.OPEN] * 2
    assert pool.may_keep(2)
    assert not pool.may_keep(1)
    assert pool.open == 1
    assert pool.may_keep(0)


def test_the_attempts_of_those_that_have_none_come_first() -> None:
    """
    R16: at a full server a process that has connections seldom tries to open another one.
    """
    poor, rich = pool_of(2, 2), pool_of(2, 2)
    assert rich.take(waiter()) is Permit.OPEN
    for pool in (poor, rich):
        assert pool.take(waiter()) is Permit.OPEN
        pool.note_refusal()
        assert pool.take(waiter()) is None
    soon, late = poor.retry_after(), rich.retry_after()
    assert soon is not None
    assert late is not None
    assert soon < 2 * RETRY_PAUSE < GROWTH_PAUSE / 2 < late


def test_a_pool_that_was_given_up_takes_nothing_back() -> None:
    """
    A connection in use when all are replaced is closed when it comes back.
    """
    pool, idle, used = pool_of(2, 2), Line(), Line()
    pool.take(waiter())
    pool.take(waiter())
    pool.give_back(idle)
    pool.replace_all(0)
    pool.replace_all(0)
    assert pool.generation == 1
    assert (idle.is_closed, used.is_closed) == (True, False)
    pool.give_back(used)
    assert (used.is_closed, pool.open) == (True, 0)


def test_a_server_that_has_room_again_lets_all_open() -> None:
    """
    Once the server has room for the whole pool, all waiters may open connections.
    """
    pool, waiting = pool_of(4, 4), [waiter() for _ in range(3)]
    pool.take(waiter())
    pool.take(waiter())
    pool.note_refusal()
    assert all(pool.take(one) is None for one in waiting)
    assert pool.may_keep(100)
    assert [pool.retry(one) for one in waiting] == [Permit.OPEN] * 3


def test_a_server_with_some_room_keeps_everybody_as_they_are() -> None:
    """
    If the server has a few connections left, none is closed.
    """
    pool = pool_of(4, 4)
    pool.take(waiter())
    pool.take(waiter())
    assert pool.may_keep(3)
    assert not pool.may_keep(1)
    assert pool.may_keep(1)
    assert pool.open == 1


# The steps


@pytest.fixture
def link(database: str) -> Iterator[PooledConnection]:
    """
    A connection to a real server.
    """
    with closing(psycopg.connect(database, autocommit=True)) as driver:
        yield PooledConnection(None, driver, 0)


def until_look(pool: ConnectionPool, link: PooledConnection) -> Any:
    """
    Return the steps of an answered statement, up to the check of the server's room.
    """
    pool.take(waiter())
    steps = Attempts(pool, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Open)
    assert isinstance(steps.send(link), Execute)
    assert isinstance(steps.send(["answer"]), ReadRoom)
    return steps


def test_a_look_that_fails_does_not_fail_the_question(link: PooledConnection) -> None:
    """
    If the check of the server's room fails, the answer is returned all the same.
    """
    pool = pool_of(2, 2)
    steps = until_look(pool, link)
    with pytest.raises(StopIteration) as ended:
        steps.throw(psycopg.OperationalError("no"))
    assert ended.value.value == ["answer"]
    assert pool.take(waiter()) is link


def test_a_look_that_is_cancelled_leaves_no_place_taken(link: PooledConnection) -> None:
    """
    R14: a cancellation is passed on, and the connection is closed.
    """
    pool = pool_of(2, 2)
    steps = until_look(pool, link)
    with pytest.raises(asyncio.CancelledError):
        steps.throw(asyncio.CancelledError())
    assert not link.is_alive()
    assert pool.open == 1


def test_a_wait_that_is_cancelled_leaves_the_queue() -> None:
    """
    R14: a cancelled wait gets no slot.
    """
    pool = pool_of(1, 1)
    pool.take(waiter())
    steps = Attempts(pool, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Wait)
    with pytest.raises(asyncio.CancelledError):
        steps.throw(asyncio.CancelledError())
    pool.free()
    assert pool.open == 0


def test_an_answer_that_is_no_servers_gives_the_connection_back(link: PooledConnection) -> None:
    """
    R14: after an error of our own, a usable connection goes back into the pool.
    """
    pool = pool_of(1, 1)
    steps = Attempts(pool, Event, until=monotonic() + 60).steps()
    next(steps)
    steps.send(link)
    with pytest.raises(ValueError, match="ours"):
        steps.throw(ValueError("ours"))
    assert pool.take(waiter()) is link


def test_a_connection_that_ended_meanwhile_is_replaced(
    database: str, link: PooledConnection
) -> None:
    """
    A connection that the server has closed is replaced before it is used.
    """
    pool = pool_of(1, 1)
    steps = Attempts(pool, Event, until=monotonic() + 60).steps()
    next(steps)
    steps.send(link)
    with pytest.raises(StopIteration):
        steps.send([])
    execute(
        database,
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    steps = Attempts(pool, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Open)
    with pytest.raises(ConnectionError):
        steps.throw(ConnectionError())
    assert pool.open == 0


def test_a_registry_that_was_never_used_is_closed() -> None:
    """
    R14: a registry that was never used can be closed, also twice.
    """
    registry = AsyncSessionRegistry.open(f"postgresql://127.0.0.1:{free_port()}/d")
    asyncio.run(registry.close())
    asyncio.run(registry.close())


def test_a_child_begins_with_nothing_of_its_parents() -> None:
    """
    A forked child has its own state, and neither uses nor closes its parent's.
    """
    assert outcome_of(fork_between_loops) == [[None, 2, []], 1]


def test_a_full_server_is_told_from_a_silent_one() -> None:
    """
    If the server was full until the timeout, the cause says so.
    """
    pool = pool_of(1, 1)
    attempts = Attempts(pool, Event, until=monotonic())
    assert isinstance(attempts.reason(TimeoutError()), TimeoutError)
    attempts._was_full = True
    assert str(attempts.reason(TimeoutError())) == "the server had no connection left"


class Demoted(PooledConnection):
    """
    A connection whose server no longer accepts writes.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.is_closed = False

    def is_alive(self) -> bool:
        """
        Return True.
        """
        return True

    def is_demoted(self) -> bool:
        """
        Return True.
        """
        return True

    def close(self) -> None:
        """
        Close the connection.
        """
        self.is_closed = True


def test_a_demoted_connection_is_seen_before_it_is_asked() -> None:
    """
    A connection whose server reported that it is read-only is replaced before it is used.
    """
    pool, line = pool_of(1, 1), Demoted()
    pool.take(waiter())
    pool.give_back(line)
    before = pool.generation
    steps = Attempts(pool, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Open)
    assert line.is_closed
    assert pool.generation > before
    with pytest.raises(ConnectionError):
        steps.throw(ConnectionError())

"""
Places in a pool are handed on to whoever waits, and none is lost, whatever goes wrong.
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
from idlanyard.registry._postgresql._attempts import Ask, Attempts, Look, Open, Wait
from idlanyard.registry._postgresql._links import Link
from idlanyard.registry._postgresql._places import Permit, Places, Waiter
from idlanyard.registry._urls import Pool
from registries.forking import fork_between_loops, outcome_of
from registries.postgres import database, execute, free_port, postgres

__all__ = ["database", "postgres"]


class Line:
    """
    A connection that knows only whether it was closed.
    """

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.is_closed = False

    def close(self) -> None:
        """
        Hang up.
        """
        self.is_closed = True


def places_of(size: int, most: int) -> Places:
    """
    Return a pool.
    """
    return Places(Pool(size, most, 1.0))


def waiter() -> Waiter:
    """
    Return one that waits.
    """
    return Waiter(Event())


def test_places_are_handed_on_in_the_order_of_asking() -> None:
    """
    Finding 8: a connection goes to whoever has waited longest, and to nobody else.
    """
    places, line = places_of(1, 1), Line()
    assert places.take(waiter()) is Permit.OPEN
    first, second = waiter(), waiter()
    assert places.take(first) is None
    assert places.take(second) is None
    places.give(line)
    assert places.try_again(second) is None
    assert places.try_again(first) is line


@pytest.mark.parametrize("is_open", [True, False])
def test_whoever_leaves_hands_on_what_came_too_late(is_open: bool) -> None:
    """
    R14: a place that was given to a question that is over goes to the next one.
    """
    places, line = places_of(1, 1), Line()
    places.take(waiter())
    first, second = waiter(), waiter()
    places.take(first)
    places.take(second)
    if is_open:
        places.give(line)
    else:
        places.forgo()
    places.leave(first)
    assert places.try_again(second) is (line if is_open else Permit.OPEN)
    assert places.open == 1


def test_whoever_leaves_twice_takes_nothing_away() -> None:
    """
    R14: a waiter that was never in the queue, or is out of it, leaves without a trace.
    """
    places, one = places_of(1, 1), waiter()
    places.leave(one)
    places.take(waiter())
    places.take(one)
    places.leave(one)
    places.leave(one)
    places.forgo()
    assert places.open == 0


def test_what_is_too_many_is_closed_when_it_comes_back() -> None:
    """
    Finding 8: of those that were open at once, as many stay as were asked for.
    """
    places, lines = places_of(1, 2), [Line(), Line()]
    assert [places.take(waiter()) for _ in lines] == [Permit.OPEN] * 2
    for line in lines:
        places.give(line)
    assert [line.is_closed for line in lines] == [False, True]
    assert places.open == 1


def test_a_pool_that_was_given_up_takes_nothing_back() -> None:
    """
    Finding 6: what was in use when the pool was given up is closed, and its place is free.
    """
    places, idle, used = places_of(2, 2), Line(), Line()
    places.take(waiter())
    places.take(waiter())
    places.give(idle)
    places.renew(0)
    places.renew(0)
    assert places.generation == 1
    assert (idle.is_closed, used.is_closed) == (True, False)
    places.give(used)
    assert (used.is_closed, places.open) == (True, 0)


def test_a_server_that_has_room_again_lets_all_open() -> None:
    """
    Finding 8: once there is room for everybody, whoever waits may open a connection.
    """
    places, waiting = places_of(4, 4), [waiter() for _ in range(3)]
    places.take(waiter())
    places.take(waiter())
    places.refuse()
    assert all(places.take(one) is None for one in waiting)
    assert places.settle(100)
    assert [places.try_again(one) for one in waiting] == [Permit.OPEN] * 3


def test_a_server_with_some_room_keeps_everybody_as_they_are() -> None:
    """
    Finding 8: where a few connections are left, nobody closes one and nobody hurries.
    """
    places = places_of(4, 4)
    places.take(waiter())
    places.take(waiter())
    assert places.settle(3)
    assert not places.settle(1)
    assert places.settle(1)
    assert places.open == 1


# The steps


@pytest.fixture
def link(database: str) -> Iterator[Link]:
    """
    A connection to a real server.
    """
    with closing(psycopg.connect(database, autocommit=True)) as driver:
        yield Link(None, driver, 0)


def until_look(places: Places, link: Link) -> Any:
    """
    Return the steps of a question that was answered, before it looks at the server's room.
    """
    places.take(waiter())
    steps = Attempts(places, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Open)
    assert isinstance(steps.send(link), Ask)
    assert isinstance(steps.send(["answer"]), Look)
    return steps


def test_a_look_that_fails_does_not_fail_the_question(link: Link) -> None:
    """
    Finding 8: the answer is there already, whatever the server says about its connections.
    """
    places = places_of(2, 2)
    steps = until_look(places, link)
    with pytest.raises(StopIteration) as ended:
        steps.throw(psycopg.OperationalError("no"))
    assert ended.value.value == ["answer"]
    assert places.take(waiter()) is link


def test_a_look_that_is_cancelled_leaves_no_place_taken(link: Link) -> None:
    """
    R14: a cancellation goes through, and the connection is closed.
    """
    places = places_of(2, 2)
    steps = until_look(places, link)
    with pytest.raises(asyncio.CancelledError):
        steps.throw(asyncio.CancelledError())
    assert not link.is_alive()
    assert places.open == 1


def test_a_wait_that_is_cancelled_leaves_the_queue() -> None:
    """
    R14: who is cancelled while it waits for a connection is given none.
    """
    places = places_of(1, 1)
    places.take(waiter())
    steps = Attempts(places, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Wait)
    with pytest.raises(asyncio.CancelledError):
        steps.throw(asyncio.CancelledError())
    places.forgo()
    assert places.open == 0


def test_an_answer_that_is_no_servers_gives_the_connection_back(link: Link) -> None:
    """
    R14: an error of our own, on a connection that is well, costs no connection.
    """
    places = places_of(1, 1)
    steps = Attempts(places, Event, until=monotonic() + 60).steps()
    next(steps)
    steps.send(link)
    with pytest.raises(ValueError, match="ours"):
        steps.throw(ValueError("ours"))
    assert places.take(waiter()) is link


def test_a_connection_that_ended_meanwhile_is_replaced(database: str, link: Link) -> None:
    """
    What the server has ended is seen before it is asked.
    """
    places = places_of(1, 1)
    steps = Attempts(places, Event, until=monotonic() + 60).steps()
    next(steps)
    steps.send(link)
    with pytest.raises(StopIteration):
        steps.send([])
    execute(
        database,
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    steps = Attempts(places, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Open)
    with pytest.raises(ConnectionError):
        steps.throw(ConnectionError())
    assert places.open == 0


def test_a_registry_that_was_never_used_is_closed() -> None:
    """
    R14: closing what has connected to nothing is harmless, twice too.
    """
    registry = AsyncSessionRegistry.open(f"postgresql://127.0.0.1:{free_port()}/d")
    asyncio.run(registry.close())
    asyncio.run(registry.close())


def test_a_child_begins_with_nothing_of_its_parents() -> None:
    """
    Finding 9: in a child the state is made anew, and the parent's is neither used nor given up.
    """
    assert outcome_of(fork_between_loops) == [[None, 2, []], 1]


def test_a_full_server_is_told_from_a_silent_one() -> None:
    """
    Finding 8: where a question found the server full until its time was over, that is the cause.
    """
    places = places_of(1, 1)
    attempts = Attempts(places, Event, until=monotonic())
    assert isinstance(attempts.reason(TimeoutError()), TimeoutError)
    attempts._was_full = True
    assert str(attempts.reason(TimeoutError())) == "the server had no connection left"


class Demoted(Link):
    """
    A connection whose server has stopped to take writes.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.is_closed = False

    def is_alive(self) -> bool:
        """
        Return that it can be asked.
        """
        return True

    def is_demoted(self) -> bool:
        """
        Return that its server was demoted.
        """
        return True

    def close(self) -> None:
        """
        Hang up.
        """
        self.is_closed = True


def test_a_demoted_connection_is_seen_before_it_is_asked() -> None:
    """
    Finding 6: where the server said by itself that it is read-only, the connection is replaced.
    """
    places, line = places_of(1, 1), Demoted()
    places.take(waiter())
    places.give(line)
    before = places.generation
    steps = Attempts(places, Event, until=monotonic() + 60).steps()
    assert isinstance(next(steps), Open)
    assert line.is_closed
    assert places.generation > before
    with pytest.raises(ConnectionError):
        steps.throw(ConnectionError())

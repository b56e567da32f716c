"""
An asynchronous store's state follows its event loop and its process, and no other.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading

import pytest

from idlanyard.registry._loops import OnLoop, get_asyncio_loop


class States:
    """
    Makes numbered states, and remembers which were abandoned.
    """

    def __init__(self) -> None:
        self.made = 0
        self.abandoned: list[int] = []
        self.home = OnLoop(self.begin, self.abandoned.append)

    def begin(self) -> int:
        """
        Return the next number.
        """
        self.made += 1
        return self.made

    async def use(self) -> int:
        """
        Return the state of the running loop.
        """
        return self.home.get()


def test_one_loop_has_one_state() -> None:
    """
    On one loop the state is begun once.
    """
    states = States()

    async def twice() -> list[int]:
        return [await states.use(), await states.use()]

    assert asyncio.run(twice()) == [1, 1]
    assert states.abandoned == []


def test_a_closed_loops_state_is_abandoned() -> None:
    """
    The next loop begins anew, and the state of the closed one is given up.
    """
    states = States()
    assert [asyncio.run(states.use()) for _ in range(3)] == [1, 2, 3]
    assert states.abandoned == [1, 2]


def test_a_loop_that_is_not_closed_keeps_its_state() -> None:
    """
    R14: a second loop is told in a sentence while the first is open, and the first goes on.
    """
    states = States()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(states.use()) == 1
        with pytest.raises(RuntimeError, match="open one registry for each loop"):
            second.run(states.use())
        assert first.run(states.use()) == 1


@pytest.mark.parametrize("is_same", [True, False])
def test_the_state_is_taken_from_any_loop(is_same: bool) -> None:
    """
    Whoever closes gets the state, and learns whether its loop is this one.
    """
    states = States()

    async def take() -> bool:
        held = states.home.take()
        assert held is not None
        assert states.home.take() is None
        return held.is_here

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(states.use())
        assert (first if is_same else second).run(take()) is is_same
        assert second.run(states.use()) == 2
    assert states.abandoned == []


def test_a_child_begins_anew_and_leaves_its_parents_state_alone() -> None:
    """
    After a fork the child has a state of its own, and abandons nothing.
    """
    states = States()
    reader, writer = os.pipe()
    with asyncio.Runner() as runner:
        runner.run(states.use())
        child = os.fork()
        if not child:
            known = [states.home.take(), asyncio.run(states.use()), states.abandoned]
            os.write(writer, json.dumps(known).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert json.loads(os.read(reader, 1000)) == [None, 2, []]
        assert runner.run(states.use()) == 1
    os.close(reader)
    os.close(writer)


def test_of_loops_in_threads_one_has_the_state() -> None:
    """
    R14: of many loops that begin at one moment, one has the state and the others are told.
    """
    states, start = States(), threading.Barrier(8)
    answers: list[object] = []

    def use() -> None:
        with asyncio.Runner() as runner:
            start.wait()
            try:
                answers.append(runner.run(states.use()))
            except RuntimeError:
                answers.append(None)
            start.wait()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == ["1"] + ["None"] * 7


def test_without_a_loop_of_asyncio_the_alternative_is_named() -> None:
    """
    Under trio, or without any loop, a sentence says what to write instead.
    """
    with pytest.raises(RuntimeError, match=r"trio\.to_thread\.run_sync"):
        get_asyncio_loop()

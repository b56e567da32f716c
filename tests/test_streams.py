"""
Streams keep their own IDs and their consumers keep theirs, however they end.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from idlanyard import carry, get_session_id, identify, scoped_iter, session_context
from idlanyard._binding.functions import SteppedBinding
from idlanyard._binding.state import get_binding

Stream = Callable[[], AsyncIterator[str | None]]

cleaned: list[str | None] = []


@pytest.fixture(autouse=True)
def no_clean_up_is_remembered() -> None:
    """
    Forget what the streams of the test before have cleaned up.
    """
    cleaned.clear()


async def bare() -> AsyncIterator[str | None]:
    """
    Yield what is bound in each step, and clean up in a step of its own.
    """
    try:
        yield get_session_id()
        yield get_session_id()
    finally:
        await asyncio.sleep(0)
        cleaned.append(get_session_id())


def decorated() -> AsyncIterator[str | None]:
    """
    Make the stream with the decorator.
    """
    return session_context("stream")(bare)()


def iterated() -> AsyncIterator[str | None]:
    """
    Make the stream with scoped_iter.
    """
    with session_context("stream"):
        return scoped_iter(bare())


def carried() -> AsyncIterator[str | None]:
    """
    Make the stream with carry.
    """
    with session_context("stream"):
        return carry(bare)()


EVERY_STREAM = pytest.mark.parametrize("stream", [decorated, iterated, carried])


def complaints_of(main: Callable[[], Coroutine[Any, Any, None]]) -> list[str]:
    """
    Run *main* and return what the event loop and the interpreter had to log.
    """
    told: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: told.append(str(what)))
        await main()

    before = sys.unraisablehook
    sys.unraisablehook = lambda what: told.append(repr(what))
    try:
        asyncio.run(run())
        gc.collect()
    finally:
        sys.unraisablehook = before
    return told


@EVERY_STREAM
def test_a_consumer_that_breaks_off_keeps_its_ids(stream: Stream) -> None:
    """
    R4: after break the consumer has its own ID and nothing is logged.
    """

    async def main() -> None:
        with session_context("consumer"):
            async for step in stream():
                assert (step, get_session_id()) == ("stream", "consumer")
                break
            gc.collect()
            assert get_session_id() == "consumer"
        assert get_session_id() is None

    assert complaints_of(main) == []


@EVERY_STREAM
def test_another_task_may_close_a_stream(stream: Stream) -> None:
    """
    R4: aclose in another task cleans up bound, and both keep their IDs.
    """

    async def main() -> None:
        steps: Any = stream()

        async def closer() -> None:
            with session_context("closer"):
                await steps.aclose()
                assert get_session_id() == "closer"

        with session_context("consumer"):
            assert await anext(steps) == "stream"
            await asyncio.create_task(closer())
            assert (cleaned, get_session_id()) == (["stream"], "consumer")
            with pytest.raises(StopAsyncIteration):
                await anext(steps)

    assert complaints_of(main) == []


@pytest.mark.parametrize("stream", [decorated, carried])
def test_a_stream_that_is_collected_cleans_up_bound(stream: Stream) -> None:
    """
    R4: collection runs the clean-up bound, once, and logs nothing.
    """

    async def main() -> None:
        with session_context("consumer"):
            steps: Any = stream()
            assert await anext(steps) == "stream"
            # In a cycle, the collector alone decides which part goes first.
            cycle = [steps]
            cycle.append(cycle)
            del steps, cycle
            gc.collect()
            # One round of the loop makes the task that closes the stream.
            await asyncio.sleep(0)
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
            assert (cleaned, get_session_id()) == (["stream"], "consumer")

    assert complaints_of(main) == []
    assert cleaned == ["stream"]


@pytest.mark.parametrize("stream", [decorated, carried])
def test_a_stream_that_outlives_the_loop_is_closed_once(stream: Stream) -> None:
    """
    R4: the loop that ends closes an open stream bound and once, with nothing to log.
    """
    kept: list[Any] = []

    async def main() -> None:
        kept.append(stream())
        assert await anext(kept[0]) == "stream"

    assert (complaints_of(main), cleaned) == ([], ["stream"])


def test_a_decorated_stream_leaves_the_loops_hooks() -> None:
    """
    R4: the hooks by which an event loop hears of async generators stay as they are.
    """

    async def main() -> None:
        before = sys.get_asyncgen_hooks()
        steps = decorated()
        assert await anext(steps) == "stream"
        assert sys.get_asyncgen_hooks() == before
        assert before.finalizer is not None

    assert complaints_of(main) == []


def test_a_plain_block_in_a_generator_that_another_task_closes_is_silent() -> None:
    """
    R3: a plain block in an async generator that another task closes raises nothing.
    """

    async def plain() -> AsyncIterator[int]:
        with session_context("inside"):
            yield 1

    async def main() -> None:
        steps: Any = plain()

        async def first() -> None:
            await anext(steps)

        await asyncio.create_task(first())
        with session_context("consumer"):
            await steps.aclose()
            assert get_session_id() == "consumer"

    assert complaints_of(main) == []


class Doors:
    """
    An async iterable whose steps overlap: none ends before the last has begun.
    """

    def __init__(self, waiting: int) -> None:
        self.missing = waiting
        self.all_here = asyncio.Event()

    def __aiter__(self) -> Doors:
        return self

    async def __anext__(self) -> str | None:
        self.missing -= 1
        if not self.missing:
            self.all_here.set()
        await self.all_here.wait()
        return get_session_id()


def test_tasks_may_share_one_async_iterator() -> None:
    """
    R4: steps that overlap in several tasks leave each task its own ID.
    """

    async def main() -> None:
        with session_context("stream"):
            steps = scoped_iter(Doors(3))

        async def consumer(name: str) -> tuple[str | None, str | None]:
            with session_context(name):
                return await anext(steps), get_session_id()

        seen = await asyncio.gather(*(consumer(name) for name in "abc"))
        assert seen == [("stream", "a"), ("stream", "b"), ("stream", "c")]

    assert complaints_of(main) == []


def test_threads_may_share_one_iterator() -> None:
    """
    R4: steps that overlap in several threads leave each thread its own ID.
    """
    meeting = threading.Barrier(3, timeout=30)

    class Steps:
        def __iter__(self) -> Steps:
            return self

        def __next__(self) -> str | None:
            meeting.wait()
            return get_session_id()

    with session_context("stream"):
        steps = scoped_iter(Steps())

    def consumer(name: str) -> tuple[str | None, str | None]:
        with session_context(name):
            return next(steps), get_session_id()

    with ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(consumer, "abc"))
    assert seen == [("stream", "a"), ("stream", "b"), ("stream", "c")]


def test_a_step_may_take_a_step() -> None:
    """
    R4: an iterable that steps its own scoped iterator puts back what was bound.
    """

    class Twice:
        depth = itertools.count()

        def __iter__(self) -> Twice:
            return self

        def __next__(self) -> str | None:
            return next(steps) if next(self.depth) == 0 else get_session_id()

    with session_context("stream"):
        steps = scoped_iter(Twice())
    with session_context("consumer"):
        assert (next(steps), get_session_id()) == ("stream", "consumer")


def test_what_a_step_of_scoped_iter_identifies_stays() -> None:
    """
    R4: what one step of scoped_iter binds is still bound in the next, and only there.
    """

    def steps() -> Iterator[str | None]:
        yield get_session_id()
        identify(session_id="later")
        yield get_session_id()
        yield get_session_id()

    async def async_steps() -> AsyncIterator[str | None]:
        for step in steps():
            yield step

    async def main() -> None:
        with session_context("stream"):
            stream = scoped_iter(async_steps())
        with session_context("consumer"):
            assert [step async for step in stream] == ["stream", "later", "later"]
            assert get_session_id() == "consumer"

    with session_context("stream"):
        scoped = scoped_iter(steps())
    with session_context("consumer"):
        assert list(scoped) == ["stream", "later", "later"]
        assert get_session_id() == "consumer"
    assert complaints_of(main) == []


def test_errors_of_a_stream_reach_the_consumer_unbound() -> None:
    """
    R4: a step that raises puts back the consumer's ID, and the error is the stream's own.
    """

    @session_context("stream")
    def failing() -> Iterator[None]:
        yield
        raise KeyError("mine")

    with session_context("stream"):
        scoped = scoped_iter(bare_failing())
    with session_context("consumer"):
        for steps in (failing(), scoped):
            next(steps)
            with pytest.raises(KeyError, match="mine"):
                next(steps)
            assert get_session_id() == "consumer"


def bare_failing() -> Iterator[None]:
    """
    Yield once and raise.
    """
    yield
    raise KeyError("mine")


def test_close_is_the_close_of_the_generator_inside() -> None:
    """
    R4: what close returns, a value since Python 3.13, is what an undecorated generator gives.
    """

    def returning() -> Generator[int, None, str]:
        try:
            yield 1
        except GeneratorExit:
            pass
        return "value"

    found: list[object] = []
    for steps in (returning(), session_context("stream")(returning)()):
        next(steps)
        close: Any = steps.close
        found.append(close())
    assert found == ["value" if sys.version_info >= (3, 13) else None] * 2


class Hung:
    """
    An async iterator, and no generator: its first step waits, the others tell what is bound.
    """

    def __init__(self) -> None:
        self.steps = 0

    def __aiter__(self) -> Hung:
        return self

    async def __anext__(self) -> str | None:
        self.steps += 1
        if self.steps == 1:
            await asyncio.get_running_loop().create_future()
        return get_session_id()


def sent(step: Any) -> object:
    """
    Return what a coroutine that waits for nothing returns.
    """
    with pytest.raises(StopIteration) as stop:
        step.send(None)
    return stop.value.value


def test_a_step_closed_in_another_context_takes_nothing_from_there() -> None:
    """
    R4: a step that hangs and is closed in another request leaves the next one its own IDs.
    """

    async def main() -> None:
        with session_context("alice"):
            stream = scoped_iter(Hung())
            held = SteppedBinding(get_binding())
        step: Any = stream.__anext__()
        contextvars.copy_context().run(step.send, None)
        with session_context("bob"):
            step.close()
            assert get_session_id() == "bob"
        assert sent(stream.__anext__()) == "alice"
        contextvars.copy_context().run(held.__enter__)
        with session_context("bob"):
            held.__exit__()
        with held:
            assert get_session_id() == "alice"

    asyncio.run(main())


def test_a_generator_that_ignores_its_end_is_told_so() -> None:
    """
    R4: a decorated generator that yields when closed raises as an undecorated one does.
    """

    @session_context("stream")
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    steps: Any = stubborn()
    next(steps)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        steps.close()
    assert get_session_id() is None


def test_closing_what_has_not_begun_runs_nothing() -> None:
    """
    R4: a decorated stream closed before its first step runs nothing and binds nothing.
    """

    async def main() -> None:
        steps: Any = decorated()
        await steps.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(steps)

    assert (complaints_of(main), cleaned, get_session_id()) == ([], [], None)


@pytest.mark.parametrize("wrong", [None, 5, object()], ids=["none", "number", "object"])
def test_only_iterables_can_be_scoped(wrong: Any) -> None:
    """
    An argument that is no iterable is a TypeError where scoped_iter is called.
    """
    with pytest.raises(TypeError, match="is not iterable"):
        scoped_iter(wrong)

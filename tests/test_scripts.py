"""
IDs in plain code, outside of any request: blocks, threads, tasks and generators.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from idlanyard import (
    SessionContext,
    bind,
    clear_session_context,
    clear_session_id,
    context,
    dump,
    effective_session_id,
    get_session_context,
    get_session_id,
    inject,
    process_session_id,
    restore,
    session_context,
    set_session_context,
    set_session_id,
    without,
)
from idlanyard._binding.inheritance import INHERITS

BLANK = SessionContext()


def isolated(test: Callable[[], None]) -> None:
    """
    Run *test* in a Context of its own, so that what it sets ends with it.
    """
    contextvars.Context().run(test)


def in_thread(read: Callable[[], object]) -> object:
    """
    Return what *read* returns in a new thread.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()


def test_threads_do_not_see_each_other() -> None:
    """
    A value set in one thread is invisible in another, and in a child that inherits nothing.
    """

    def test() -> None:
        set_session_id("mine")
        assert in_thread(get_session_id) == ("mine" if INHERITS else None)

    isolated(test)


def test_a_set_value_stays_until_cleared() -> None:
    """
    A set value stays until it is replaced or cleared.
    """

    def test() -> None:
        set_session_id("one")
        assert (get_session_id(), get_session_id()) == ("one", "one")
        set_session_id("two")
        assert get_session_id() == "two"
        clear_session_id()
        assert get_session_id() is None

    isolated(test)


def test_clearing_twice_is_harmless() -> None:
    """
    Clearing returns to nothing, also twice.
    """

    def test() -> None:
        set_session_id("one")
        clear_session_id()
        clear_session_id()
        assert get_session_id() is None

    isolated(test)


@pytest.mark.parametrize("nothing", [None, ""])
def test_none_and_empty_mean_no_override(nothing: str | None) -> None:
    """
    Setting None or the empty text means that no session is set.
    """

    def test() -> None:
        set_session_id("one")
        set_session_id(nothing)
        assert get_session_id() is None

    isolated(test)


def test_the_main_thread_keeps_its_own() -> None:
    """
    After workers have set and cleared theirs, the main thread sees what it had.
    """

    def work(session: str) -> str:
        set_session_id(session)
        seen = effective_session_id()
        clear_session_id()
        assert effective_session_id() == process_session_id()
        return seen

    before = effective_session_id()
    threads = [threading.Thread(target=work, args=(name,)) for name in ("session-abc", "xyz")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert effective_session_id() == before


def test_a_pool_thread_forgets_the_request_before() -> None:
    """
    A pooled thread does not hand one block's session to the next job.
    """

    def first() -> None:
        with session_context("req1"):
            assert get_session_id() == "req1"

    with ThreadPoolExecutor(1) as pool:
        pool.submit(first).result()
        assert pool.submit(get_session_id).result() is None


def test_two_tasks_on_one_thread_keep_apart() -> None:
    """
    Tasks that interleave on one thread each read their own session.
    """

    async def task(name: str, barrier: asyncio.Barrier) -> str | None:
        set_session_id(name)
        await barrier.wait()
        return get_session_id()

    async def run() -> list[str | None]:
        barrier = asyncio.Barrier(2)
        return list(await asyncio.gather(task("task-1", barrier), task("task-2", barrier)))

    assert asyncio.run(run()) == ["task-1", "task-2"]


def test_an_absent_id_sends_no_header() -> None:
    """
    An absent ID is not sent as the text None.
    """
    headers: dict[str, str] = {}
    with session_context(user_id="u"):
        inject(headers)
    assert headers == {"X-User-ID": "u"}


def test_every_argument_is_optional_and_the_context_is_yielded() -> None:
    """
    A block needs no argument, and yields what is then read.
    """
    with session_context() as nothing:
        assert nothing == BLANK
    with session_context("s", customer_id="c") as bound:
        assert bound == get_session_context() == SessionContext("s", tenant_id="c")


def test_leaving_restores_also_after_an_exception() -> None:
    """
    Leaving a block restores the previous context, also on an exception.
    """
    with session_context("outer"):
        with pytest.raises(KeyError), session_context("inner"):
            raise KeyError
        assert get_session_id() == "outer"


def test_clear_makes_every_field_absent() -> None:
    """
    Clearing makes every ID None.
    """

    def test() -> None:
        set_session_context("s", "u", "t")
        clear_session_context()
        assert get_session_context() == BLANK

    isolated(test)


def test_setting_the_session_keeps_the_user() -> None:
    """
    Setting one ID leaves the others.
    """

    def test() -> None:
        set_session_context("s", "u", "t")
        set_session_context(session_id="other")
        assert get_session_context() == SessionContext("other", "u", "t")

    isolated(test)


def test_an_empty_text_is_empty() -> None:
    """
    A context of empty texts is empty.
    """
    assert SessionContext("", "", "").is_empty()


def test_a_snapshot_cannot_be_changed() -> None:
    """
    The object that get returns is frozen and not shared state.
    """
    with pytest.raises(AttributeError, match="does not change"):
        get_session_context().session_id = "x"  # type: ignore[misc]
    assert get_session_id() is None


def test_gathered_blocks_keep_apart() -> None:
    """
    Two blocks gathered on one loop keep apart.
    """

    async def block(name: str, barrier: asyncio.Barrier) -> str | None:
        with session_context(name):
            await barrier.wait()
            return get_session_id()

    async def run() -> list[str | None]:
        barrier = asyncio.Barrier(2)
        return list(await asyncio.gather(block("a", barrier), block("b", barrier)))

    assert asyncio.run(run()) == ["a", "b"]


def test_absent_ids_have_no_attribute() -> None:
    """
    With nothing set there are no span attributes, rather than empty ones.
    """
    assert get_session_context().as_attributes() == {}
    with session_context("s") as bound:
        assert bound.as_attributes() == {"session.id": "s"}


def test_a_stream_left_early_leaves_nothing() -> None:
    """
    Code that breaks out of a decorated async generator keeps its own session.
    """
    complaints: list[Any] = []

    @session_context("generator")
    async def numbers() -> AsyncIterator[str | None]:
        yield get_session_id()
        yield get_session_id()

    async def run() -> tuple[str | None, str | None]:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        with session_context("consumer"):
            seen = []
            async for inside in numbers():
                seen.append(inside)
                break
            return seen[0], get_session_id()

    assert asyncio.run(run()) == ("generator", "consumer")
    assert complaints == []


def test_a_task_takes_what_is_bound_then() -> None:
    """
    A task does not see what its parent sets later.
    """

    async def run() -> tuple[str, str]:
        context.set("before")
        started = asyncio.Event()

        async def child() -> str:
            await started.wait()
            return context.get()

        task = asyncio.create_task(child())
        context.set("after")
        started.set()
        return await task, context.get()

    assert asyncio.run(run()) == ("before", "after")


@pytest.mark.parametrize("size", [1, 3])
def test_test_a_decorated_generator_yields_what_it_did(size: int) -> None:
    """
    A decorated function keeps its kind, here a generator, and its name.
    """

    @session_context("decorated")
    def parts() -> Iterator[str | None]:
        for _ in range(size):
            yield get_session_id()

    assert list(parts()) == ["decorated"] * size
    assert parts.__name__ == "parts"


def test_a_test_may_set_at_its_start_and_read_at_its_end() -> None:
    """
    An ID that is set at the start of a piece of work is read at its end.
    """

    async def work() -> str:
        context.set("test-session-123")
        await asyncio.sleep(0)
        return context.get()

    assert asyncio.run(work()) == "test-session-123"


def test_each_unit_of_work_starts_empty() -> None:
    """
    In a pooled worker a unit of work has the IDs of its own message or none.
    """

    def work(carrier: dict[str, Any] | None) -> dict[str, str]:
        with without(), restore(carrier):
            return get_session_context().as_dict()

    with session_context("s1"):
        carrier = dump()
    with ThreadPoolExecutor(1) as pool:
        found = [pool.submit(work, one).result() for one in (carrier, None, carrier, {})]
    assert found == [{"session_id": "s1"}, {}, {"session_id": "s1"}, {}]


def test_a_bound_parameter_may_be_given_by_position() -> None:
    """
    Given by position, the caller's value counts.
    """

    @bind
    def call(text: str, session_id: str | None = None) -> tuple[str, str | None]:
        return text, session_id

    with session_context("s1"):
        assert (call("a"), call("a", "mine")) == (("a", "s1"), ("a", "mine"))


def test_keyword_functions_get_nothing() -> None:
    """
    A function that takes any keyword is passed none.
    """

    @bind
    def call(**anything: Any) -> dict[str, Any]:
        return anything

    with session_context("s1"):
        assert call() == {}

"""
Blocks bind and put back, and never hold a binding across a yield.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from idlanyard import (
    SessionContext,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    scoped_iter,
    session_context,
    set_session_id,
    without,
)


def test_a_block_works_async_and_yields_what_is_bound() -> None:
    """
    R3: async with binds as with does.
    """

    async def run() -> tuple[SessionContext, str | None]:
        async with session_context("s") as bound:
            async with without():
                assert get_session_id() is None
            return bound, get_session_id()

    assert asyncio.run(run()) == (SessionContext("s"), "s")


def test_one_instance_is_one_block() -> None:
    """
    R3: an instance entered again while open raises; afterwards it may be used anew.
    """
    block = session_context("s")
    with block, pytest.raises(RuntimeError, match="anew per block"):
        block.__enter__()
    with block:
        assert get_session_id() == "s"
    block.__exit__()
    assert get_session_id() is None


def test_each_call_of_a_decorated_function_binds_anew() -> None:
    """
    R3, PostHog #568: overlapping and nested calls each bind for the whole of their await.
    """

    @session_context(user_id="u")
    async def work(session: str, depth: int) -> list[str | None]:
        set_session_id(session)
        below = await work(session + "x", depth - 1) if depth else []
        await asyncio.sleep(0)
        return [get_session_id(), get_user_id(), *below]

    async def run() -> Any:
        return await asyncio.gather(work("a", 1), work("b", 1)), get_session_id()

    found = [["a", "u", "ax", "u"], ["b", "u", "bx", "u"]]
    assert asyncio.run(run()) == (found, None)


def test_decorated_objects_and_methods_are_bound() -> None:
    """
    R3: methods, partials and objects with a __call__ of any kind are bound when they run.
    """

    class Service:
        @session_context("s")
        def method(self) -> str | None:
            return get_session_id()

        async def __call__(self) -> str | None:
            await asyncio.sleep(0)
            return get_session_id()

    class Stepped:
        def __call__(self) -> Iterator[str | None]:
            yield get_session_id()

    awaited, stepped = session_context("s")(Service()), session_context("s")(Stepped())
    assert inspect.iscoroutinefunction(awaited)
    assert inspect.isgeneratorfunction(stepped)
    partial = session_context("s")(functools.partial(get_session_id, "-"))
    made = Service()
    assert (asyncio.run(awaited()), list(stepped())) == ("s", ["s"])
    assert (made.method(), partial(), get_session_id()) == ("s", "s", None)


@pytest.mark.parametrize("value", ["a b", "a\r\nSet-Cookie: x=1", "x" * 1025, 42], ids=repr)
def test_a_value_that_can_never_be_is_refused_when_built(value: Any) -> None:
    """
    R7, S7: a value that no policy would allow raises at once, and is not repeated.
    """
    with pytest.raises((TypeError, ValueError)) as caught:
        session_context(session_id=value)
    assert str(value) not in str(caught.value)


def test_two_names_for_one_id_may_not_differ() -> None:
    """
    Design, section 1: customer_id is tenant_id; both given and different is a TypeError.
    """
    with session_context(tenant_id="t", customer_id="t") as bound:
        assert (bound.tenant_id, bound.customer_id) == ("t", "t")
    with pytest.raises(TypeError, match="name one ID"):
        session_context(tenant_id="t", customer_id="c")


def test_leaving_in_another_context_is_silent() -> None:
    """
    R3: a block left in another Context restores nothing there, and raises nothing.
    """
    block = session_context("s")
    contextvars.Context().run(block.__enter__)
    with session_context("here"):
        block.__exit__()
        assert get_session_id() == "here"


def test_decorated_functions_keep_their_kind() -> None:
    """
    R3: a decorated function stays what inspect says it is, with its name and docstring.
    """

    @session_context("s")
    def function() -> str | None:
        """Say."""
        return get_session_id()

    @session_context("s")
    async def coroutine() -> str | None:
        return get_session_id()

    @session_context("s")
    def generator() -> Iterator[str | None]:
        yield get_session_id()

    @session_context("s")
    async def async_generator() -> AsyncIterator[str | None]:
        yield get_session_id()

    async def run() -> list[str | None]:
        return [await coroutine()] + [item async for item in async_generator()]

    assert (function(), list(generator()), asyncio.run(run())) == ("s", ["s"], ["s", "s"])
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert not inspect.iscoroutinefunction(function)
    assert (function.__name__, function.__doc__) == ("function", "Say.")
    assert get_session_id() is None


def test_a_decorated_generator_is_driven_like_its_own() -> None:
    """
    R4: send, throw, close and the return value reach the generator inside, each step bound.
    """
    seen: list[object] = []

    @session_context("g")
    def echo() -> Generator[Any, Any, str]:
        got: Any = None
        while got != "end":
            try:
                got = yield got, get_session_id()
            except KeyError as error:
                got = type(error).__name__
        return "done"

    @session_context("g")
    def cleaning() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(get_session_id())

    with session_context("consumer"):
        driven = echo()
        assert next(driven) == (None, "g")
        assert get_session_id() == "consumer"
        assert driven.send("a") == ("a", "g")
        assert driven.throw(KeyError) == ("KeyError", "g")
        with pytest.raises(StopIteration) as stopped:
            driven.send("end")
        assert stopped.value.value == "done"
        left = cleaning()
        next(left)
        left.close()  # type: ignore[attr-defined]
        assert (seen, get_session_id()) == (["g"], "consumer")


def test_a_decorated_async_generator_is_driven_like_its_own() -> None:
    """
    R4: asend, athrow and aclose reach the async generator inside, each step bound.
    """
    seen: list[object] = []

    @session_context("g")
    async def echo() -> AsyncGenerator[Any, Any]:
        got: Any = None
        try:
            while got != "end":
                try:
                    got = yield got, get_session_id()
                except KeyError as error:
                    got = type(error).__name__
        finally:
            seen.append(get_session_id())

    async def run() -> None:
        with session_context("consumer"):
            driven = echo()
            assert await anext(driven) == (None, "g")
            assert get_session_id() == "consumer"
            assert await driven.asend("a") == ("a", "g")
            assert await driven.athrow(KeyError) == ("KeyError", "g")
            with pytest.raises(StopAsyncIteration):
                await driven.asend("end")
            left = echo()
            await anext(left)
            # Another task closes it: its Context is not the one of the steps.
            await asyncio.create_task(left.aclose())
            assert (seen, get_session_id()) == (["g", "g"], "consumer")

    asyncio.run(run())


def test_what_a_step_binds_is_bound_in_the_next() -> None:
    """
    R4: a generator keeps a binding of its own between its steps.
    """

    @session_context("g")
    def steps() -> Iterator[str | None]:
        yield get_session_id()
        set_session_id("later")
        yield get_session_id()
        identify(session_id="identified")
        yield get_session_id()

    driven = steps()
    found = []
    for step in driven:
        found.append(step)
        assert get_session_id() is None
    assert found == ["g", "later", "identified"]


def test_streams_left_to_collection_leave_nothing() -> None:
    """
    R4: a stream that nobody finishes changes nothing and logs nothing.
    """
    complaints: list[Any] = []

    @session_context("g")
    async def numbers() -> AsyncIterator[str | None]:
        try:
            yield get_session_id()
        finally:
            assert get_session_id() == "g"

    async def run() -> str | None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        with session_context("consumer"):
            stream = numbers()
            assert await anext(stream) == "g"
            del stream
            gc.collect()
            await asyncio.sleep(0)
            return get_session_id()

    assert asyncio.run(run()) == "consumer"
    assert complaints == []


class Closable:
    """
    An iterable that says with what it was stepped and closed.
    """

    def __init__(self) -> None:
        self.closed_in: list[str | None] = []

    def __iter__(self) -> Iterator[str | None]:
        return self

    def __next__(self) -> str | None:
        return get_session_id()

    def close(self) -> None:
        self.closed_in.append(get_session_id())

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> str | None:
        return get_session_id()

    async def aclose(self) -> None:
        self.close()


class Plain(Closable):
    """
    The same without a way to close.
    """

    close = None  # type: ignore[assignment]
    aclose = None  # type: ignore[assignment]


class OnlySync:
    """
    An iterable that is not async.
    """

    def __init__(self, inner: Closable) -> None:
        self.inner = inner

    def __iter__(self) -> Any:
        return self.inner


def test_any_iterable_can_keep_the_binding_of_here() -> None:
    """
    R4: scoped_iter steps and closes an iterable with what was bound where it was made.
    """
    inner = Closable()
    with session_context("made"):
        steps = scoped_iter(OnlySync(inner))
        plain = scoped_iter(iter([1]))
    with session_context("consumer"):
        assert iter(steps) is steps
        assert (next(steps), get_session_id()) == ("made", "consumer")
        steps.close()
        assert inner.closed_in == ["made"]
        assert list(plain) == [1]
        plain.close()


def test_any_async_iterable_can_keep_the_binding_of_here() -> None:
    """
    R4: scoped_iter does the same to an async iterable.
    """

    async def run() -> None:
        inner = Closable()
        with session_context("made"):
            steps, plain = scoped_iter(inner), scoped_iter(Plain())
        with session_context("consumer"):
            assert aiter(steps) is steps
            assert (await anext(steps), get_session_id()) == ("made", "consumer")
            await steps.aclose()
            await plain.aclose()
            assert inner.closed_in == ["made"]

    asyncio.run(run())


def test_without_has_nothing_bound_and_puts_back() -> None:
    """
    In the block nothing is bound, so that a task started there shares nothing.
    """

    async def run() -> tuple[SessionContext, str | None]:
        with session_context("s"):
            with without():
                task = asyncio.create_task(_read())
            return await task, get_session_id()

    async def _read() -> SessionContext:
        return get_session_context()

    assert asyncio.run(run()) == (SessionContext(), "s")


def test_one_instance_of_without_is_one_block() -> None:
    """
    R3: a without() entered again while open raises; left once more it does nothing.
    """
    block = without()
    with session_context("s"):
        with block, pytest.raises(RuntimeError, match="anew per block"):
            block.__enter__()
        block.__exit__()
        assert get_session_id() == "s"

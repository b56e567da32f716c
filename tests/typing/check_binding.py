"""
Changing and carrying the bound IDs. Never run: mypy and pyright read it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import assert_type

from idlanyard import (
    UNSET,
    ContextThreadPoolExecutor,
    SessionContext,
    bind,
    carry,
    clear_session_context,
    clear_session_id,
    effective_session_id,
    identify,
    new_session_id,
    process_session_id,
    rotate_session_id,
    scoped_iter,
    session_context,
    set_session_context,
    set_session_id,
    subscribe,
    without,
)

identify(user_id="u1")
identify(user_id=None, session_id="", tenant_id=UNSET, request_id="r1")
identify(user_id=lambda: "u1", session_id=new_session_id, tenant_id=lambda: UNSET)
identify(user_id=lambda: 1)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
identify(user_id=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
identify("u1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

set_session_context("s1", "u1", "t1")
set_session_context(user_id=UNSET, customer_id="t1", request_id="r1")
set_session_context(user_id=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
set_session_id("s1")
set_session_id(None)
set_session_id(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
clear_session_id()
clear_session_context()

assert_type(rotate_session_id(), str)
assert_type(new_session_id(), str)
assert_type(process_session_id(), str)
assert_type(effective_session_id(), str)

with session_context("s1", user_id="u1", customer_id=None, request_id="r1") as here:
    assert_type(here, SessionContext)

with without() as nothing:
    assert_type(nothing, None)


async def blocks() -> None:
    """
    The same blocks, entered asynchronously.
    """
    async with session_context(user_id="u1") as there:
        assert_type(there, SessionContext)
    async with without():
        pass


@session_context(user_id="u1")
def function(number: int, *, text: str = "") -> list[str]:
    """
    A function keeps its signature.
    """
    return [text] * number


@session_context(user_id="u1")
async def coroutine(number: int) -> str:
    """
    So does a coroutine function.
    """
    return str(number)


@session_context(user_id="u1")
def generator(number: int) -> Iterator[int]:
    """
    And a generator.
    """
    yield number


@session_context(user_id="u1")
async def async_generator(number: int) -> AsyncIterator[int]:
    """
    And an asynchronous generator.
    """
    yield number


assert_type(function(1, text="a"), list[str])
assert_type(generator(1), Iterator[int])
assert_type(async_generator(1), AsyncIterator[int])
function("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(carry(function)(1, text="a"), list[str])
carry(function)("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@bind
def bound(number: int, user_id: str) -> int:
    """
    A function that gets its *user_id* from what is bound.
    """
    return number + len(user_id)


assert_type(bound(1), int)

with ContextThreadPoolExecutor(max_workers=2) as executor:
    assert_type(executor.submit(function, 1, text="a"), Future[list[str]])
    executor.submit(function, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def steps(numbers: AsyncIterator[int]) -> None:
    """
    An iterable keeps its kind and its items.
    """
    assert_type(await coroutine(1), str)
    assert_type(await carry(coroutine)(1), str)
    for one in scoped_iter([1, 2]):
        assert_type(one, int)
    async for each in scoped_iter(numbers):
        assert_type(each, int)


undo: Callable[[], None] = subscribe("mint", print)
subscribe("minted", print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

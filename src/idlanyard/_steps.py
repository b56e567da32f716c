"""
Run a function of any kind inside a binding, and never hold that binding
across somebody else's ``yield`` (R3, R4).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import AbstractContextManager
from contextvars import Token
from types import SimpleNamespace
from typing import Any, TypeAlias, TypeVar, overload

from idlanyard._binding import Node, bound, current, put_back

T = TypeVar("T")


def mark_before_3_12(fn: Any) -> None:
    """
    Mark a coroutine function where ``inspect`` cannot yet; its mark has no public name.
    """
    from asyncio import coroutines

    fn._is_coroutine = getattr(coroutines, "_is_coroutine", None)


@functools.cache
def coroutine_mark() -> dict[str, Any]:
    """
    Return the attribute by which this Python knows a marked coroutine function.
    """
    marked = SimpleNamespace()
    getattr(inspect, "markcoroutinefunction", mark_before_3_12)(marked)
    return vars(marked)


def mark_coroutine_function(fn: object) -> None:
    """
    Mark a plain callable whose calls return an awaitable, for who asks before calling.
    """
    vars(fn).update(coroutine_mark())


Enter: TypeAlias = Callable[[], AbstractContextManager[Any]]


class Held:
    """
    A binding that is in force during steps and nowhere between.

    What a step binds is still bound in the next one.
    """

    __slots__ = ("_node", "_token")

    _token: Token[Node]

    def __init__(self, node: Node) -> None:
        self._node = node

    def __enter__(self) -> None:
        self._token = bound.set(self._node)

    def __exit__(self, *_: object) -> None:
        self._node = current()
        put_back(self._token)


def around(
    fn: Callable[..., Any], *, enter: Enter, hold: Enter, call: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """
    Return *fn* run inside a binding that is made anew per call.

    A function stays a function, a coroutine function, a generator function
    or an async generator function, as ``inspect`` tells them apart.

    Args:
        fn: says what kind it is, and lends its name and docstring.
        enter: makes the block around a call that is one step.
        hold: makes the block around each step of a generator, once per call.
        call: what is called; left out, *fn*.
    """
    call = call or fn
    if inspect.isasyncgenfunction(fn):
        wrapper = _async_generator(call, hold)
    elif inspect.isgeneratorfunction(fn):
        wrapper = _generator(call, hold)
    elif inspect.iscoroutinefunction(fn):
        wrapper = _coroutine(call, enter)
    else:
        wrapper = _function(call, enter)
    return functools.update_wrapper(wrapper, fn)


def _function(call: Callable[..., Any], enter: Enter) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with enter():
            return call(*args, **kwargs)

    return called


def _coroutine(call: Callable[..., Any], enter: Enter) -> Callable[..., Any]:
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with enter():
            return await call(*args, **kwargs)

    return awaited


def _generator(call: Callable[..., Any], hold: Enter) -> Callable[..., Any]:
    def stepped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        held = hold()
        inner = call(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                with held:
                    item = step()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield item
            except GeneratorExit:
                with held:
                    inner.close()
                raise
            except BaseException as error:
                step = functools.partial(inner.throw, error)
            else:
                step = functools.partial(inner.send, sent)

    return stepped


def _async_generator(call: Callable[..., Any], hold: Enter) -> Callable[..., Any]:
    async def stepped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        held = hold()
        inner = call(*args, **kwargs)
        step: Callable[[], Any] = inner.__anext__
        while True:
            try:
                with held:
                    item = await step()
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                with held:
                    await inner.aclose()
                raise
            except BaseException as error:
                step = functools.partial(inner.athrow, error)
            else:
                step = functools.partial(inner.asend, sent)

    return stepped


class ScopedIterator(Iterator[T]):
    """
    An iterator whose every step has the binding of where it was made.
    """

    __slots__ = ("_held", "_inner")

    def __init__(self, iterable: Iterable[T]) -> None:
        self._held = Held(current())
        self._inner = iter(iterable)

    def __next__(self) -> T:
        with self._held:
            return next(self._inner)

    def close(self) -> None:
        """
        Close the iterable, if it can be closed.
        """
        close = getattr(self._inner, "close", None)
        if close is not None:
            with self._held:
                close()


class AsyncScopedIterator(AsyncIterator[T]):
    """
    An async iterator whose every step has the binding of where it was made.
    """

    __slots__ = ("_held", "_inner")

    def __init__(self, iterable: AsyncIterable[T]) -> None:
        self._held = Held(current())
        self._inner = aiter(iterable)

    async def __anext__(self) -> T:
        with self._held:
            return await anext(self._inner)

    async def aclose(self) -> None:
        """
        Close the iterable, if it can be closed.
        """
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            with self._held:
                await close()


@overload
def scoped_iter(iterable: AsyncIterable[T]) -> AsyncScopedIterator[T]: ...
@overload
def scoped_iter(iterable: Iterable[T]) -> ScopedIterator[T]: ...
def scoped_iter(
    iterable: Iterable[T] | AsyncIterable[T],
) -> ScopedIterator[T] | AsyncScopedIterator[T]:
    """
    Return an iterator that keeps the binding of here during its steps (R4).

    Between the steps the consumer has its own IDs, also when it breaks off
    early, closes the iterator from another task or leaves it to collection.

    Args:
        iterable: any iterable or async iterable.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(iterable, AsyncIterable):
        return AsyncScopedIterator(iterable)
    return ScopedIterator(iterable)

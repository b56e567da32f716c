"""
Run a function of any kind inside a binding, and never hold that binding
across somebody else's ``yield``.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from contextvars import Token
from types import SimpleNamespace
from typing import Any, TypeAlias

from idlanyard._binding import Node, bound, current, put_back


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


def is_coroutine_function(fn: Any) -> bool:
    """
    Return whether calls of *fn* return an awaitable: by ``inspect``, or by a mark.
    """
    return inspect.iscoroutinefunction(fn) or (
        coroutine_mark().items() <= getattr(fn, "__dict__", {}).items()
    )


def _is(kind: Callable[[Any], bool], fn: Any) -> bool:
    """
    Return whether *fn* is of this kind, or is an object whose ``__call__`` is.
    """
    return kind(fn) or (not isinstance(fn, type) and kind(fn.__call__))


def is_awaited(fn: Any) -> bool:
    """
    Return whether calls of *fn* are awaited, as far as that can be told without calling it.

    So they are of a coroutine function, of an object whose ``__call__`` is
    one, and of a ``functools.partial`` of either.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    return _is(is_coroutine_function, fn)


Enter: TypeAlias = Callable[[], AbstractContextManager[Any]]


class Held:
    """
    A binding that is in force during steps and nowhere between.

    What a step binds is still bound in the next one. A step that is closed
    in another Context has bound nothing of ours there.

    Attributes:
        node: what the next step has.
    """

    __slots__ = ("_token", "node")

    _token: Token[Node]

    def __init__(self, node: Node) -> None:
        self.node = node

    def __enter__(self) -> None:
        self._token = bound.set(self.node)

    def __exit__(self, *_: object) -> None:
        left = current()
        if put_back(self._token):
            self.node = left


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
    if _is(inspect.isasyncgenfunction, fn):
        wrapper = _async_generator(call, hold)
    elif _is(inspect.isgeneratorfunction, fn):
        wrapper = _generator(call, hold)
    elif _is(is_coroutine_function, fn):
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
            except BaseException as error:
                step = functools.partial(inner.throw, error)
            else:
                step = functools.partial(inner.send, sent)

    return stepped


def _begun(inner: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """
    Return the first step of the generator inside, which its event loop never hears of.

    The loop knows the generator around it, which closes this one, bound.
    Closed by the loop as well it would be closed twice, and unbound.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_left_to_the_outer)
    try:
        return anext(inner)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _left_to_the_outer(inner: AsyncGenerator[Any, Any]) -> None:
    pass


def _async_generator(call: Callable[..., Any], hold: Enter) -> Callable[..., Any]:
    async def stepped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        held = hold()
        inner = call(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(_begun, inner)
        while True:
            try:
                with held:
                    item = await step()
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except BaseException as error:
                step = functools.partial(inner.athrow, error)
            else:
                step = functools.partial(inner.asend, sent)

    return stepped

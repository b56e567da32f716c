"""
Carry the current IDs to a thread, a pool or another process.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar

from idlanyard._binding.functions import SteppedBinding, mark_coroutine_function, wrap_function
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.snapshot import SessionContext
from idlanyard._binding.state import (
    Binding,
    Overlay,
    find_request_ids,
    get_binding,
    make_request_ids,
)

P = ParamSpec("P")
R = TypeVar("R")


class _Carried(Generic[P, R]):
    """
    A function that runs with a binding, and with no other context variable of its maker.
    """

    __slots__ = ("__dict__", "__weakref__", "_binding", "_fn", "_run")

    def __init__(self, fn: Callable[P, R], binding: Binding) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._binding = binding
        self._run = wrap_function(fn, enter=self._make_stepped, make_stepped=self._make_stepped)
        if inspect.iscoroutinefunction(self._run):
            mark_coroutine_function(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self._run(*args, **kwargs)
        return result

    def _make_stepped(self) -> SteppedBinding:
        return SteppedBinding(self._binding)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        binding = self._binding
        with SteppedBinding(binding):
            in_request = find_request_ids() is not None
            return _rebuild_carried, (self._fn, get_session_context(), in_request)


def _rebuild_carried(fn: Callable[..., Any], context: SessionContext, in_request: bool) -> Any:
    policy = get_binding().policy
    delta = {
        name: (value, context.provenance(name))
        for name, value in context.as_dict().items()
        if name in policy.index
    }
    binding = make_request_ids(policy, delta) if in_request else Overlay(None, delta)
    return _Carried(fn, binding)


def carry(fn: Callable[P, R]) -> Callable[P, R]:
    """
    Return a function that calls *fn* with the current IDs, in any thread or task.

    The binding is shared, so that ``identify`` in a thread reaches the
    request. No other context variable is carried. Pickled, for a process
    pool, the function takes copies of the IDs.

    Args:
        fn: a function of any kind; async functions stay async.

    Raises:
        TypeError: *fn* cannot be called.
    """
    _check_function("carry", fn)
    return _Carried(fn, get_binding())


def _check_function(verb: str, fn: object) -> None:
    if callable(fn):
        return
    kind = type(fn).__name__
    if inspect.iscoroutine(fn):
        # It can be awaited no more, and Python would warn of that beside our error.
        fn.close()
    if isinstance(fn, property | classmethod):
        raise TypeError(f"{verb} takes a function, not {kind}: write @{verb} below @{kind}")
    raise TypeError(
        f"{verb} takes a function, not {kind}: write {verb}(work), and not {verb}(work())"
    )


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """
    A ``ThreadPoolExecutor`` whose jobs run with the IDs that were current at ``submit``.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """
        Schedule ``fn(*args, **kwargs)`` with the current IDs.

        Raises:
            TypeError: *fn* cannot be called.
        """
        _check_function("submit", fn)
        return super().submit(carry(fn), *args, **kwargs)

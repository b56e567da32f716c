"""
Functions that are handed in: plain ones, which take what they are called with.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any


def find_fault(fn: object, *arguments: str) -> str | None:
    """
    Return what is wrong with a function that is called with *arguments*; ``None`` for nothing.

    Called is nothing. Callables that do not show what they take are let
    through, as are those that take anything.

    Args:
        fn: what was handed in.
        arguments: what it is called with, by position, in words.
    """
    listed = " and ".join(arguments)
    if not callable(fn):
        return f"takes a function of {listed}" if listed else "takes a function"
    if _is_async(fn):
        return "takes a plain function, and not an async one, for which nobody waits"
    if _takes(fn, arguments):
        return None
    return f"is called with {listed}" if listed else "is called without arguments"


def _is_async(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    called = () if isinstance(fn, type) else (fn, getattr(fn, "__call__", None))  # noqa: B004
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called
    )


def _takes(fn: Any, arguments: tuple[str, ...]) -> bool:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True

"""
Functions that a user passes: their check, and the call of one that reads an ID.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def find_call_fault(fn: object, *arguments: str, awaited: bool = False) -> str | None:
    """
    Return the fault of a function that will be called with *arguments*, or ``None``.

    The function is not called. A callable without a readable signature passes.

    Args:
        fn: the object that was given as a function.
        arguments: a word for each positional argument.
        awaited: whether a coroutine function is none, since its calls are awaited.
    """
    listed = " and ".join(arguments)
    if not callable(fn):
        return f"takes a function of {listed}" if listed else "takes a function"
    is_generator = _is_kind(fn, inspect.isasyncgenfunction)
    if awaited and is_generator:
        return "takes a function that returns one value, and not an async generator"
    if is_generator or (not awaited and _is_kind(fn, inspect.iscoroutinefunction)):
        return "takes a plain function, and not an async one, for which nobody waits"
    if _takes_arguments(fn, arguments):
        return None
    return f"is called with {listed}" if listed else "is called without arguments"


def describe_finding(reader: object) -> str | None:
    """
    Return the words for what a function of ``idlanyard.certificates`` finds, ``None`` for another.
    """
    finds = getattr(_unwrap(reader), "finds", None)
    return finds if isinstance(finds, str) else None


class ReaderError(RuntimeError):
    """
    A failure to read an ID, in words that quote nothing a client wrote.
    """


def hide_text(error: BaseException) -> ReaderError:
    """
    Return an error as one that may be logged: its text may quote a token.
    """
    if isinstance(error, ReaderError):
        return error
    silent = ReaderError(f"{type(error).__name__}, whose text is not logged")
    return silent.with_traceback(error.__traceback__)


def call_reader(reader: Callable[[str], object], text: str) -> str | None:
    """
    Return the ID that a user's function finds in a text, or ``None``.

    Raises:
        ReaderError: the function returned something else than text.
        Exception: the function failed.
    """
    found = reader(text)
    if inspect.iscoroutine(found):
        # A plain function may return one as well, and nobody would await it.
        found.close()
        raise ReaderError(
            "it returned a coroutine, for which nobody waits: return a str, or None; only a "
            "function that is written as 'async def verify(line):' is awaited, and only on ASGI"
        )
    if not found:
        return None
    if not isinstance(found, str):
        raise ReaderError(f"it returned {type(found).__name__}: return a str, or None")
    return found


def _unwrap(fn: Any) -> Any:
    """
    Return the function in a partial function, or *fn* itself.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _is_kind(fn: Any, kind: Callable[[Any], bool]) -> bool:
    """
    Return whether *fn*, or the ``__call__`` of an object, is of this kind.
    """
    fn = _unwrap(fn)
    called = () if isinstance(fn, type) else (fn, getattr(fn, "__call__", None))  # noqa: B004
    return any(map(kind, called))


def _takes_arguments(fn: Any, arguments: tuple[str, ...]) -> bool:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True

"""
Functions that a policy is given, and the parameters of any function.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final


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


# From Python 3.14 on annotations are evaluated when they are asked for; what
# cannot be, as a name under TYPE_CHECKING, is left as a reference, or as text.
_FORMATS: Final = tuple(getattr(sys.modules.get("annotationlib"), "Format", ()))
_WAYS: Final[tuple[dict[str, Any], ...]] = (
    {"eval_str": True},
    *({"annotation_format": form} for form in _FORMATS),
    {},
)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """
    Return the signature of *fn*, its annotations resolved where they can be.

    A framework would look for the names of an unresolved one in our module.

    Raises:
        ValueError: a built-in function tells no signature.
        Exception: whatever else keeps it from being read.
    """
    for way in _WAYS[:-1]:
        try:
            return inspect.signature(fn, **way)
        except Exception:  # noqa: S112 - resolving runs annotations, which may raise anything
            continue
    return inspect.signature(fn, **_WAYS[-1])

"""
Checks of the functions that users pass, and the signature of any function.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final


def find_call_fault(fn: object, *arguments: str) -> str | None:
    """
    Return the fault of a function that will be called with *arguments*, or ``None``.

    The function is not called. A callable without a readable signature passes.

    Args:
        fn: the object that was given as a function.
        arguments: a word for each positional argument.
    """
    listed = " and ".join(arguments)
    if not callable(fn):
        return f"takes a function of {listed}" if listed else "takes a function"
    if _is_async(fn):
        return "takes a plain function, and not an async one, for which nobody waits"
    if _takes_arguments(fn, arguments):
        return None
    return f"is called with {listed}" if listed else "is called without arguments"


def _is_async(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    called = () if isinstance(fn, type) else (fn, getattr(fn, "__call__", None))  # noqa: B004
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called
    )


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


# Python 3.14 evaluates annotations when they are read; one that cannot be evaluated, such as a
# name under TYPE_CHECKING, is then read as a forward reference or as text.
_FORMATS: Final = tuple(getattr(sys.modules.get("annotationlib"), "Format", ()))
_WAYS: Final[tuple[dict[str, Any], ...]] = (
    {"eval_str": True},
    *({"annotation_format": form} for form in _FORMATS),
    {},
)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """
    Return the signature of *fn*, with its annotations resolved if possible.

    A framework would look up the names of unresolved annotations in our module.

    Raises:
        ValueError: a built-in function has no signature.
        Exception: the signature cannot be read for another reason.
    """
    for way in _WAYS[:-1]:
        try:
            return inspect.signature(fn, **way)
        except Exception:  # noqa: S112 - resolving runs annotations, which may raise anything
            continue
    return inspect.signature(fn, **_WAYS[-1])

"""
``bind``: IDs as arguments of functions that have parameters of their names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ParamSpec, TypeVar

from idlanyard import _events
from idlanyard._access import get_id
from idlanyard._binding import current
from idlanyard._inspection import signature_of
from idlanyard._steps import around

P = ParamSpec("P")
R = TypeVar("R")


def bind(fn: Callable[..., R]) -> Callable[..., R]:
    """
    Pass the IDs in force to parameters of their names that the caller leaves out.

    A function stays what it is (sync, async, generator); methods, classes
    and ``functools.partial`` work too. An argument that the caller gives,
    even ``None``, wins. An absent ID leaves the parameter's default, or
    passes ``None`` where it has none. The visible signature loses these
    parameters, so that a framework that builds its inputs from it can never
    let a client supply them.

    Args:
        fn: has parameters such as ``session_id``, ``user_id``,
            ``tenant_id``, ``customer_id`` or a further ID of the policy in
            force when ``bind`` is called.

    Raises:
        TypeError: *fn* cannot be called, or its parameters cannot be read.
    """
    kind = type(fn).__name__
    if not callable(fn) or isinstance(fn, staticmethod):
        where = (
            "below @classmethod and @staticmethod"
            if isinstance(fn, classmethod | staticmethod)
            else "above a function whose parameters are called as the IDs are"
        )
        raise TypeError(f"bind takes a function, not {kind}: write @bind {where}")
    signature = _signature(fn)
    if signature is None:
        return fn
    known = {*current().policy.names, "customer_id"}
    filled = [
        p
        for p in signature.parameters.values()
        if p.name in known and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    _warn_of_misspelt(fn, signature, known)
    if not filled:
        return fn

    wrapper = around(fn, enter=nullcontext, hold=nullcontext, call=_filling(fn, signature, filled))
    rest = [p for p in signature.parameters.values() if p not in filled]
    wrapper.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return wrapper


def _warn_of_misspelt(
    fn: Callable[..., Any], signature: inspect.Signature, known: set[str]
) -> None:
    """
    Warn of a parameter that is nearly called as an ID is: the caller supplies it.
    """
    for name in signature.parameters.keys() - known:
        meant = "" if name.endswith("s") else _nearest(name, known)
        if meant:
            place = f"{fn.__module__}.{getattr(fn, '__qualname__', type(fn).__name__)}"
            _events.warn_once(
                f"parameter {name} of {place}",
                "idlanyard: bind leaves the parameter %s of %s to the caller: call it %s if it is "
                "to be that ID",
                name,
                place,
                meant,
            )


def _nearest(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    plain = {each.replace("_", ""): each for each in known}
    close = get_close_matches(name.lower().replace("_", ""), plain, n=1, cutoff=0.88)
    return plain[close[0]] if close else ""


def _filling(
    fn: Callable[..., Any], signature: inspect.Signature, filled: list[inspect.Parameter]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs)
        for parameter in filled:
            if parameter.name not in given.arguments:
                value = _in_force(parameter.name)
                if value is not None or parameter.default is parameter.empty:
                    given.arguments[parameter.name] = value
        for parameter in signature.parameters.values():
            # What stands before a filled one can be left out only by its default.
            if (
                parameter.kind is parameter.POSITIONAL_ONLY
                and parameter.default is not parameter.empty
            ):
                given.arguments.setdefault(parameter.name, parameter.default)
        # BoundArguments reads positional arguments in the signature's order.
        given.arguments = {
            name: given.arguments[name] for name in signature.parameters if name in given.arguments
        }
        return fn(*given.args, **given.kwargs)

    return call


def _in_force(name: str) -> str | None:
    """
    Return the ID, or ``None`` also where the policy of this request declares no such ID.
    """
    declared = name == "customer_id" or name in current().policy.index
    return get_id(name) if declared else None


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """
    Return the signature of *fn*, or ``None`` for a built-in of Python, which has no ID of ours.

    Raises:
        TypeError: the parameters cannot be read, so none could be protected.
    """
    try:
        return signature_of(fn)
    except Exception as error:
        if isinstance(error, ValueError) and _is_pythons_own(fn):
            return None
        name = getattr(fn, "__qualname__", type(fn).__name__)
        raise TypeError(
            f"bind cannot read the parameters of {name}: write a function that calls it, and "
            f"@bind above that"
        ) from error


def _is_pythons_own(fn: Callable[..., Any]) -> bool:
    """
    Return whether what is called is a built-in function, or a class made as a built-in one is.
    """
    if not isinstance(fn, type):
        return getattr(fn, "__module__", None) == "builtins"
    makers = ("__new__", "__init__")
    owners = [next(c for c in fn.__mro__ if name in vars(c)) for name in makers]
    return type(fn) is type and all(owner.__module__ == "builtins" for owner in owners)

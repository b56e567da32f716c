"""
Options of a ``Policy`` that were given to what takes the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import signature
from typing import Any, Final, ParamSpec, TypeVar, cast

from idlanyard._peers import EVERYONE
from idlanyard._policy import Policy
from idlanyard._rules import explain_unknown

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: Final = tuple(field.name for field in fields(Policy) if field.init)
_SECRET: Final = ("shared_secret", "hash_keys")


def refusing_options(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Let what takes a policy refuse the policy's own options, saying what to write.

    The signature stays, so that a type checker refuses them as well.

    Args:
        call: how it is called, ``{}`` for the policy, as in
            ``"install(app, {})"``.
    """

    def around(fn: Callable[P, R]) -> Callable[P, R]:
        taken = frozenset(signature(fn).parameters)

        @wraps(fn)
        def refusing(*args: P.args, **options: P.kwargs) -> R:
            if not taken.issuperset(options):
                raise TypeError(_said(call, {n: v for n, v in options.items() if n not in taken}))
            return fn(*args, **options)

        return refusing

    return around


def _said(call: str, options: Mapping[str, object]) -> str:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        return _unknown(call, unknown[0], options[unknown[0]])
    names = ", ".join(options)
    written = ", ".join(f"{name}={_shown(name, value)}" for name, value in options.items())
    verb = "is an option" if len(options) == 1 else "are options"
    return f"{names} {verb} of Policy: write {call.format(f'Policy({written})')}"


def _unknown(call: str, name: str, value: object) -> str:
    # Imported here, since it is needed where something is wrong only.
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), _OPTIONS, n=1)
    if close:
        written = f"Policy({close[0]}={_shown(close[0], value)})"
        return f"{name} is no option: write {call.format(written)}"
    of_one_id = explain_unknown(name, value, [*_OPTIONS]).partition(": write ")[2]
    if of_one_id:
        return f"{name} is no option: write {call.format(f'Policy({of_one_id})')}"
    return (
        f"{name} is no option: write {call.format('Policy(...)')}, which takes "
        f"{', '.join(_OPTIONS)}"
    )


def _shown(name: str, value: object) -> str:
    """
    Return a value as it is written, dots where it is long to write or secret.
    """
    if name in _SECRET:
        return "..."
    return repr(value) if _is_plain(value) else "..."


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(one) for one in cast("list[Any]", value))
    return value is None or value is EVERYONE or isinstance(value, str | bool)

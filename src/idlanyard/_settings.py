"""
A policy out of a framework's settings: the fields of ``Policy`` and ``IDSpec``
in capitals, as Django and Flask spell what is configured.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, cast

from idlanyard._defaults import session_spec, tenant_spec, user_spec
from idlanyard._peers import EVERYONE
from idlanyard._policy import Policy
from idlanyard._spec import IDSpec
from idlanyard.exceptions import PolicyError

_SPECS: Final[dict[str, Callable[..., IDSpec]]] = {
    "SESSION": session_spec,
    "USER": user_spec,
    "TENANT": tenant_spec,
}
_OPTIONS: Final = tuple(field.name.upper() for field in fields(Policy) if field.init)
_RULES: Final = tuple(field.name.upper() for field in fields(IDSpec) if field.init)


def policy_from_settings(settings: Mapping[str, Any], *, written: str) -> Policy:
    """
    Return the policy that *settings* describe.

    Args:
        settings: ``TRUSTED_PEERS``, ``SESSION`` and so on; the value of
            ``SESSION``, ``USER`` and ``TENANT`` is a mapping of the same
            kind, an ``IDSpec`` or ``None``, that of ``EXTRA`` a list of them.
        written: how one option is written there, ``{}`` for its name, for
            the messages.

    Raises:
        PolicyError: an option is not known or cannot be followed.
    """
    options: dict[str, Any] = {}
    for name, value in settings.items():
        _known(name, _OPTIONS, written)
        options[name.lower()] = _option(name, value, written)
    try:
        return Policy(**options)
    except PolicyError as error:
        raise _where(error, written) from error


def _option(name: str, value: Any, written: str) -> Any:
    if name in _SPECS:
        return _spec(_SPECS[name], value, f"{written.format(name)}['{{}}']")
    if name == "EXTRA" and isinstance(value, list | tuple):
        inside = f"{written.format(name)}[...]['{{}}']"
        return [_spec(IDSpec, spec, inside) for spec in cast("list[Any]", value)]
    # Settings may come from the environment, which has no constants.
    return EVERYONE if name == "TRUSTED_PEERS" and value == "everyone" else value


def _spec(build: Callable[..., IDSpec], value: Any, written: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    rules = cast("Mapping[str, Any]", value)
    for name in rules:
        _known(name, _RULES, written)
    try:
        return build(**{name.lower(): rule for name, rule in rules.items()})
    except PolicyError as error:
        raise _where(error, written) from error
    except TypeError as error:
        raise PolicyError(
            f"{written.format('NAME')} and {written.format('HEADER')} are both needed"
        ) from error


def _known(name: object, names: tuple[str, ...], written: str) -> None:
    """
    Refuse a name that is none, and say which one is meant.
    """
    if name in names:
        return
    close = difflib.get_close_matches(str(name).upper(), names, n=1)
    meant = written.format(close[0]) if close else f"one of {', '.join(names)}"
    raise PolicyError(f"{written.format(name)} is no option: write {meant}", option=str(name))


def _where(error: PolicyError, written: str) -> PolicyError:
    """
    Return the error with the place of the option before its message.
    """
    name = (error.option or "").upper()
    return PolicyError(f"{written.format(name)}: {error}", option=error.option, value=error.value)

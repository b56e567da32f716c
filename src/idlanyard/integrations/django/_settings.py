"""
The policy that Django's settings describe, and settings that describe nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from idlanyard._policy.options import find_meant, options_of
from idlanyard._policy.policy import Policy
from idlanyard._policy.settings import policy_from_settings as policy_of
from idlanyard.exceptions import PolicyError

NAME: Final = "IDLANYARD"
_PREFIX: Final = f"{NAME}_"
_OPTIONS: Final = tuple(field.name.upper() for field in options_of(Policy))


def policy_from_settings() -> Policy:
    """
    Return the policy that the project's settings describe.

    It is the one that the middleware of ``MIDDLEWARE`` has, for another one
    around the whole application, in ``asgi.py`` or ``wsgi.py``::

        application = SessionContextMiddleware(get_asgi_application(), policy_from_settings())

    Without ``IDLANYARD`` in the settings it is ``Policy.from_env()``.

    Raises:
        ImproperlyConfigured: ``IDLANYARD`` is neither a ``Policy`` nor a
            mapping that describes one.
    """
    given: object = getattr(settings, NAME, None)
    if isinstance(given, Policy):
        return given
    try:
        if given is None:
            return Policy.from_env()
        if isinstance(given, Mapping):
            described = cast("Mapping[str, Any]", given)
            return policy_of(described, written=f"{NAME}['{{}}']")
    except PolicyError as error:
        raise ImproperlyConfigured(str(error)) from error
    raise ImproperlyConfigured(
        f"{NAME} is {type(given).__name__}: write {NAME} = {{'TRUSTED_PEERS': [...]}} or "
        f"{NAME} = Policy(...)"
    )


def settings_without_effect() -> str | None:
    """
    Return what is wrong with settings that look like ours and are read by nothing.

    They are spelt as Flask's configuration is, one for each option. One that
    ``IDLANYARD`` itself has been given is only a name of the project's own.

    Returns:
        A sentence that says what to write, or ``None``.
    """
    given: object = getattr(settings, NAME, None)
    idle = {name: _meant(name) for name in dir(settings) if name.startswith(_PREFIX)}
    idle = {name: option for name, option in idle.items() if not _has(given, option)}
    if not idle:
        return None
    known = {name: option for name, option in idle.items() if option is not None}
    said = f"{', '.join(idle)} in the settings: nothing reads a name of its own for each option"
    if len(known) < len(idle):
        return f"{said}: write {NAME} = {{...}} with keys of {', '.join(_OPTIONS)}"
    return f"{said}: write {_assignment(given, known)}"


def _meant(name: str) -> str | None:
    """
    Return the option that is spelt as a setting of its own.
    """
    if name.endswith("_ID"):
        # A static ID of the environment is none of the policy's options.
        return None
    return find_meant(name.removeprefix(_PREFIX), _OPTIONS)


def _has(given: object, option: str | None) -> bool:
    """
    Return whether ``IDLANYARD`` says something about an option.
    """
    if option is None or given is None:
        return False
    if isinstance(given, Policy):
        return bool(getattr(given, option.lower()) != getattr(Policy(), option.lower()))
    return isinstance(given, Mapping) and option in given


def _assignment(given: object, options: Mapping[str, str]) -> str:
    """
    Return the code that gives ``IDLANYARD`` the values of settings of their own.
    """
    if isinstance(given, Policy):
        arguments = ", ".join(f"{option.lower()}={name}" for name, option in options.items())
        return f"{NAME} = dataclasses.replace({NAME}, {arguments})"
    entries = ", ".join(f"{option!r}: {name}" for name, option in options.items())
    return f"{NAME} = {{{'' if given is None else f'**{NAME}, '}{entries}}}"

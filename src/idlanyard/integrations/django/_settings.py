"""
The policy that Django's settings describe, and settings that have no effect.
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

    The middleware in ``MIDDLEWARE`` has the same policy. Use this function to
    pass it to a middleware around the whole application, in ``asgi.py`` or
    ``wsgi.py``::

        application = SessionContextMiddleware(get_asgi_application(), policy_from_settings())

    Without ``IDLANYARD`` in the settings, the policy is ``Policy.from_env()``.

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
    Return a sentence about settings that look like ours and are not read, or ``None``.

    Such a setting is called like an option in Flask's configuration, as in
    ``IDLANYARD_SESSION``. If ``IDLANYARD`` has the option as well, the setting
    counts as a name of the project's own.
    """
    given: object = getattr(settings, NAME, None)
    idle = {name: _option_of(name) for name in dir(settings) if name.startswith(_PREFIX)}
    idle = {name: option for name, option in idle.items() if not _has_option(given, option)}
    if not idle:
        return None
    known = {name: option for name, option in idle.items() if option is not None}
    said = f"{', '.join(idle)} in the settings: nothing reads a name of its own for each option"
    if len(known) < len(idle):
        return f"{said}: write {NAME} = {{...}} with keys of {', '.join(_OPTIONS)}"
    return f"{said}: write {_write_assignment(given, known)}"


def _option_of(name: str) -> str | None:
    """
    Return the option that the name of a setting spells, or ``None``.
    """
    if name.endswith("_ID"):
        # IDLANYARD_USER_ID and its like are static IDs, and no options.
        return None
    return find_meant(name.removeprefix(_PREFIX), _OPTIONS)


def _has_option(given: object, option: str | None) -> bool:
    """
    Return whether ``IDLANYARD`` has the option.
    """
    if option is None or given is None:
        return False
    if isinstance(given, Policy):
        return bool(getattr(given, option.lower()) != getattr(Policy(), option.lower()))
    return isinstance(given, Mapping) and option in given


def _write_assignment(given: object, options: Mapping[str, str]) -> str:
    """
    Return the code that moves the values of such settings into ``IDLANYARD``.
    """
    if isinstance(given, Policy):
        arguments = ", ".join(f"{option.lower()}={name}" for name, option in options.items())
        return f"{NAME} = dataclasses.replace({NAME}, {arguments})"
    entries = ", ".join(f"{option!r}: {name}" for name, option in options.items())
    return f"{NAME} = {{{'' if given is None else f'**{NAME}, '}{entries}}}"

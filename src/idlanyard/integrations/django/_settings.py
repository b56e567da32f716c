"""
The policy that Django's settings describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from idlanyard._policy import Policy
from idlanyard._settings import policy_from_settings
from idlanyard.exceptions import PolicyError

NAME: Final = "IDLANYARD"


def policy() -> Policy:
    """
    Return the policy in ``settings.IDLANYARD``; where there is none, ``Policy.from_env()``.

    Raises:
        ImproperlyConfigured: it is neither a ``Policy`` nor a mapping that describes one.
    """
    given: object = getattr(settings, NAME, None)
    if isinstance(given, Policy):
        return given
    try:
        if given is None:
            return Policy.from_env()
        if isinstance(given, Mapping):
            described = cast("Mapping[str, Any]", given)
            return policy_from_settings(described, written=f"{NAME}['{{}}']")
    except PolicyError as error:
        raise ImproperlyConfigured(str(error)) from error
    raise ImproperlyConfigured(
        f"{NAME} is {type(given).__name__}: write {NAME} = {{'TRUSTED_PEERS': [...]}} or "
        f"{NAME} = Policy(...)"
    )

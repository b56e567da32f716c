"""
System checks: is the middleware where it works, and does anybody vouch for users?
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from idlanyard.integrations.django._settings import NAME, policy

_HOME: Final = "idlanyard.integrations.django"
_AUTHENTICATION: Final = "django.contrib.auth.middleware.AuthenticationMiddleware"
_STORES: Final = "django.middleware.cache.UpdateCacheMiddleware"
SESSION_CONTEXT: Final = f"{_HOME}.SessionContextMiddleware"
IDENTIFY_USER: Final = f"{_HOME}.IdentifyUserMiddleware"


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """
    Return what is wrong with the places in ``MIDDLEWARE``.
    """
    lines: list[str] = list(settings.MIDDLEWARE)
    if SESSION_CONTEXT not in lines:
        return [
            checks.Warning(
                f"{SESSION_CONTEXT} is not in MIDDLEWARE, so no request has IDs.",
                hint="Write it as the first line of MIDDLEWARE.",
                id="idlanyard.W001",
            )
        ]
    messages: list[checks.CheckMessage] = []
    if lines.index(SESSION_CONTEXT) > 0:
        messages.append(
            checks.Warning(
                f"{SESSION_CONTEXT} is not the first line of MIDDLEWARE: what the lines before "
                "it answer and log has no IDs.",
                hint="Move it to the first line of MIDDLEWARE.",
                id="idlanyard.W002",
            )
        )
    if _STORES in lines and lines.index(_STORES) < lines.index(SESSION_CONTEXT):
        messages.append(
            checks.Error(
                f"{_STORES} stores responses with the IDs of whom they were made for, and hands "
                "them to others.",
                hint=f"Move {SESSION_CONTEXT} to the first line of MIDDLEWARE.",
                id="idlanyard.E003",
            )
        )
    if IDENTIFY_USER in lines and not _follows_authentication(lines):
        messages.append(
            checks.Error(
                f"{IDENTIFY_USER} finds no user where it stands in MIDDLEWARE.",
                hint=f"Move it below {_AUTHENTICATION} and {SESSION_CONTEXT}.",
                id="idlanyard.E001",
            )
        )
    return messages


def _follows_authentication(lines: list[str]) -> bool:
    """
    Say whether users are found, by whatever class, before they are identified.
    """
    place = lines.index(IDENTIFY_USER)
    if lines.index(SESSION_CONTEXT) > place:
        return False
    return _AUTHENTICATION not in lines or lines.index(_AUTHENTICATION) < place


def check_trust(**_: Any) -> list[checks.CheckMessage]:
    """
    Return what is wrong with who is believed.
    """
    try:
        rules = policy()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), hint=f"Mend {NAME} in the settings.", id="idlanyard.E002")]
    if rules.peers.everyone and not settings.DEBUG:
        return [
            checks.Warning(
                f"{NAME} trusts every peer (EVERYONE) with DEBUG=False: any client may claim to "
                "be any user.",
                hint="Write the networks of your proxies in TRUSTED_PEERS.",
                id="idlanyard.W004",
            )
        ]
    if not rules.enabled:
        return []
    unproven = [spec.header for spec in rules.specs.values() if spec.accept == "proven"]
    if unproven and rules.peers.nobody and not rules.secrets:
        return [
            checks.Warning(
                f"{', '.join(unproven)}: these headers need a proof, and nobody is trusted, so "
                "they are dropped from every request.",
                hint=f"Set TRUSTED_PEERS or SHARED_SECRET in {NAME}; or, where no proxy sends "
                "them, leave the IDs out, as in 'TENANT': None, or silence this check.",
                id="idlanyard.W003",
            )
        ]
    return []

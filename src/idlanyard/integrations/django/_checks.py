"""
System checks for the order of ``MIDDLEWARE``, and for settings that have no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.checks import find_unproven_certificates
from idlanyard._policy.policy import Policy, checked_policy
from idlanyard._policy.spec import name_headers, needs_sender
from idlanyard.integrations.django._settings import (
    NAME,
    policy_from_settings,
    settings_without_effect,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    Messages = list[checks.CheckMessage]

_HOME: Final = "idlanyard.integrations.django"
_AUTHENTICATION: Final = "django.contrib.auth.middleware.AuthenticationMiddleware"
_STORES: Final = "django.middleware.cache.UpdateCacheMiddleware"
SESSION_CONTEXT: Final = f"{_HOME}.SessionContextMiddleware"
IDENTIFY_USER: Final = f"{_HOME}.IdentifyUserMiddleware"
_OF_OTHERS: Final = frozenset(
    {"idlanyard.asgi.SessionContextMiddleware", "idlanyard.wsgi.SessionContextMiddleware"}
)


def check_middleware(**_: Any) -> Messages:
    """
    Return the faults in the order of ``MIDDLEWARE``.
    """
    lines: list[str] = list(settings.MIDDLEWARE)
    wrong = [line for line in lines if line in _OF_OTHERS]
    if wrong:
        return [_wrong_class(line) for line in wrong]
    if SESSION_CONTEXT not in lines:
        return [
            checks.Warning(
                f"{SESSION_CONTEXT} is not in MIDDLEWARE, so no request has IDs.",
                hint="Write it as the first line of MIDDLEWARE.",
                id="idlanyard.W001",
            )
        ]
    return [*_check_order(lines)]


def _wrong_class(line: str) -> checks.CheckMessage:
    return checks.Error(
        f"{line} goes around a whole application: in MIDDLEWARE it fails.",
        hint=f'Write "{SESSION_CONTEXT}" in its place.',
        id="idlanyard.E004",
    )


def _check_order(lines: list[str]) -> Iterator[checks.CheckMessage]:
    place = lines.index(SESSION_CONTEXT)
    if place > 0:
        yield checks.Warning(
            f"{SESSION_CONTEXT} is not the first line of MIDDLEWARE: what the lines before "
            "it answer and log has no IDs.",
            hint="Move it to the first line of MIDDLEWARE.",
            id="idlanyard.W002",
        )
    if lines.count(SESSION_CONTEXT) > 1:
        yield checks.Warning(
            f"{SESSION_CONTEXT} is in MIDDLEWARE more than once: only the first has an effect.",
            hint="Remove the others.",
            id="idlanyard.W005",
        )
    if _STORES in lines and lines.index(_STORES) < place:
        yield checks.Error(
            f"{_STORES} stores responses with the IDs of whom they were made for, and hands "
            "them to others.",
            hint=f"Move {SESSION_CONTEXT} to the first line of MIDDLEWARE.",
            id="idlanyard.E003",
        )
    if IDENTIFY_USER in lines and not _follows_authentication(lines):
        yield checks.Error(
            f"{IDENTIFY_USER} is too early in MIDDLEWARE to find a user.",
            hint=f"Move it below {_AUTHENTICATION} and {SESSION_CONTEXT}.",
            id="idlanyard.E001",
        )


def _follows_authentication(lines: list[str]) -> bool:
    """
    Return whether the line that identifies users comes after the lines that find them.
    """
    place = lines.index(IDENTIFY_USER)
    if lines.index(SESSION_CONTEXT) > place:
        return False
    return _AUTHENTICATION not in lines or lines.index(_AUTHENTICATION) < place


def check_settings(**_: Any) -> Messages:
    """
    Return the faults of the policy in the settings, and of its trust in peers.
    """
    messages: Messages = []
    idle = settings_without_effect()
    if idle is not None:
        said, remedy = idle.split(": write ", 1)
        messages.append(checks.Warning(f"{said}.", hint=f"Write {remedy}", id="idlanyard.W006"))
    try:
        rules = checked_policy(policy_from_settings())
    except ImproperlyConfigured as error:
        return [
            *messages,
            checks.Error(str(error), hint=f"Mend {NAME} in the settings.", id="idlanyard.E002"),
        ]
    if rules.peers.anybody and not settings.DEBUG:
        messages.append(
            checks.Warning(
                f"{NAME} trusts every peer with DEBUG=False: any client may claim to be any user.",
                hint="Write the networks of your proxies in TRUSTED_PEERS.",
                id="idlanyard.W004",
            )
        )
    for name, header in find_unproven_certificates(rules.specs.values()):
        messages.append(
            checks.Warning(
                f"{NAME} accepts {name} out of {header} from anyone: any client may claim any "
                "certificate.",
                hint="Write 'ACCEPT': 'proven' for it, and your proxy in TRUSTED_PEERS.",
                id="idlanyard.W007",
            )
        )
    return messages + _warn_of_dropped(
        _unprovable_headers(rules) if _change_proven_ids(rules) else []
    )


def check_deployment(**_: Any) -> Messages:
    """
    Return what the settings believe, and a warning if they trust no gateway.
    """
    try:
        policy = policy_from_settings()
    except ImproperlyConfigured:
        return []
    rules = checked_policy(policy)
    said = "\n  ".join(policy.explain().splitlines())
    posture = checks.Info(
        f"{NAME} believes:\n  {said}",
        hint="Compare it with what your proxy sets and what clients can send.",
        id="idlanyard.I001",
    )
    dropped = [] if _change_proven_ids(rules) else _unprovable_headers(rules)
    return [posture, *_warn_of_dropped(dropped)]


def _unprovable_headers(rules: CheckedPolicy) -> list[str]:
    """
    Return the headers that need a proof under a policy that accepts no proof.
    """
    if not rules.enabled or not rules.peers.nobody or rules.secrets:
        return []
    return [
        name for spec in rules.specs.values() if needs_sender(spec) for name in name_headers(spec)
    ]


def _change_proven_ids(rules: CheckedPolicy) -> bool:
    """
    Return whether the settings change the rules of an ID that needs a proof.
    """
    usual = checked_policy(Policy()).specs
    return any(
        spec.accept == "proven" and spec != usual.get(name) for name, spec in rules.specs.items()
    )


def _warn_of_dropped(headers: list[str]) -> Messages:
    if not headers:
        return []
    return [
        checks.Warning(
            f"{', '.join(headers)}: these headers need a proof, and nobody is trusted, so "
            "they are dropped from every request.",
            hint=f"Set TRUSTED_PEERS or SHARED_SECRET in {NAME}. Where no proxy sends them, "
            'write SILENCED_SYSTEM_CHECKS = ["idlanyard.W003"].',
            id="idlanyard.W003",
        )
    ]

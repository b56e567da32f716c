"""
The application for ``INSTALLED_APPS``: it brings the system checks.
"""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register

from idlanyard.integrations.django._checks import (
    check_deployment,
    check_middleware,
    check_settings,
)


class IDLanyardConfig(AppConfig):
    """
    ``"idlanyard.integrations.django"`` in ``INSTALLED_APPS``.
    """

    name = "idlanyard.integrations.django"
    label = "idlanyard"

    def ready(self) -> None:
        """
        Register the checks.
        """
        register(check_middleware, Tags.compatibility)
        register(check_settings, Tags.security)
        register(check_deployment, Tags.security, deploy=True)

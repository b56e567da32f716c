"""
Django: a line in ``MIDDLEWARE`` binds IDs for every request, another one identifies
the user who has logged in, and one in ``INSTALLED_APPS`` adds system checks.

    MIDDLEWARE = [
        "idlanyard.integrations.django.SessionContextMiddleware",
        ...
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "idlanyard.integrations.django.IdentifyUserMiddleware",
    ]
"""

from __future__ import annotations

from idlanyard.integrations.django._middleware import SessionContextMiddleware
from idlanyard.integrations.django._settings import policy_from_settings
from idlanyard.integrations.django._users import IdentifyUserMiddleware, identified

__all__ = [
    "IdentifyUserMiddleware",
    "SessionContextMiddleware",
    "identified",
    "policy_from_settings",
]

"""
Settings of a project whose lines are read behind real servers.
"""

from __future__ import annotations

from typing import Any

FORMATTER = "idlanyard.integrations.logging.SessionContextFormatter"
OWN = {"handlers": ["line"], "level": "INFO", "propagate": False}

ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["idlanyard.integrations.django"]
IDLANYARD: dict[str, Any] = {"TRUSTED_PEERS": ["127.0.0.1"]}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "class": FORMATTER,
            "format": "line %(session_id)s %(user_id)s %(name)s %(message)s",
        }
    },
    "handlers": {"line": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"shop": OWN, "django": OWN, "django.server": OWN, "daphne": OWN},
}
MIDDLEWARE = ["idlanyard.integrations.django.SessionContextMiddleware"]
ROOT_URLCONF = "integrations.apps.django_logged"
SECRET_KEY = "of the tests"
USE_TZ = True
WSGI_APPLICATION = "integrations.apps.django_logged.wsgi"

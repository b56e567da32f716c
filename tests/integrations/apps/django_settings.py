"""
Django for the tests: configured once, a database of its own in a folder that goes.
"""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path

import django
from django.conf import settings

FOLDER = tempfile.TemporaryDirectory(prefix="idlanyard-")
atexit.register(FOLDER.cleanup)

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
OURS = "idlanyard.integrations.django.SessionContextMiddleware"
IDENTIFY_USER = "idlanyard.integrations.django.IdentifyUserMiddleware"

settings.configure(
    ALLOWED_HOSTS=["*"],
    CORS_ALLOWED_ORIGINS=["http://site"],
    CORS_EXPOSE_HEADERS=["X-Total"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(FOLDER.name, "database.sqlite3"),
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "corsheaders",
        "rest_framework",
        "idlanyard.integrations.django",
    ],
    MIDDLEWARE=[OURS],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    SECRET_KEY="of the tests",
)
django.setup()

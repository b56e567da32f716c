"""
Django's settings for the worker of the contract's jobs.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

# Django has tasks of its own from 6.0 on.
HERE = find_spec("django.tasks") is not None

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["IDLANYARD_JOBS_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
INSTALLED_APPS = ["django_tasks_db", *([] if HERE else ["django_tasks"])]
SECRET_KEY = "of the tests"
TASKS = {"default": {"BACKEND": "integrations.jobs.django_backends.InDatabase"}}
USE_TZ = True

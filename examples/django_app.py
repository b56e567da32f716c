"""
Django in one file: a line in ``MIDDLEWARE`` for the IDs, one for the user who has
logged in, and the application in ``INSTALLED_APPS`` for the checks.

    python examples/django_app.py runserver --noreload 127.0.0.1:8000

The same file serves gunicorn (``django_app:application``) and uvicorn
(``django_app:asgi_application``, WebSockets and access lines included).
"""

from __future__ import annotations

import logging
import os
import sys

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from idlanyard import get_session_context, get_session_id
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.django import policy_from_settings
from idlanyard.integrations.logging import install

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    IDLANYARD={"TRUSTED_PEERS": ["127.0.0.1"]},
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "idlanyard.integrations.django",
    ],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "class": "idlanyard.integrations.logging.SessionContextFormatter",
                "format": "%(levelname)s [%(session_id)s %(user_id)s] %(name)s: %(message)s",
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "shop": {"handlers": ["console"], "level": "INFO"},
            "django": {"handlers": ["console"], "level": "INFO"},
        },
    },
    MIDDLEWARE=[
        "idlanyard.integrations.django.SessionContextMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "idlanyard.integrations.django.IdentifyUserMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "of this example"),
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
install()
log = logging.getLogger("shop")


def hello(request: HttpRequest) -> HttpResponse:
    log.info("hello, %s", get_session_context())
    return JsonResponse(get_session_context().as_dict())


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(f"{number} {get_session_id()}\n" for number in range(3))


def boom(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("nobody handles this")


urlpatterns = [path("", hello), path("stream", stream), path("boom", boom)]

application = get_wsgi_application()
asgi_application = SessionContextMiddleware(get_asgi_application(), policy_from_settings())

if __name__ == "__main__":
    execute_from_command_line(sys.argv)

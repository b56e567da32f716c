"""
A project whose lines are read behind real servers: it logs, it answers badly, it fails.
"""

from __future__ import annotations

import logging
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "integrations.apps.django_logged_settings"

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from idlanyard import asgi as our_asgi
from idlanyard import get_session_id
from idlanyard import wsgi as our_wsgi
from idlanyard.integrations.django import policy_from_settings
from idlanyard.integrations.logging import install

log = logging.getLogger("shop")


def home(request: HttpRequest) -> HttpResponse:
    log.info("at home")
    # With its length runserver keeps the connection.
    return HttpResponse("home", headers={"Content-Length": "4"})


async def home_async(request: HttpRequest) -> HttpResponse:
    return home(request)


def busy(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=503)


async def busy_async(request: HttpRequest) -> HttpResponse:
    return busy(request)


def boom(request: HttpRequest) -> HttpResponse:
    raise LookupError("as it was")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> object:
        log.info("in the stream of %s", get_session_id())
        yield "part"

    return StreamingHttpResponse(parts(), status=418)  # type: ignore[arg-type]


urlpatterns = [
    path("", home),
    path("async", home_async),
    path("busy", busy),
    path("awaited", busy_async),
    path("boom", boom),
    path("stream", stream),
]

install()
wsgi = get_wsgi_application()
asgi = get_asgi_application()
wsgi_around = our_wsgi.SessionContextMiddleware(wsgi, policy_from_settings())
asgi_around = our_asgi.SessionContextMiddleware(asgi, policy_from_settings())

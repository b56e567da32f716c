"""
Applications with Sentry's own integrations on, asked in a process of their own,
because these patch the frameworks for good.

    python -m integrations.apps.sentry_apps fastapi
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
from sentry_sdk.transport import Transport

from idlanyard import Policy, identify
from idlanyard.integrations.sentry import install
from integrations.apps.seen import Boom
from integrations.sides import over_http, serving_asgi, serving_wsgi

TRUSTING = Policy(trusted_peers=["127.0.0.1"])
REQUESTS = ("/message", "/boom", "/login", "/own", "/nowhere", "/stream")


class Kept(Transport):
    """
    A transport that keeps what it is given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.type in ("event", "transaction"):
                self.events.append(json.loads(item.get_bytes()))


def message() -> str:
    sentry_sdk.capture_message("hello")
    return "ok"


def boom() -> str:
    raise Boom("as it was")


def login() -> str:
    identify(user_id="alice")
    return "ok"


def own() -> str:
    sentry_sdk.set_user({"id": "of the app"})
    sentry_sdk.set_tag("session_id", "of the app")
    return message()


def parts() -> Iterator[str]:
    yield "one"
    sentry_sdk.capture_message("in a stream")
    yield "two"


async def parts_async() -> AsyncIterator[str]:
    for part in parts():
        yield part


VIEWS: dict[str, Callable[[], str]] = {
    "/message": message,
    "/boom": boom,
    "/login": login,
    "/own": own,
}


def fastapi_served() -> AbstractContextManager[int]:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    from idlanyard.integrations import fastapi

    app = FastAPI()
    for path, view in VIEWS.items():
        app.get(path)(view)

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    fastapi.install(app, TRUSTING)
    return serving_asgi(app)


def flask_served() -> AbstractContextManager[int]:
    from flask import Flask, Response

    from idlanyard.integrations.flask import IDLanyard

    app = Flask(__name__)
    app.logger.disabled = True
    for path, view in VIEWS.items():
        app.get(path, endpoint=path)(view)
    app.get("/stream", endpoint="/stream")(lambda: Response(parts()))
    IDLanyard(app, TRUSTING)
    return serving_wsgi(app)


def django_app(build: str) -> Any:
    import logging

    from django.conf import settings
    from django.core import asgi, wsgi
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    from integrations.apps.django_settings import OURS

    def respond(view: Callable[[], str]) -> Any:
        return lambda request: HttpResponse(view())

    in_parts = parts_async if build == "asgi" else parts

    class Routes:
        urlpatterns = (
            *(path(name[1:], respond(view)) for name, view in VIEWS.items()),
            path("stream", lambda request: StreamingHttpResponse(in_parts())),
        )

    logging.getLogger("django").disabled = True
    logging.getLogger("django.request").disabled = True
    settings.ROOT_URLCONF = Routes
    settings.MIDDLEWARE = [OURS]
    settings.IDLANYARD = TRUSTING
    return asgi.get_asgi_application() if build == "asgi" else wsgi.get_wsgi_application()


SERVED: dict[str, tuple[list[Any], Callable[[], AbstractContextManager[int]]]] = {
    "fastapi": ([StarletteIntegration(), FastApiIntegration()], fastapi_served),
    "flask": ([FlaskIntegration()], flask_served),
    "django": ([DjangoIntegration()], lambda: serving_wsgi(django_app("wsgi"))),
    "django-async": ([DjangoIntegration()], lambda: serving_asgi(django_app("asgi"))),
}


def main(framework: str) -> None:
    """
    Ask everything once, each with a session of its own, and print what Sentry was sent.
    """
    integrations, served = SERVED[framework]
    transport = Kept()
    sentry_sdk.init(
        transport=transport,
        integrations=integrations,
        auto_enabling_integrations=False,
        traces_sample_rate=1.0,
    )
    install()
    with served() as port:
        ask = over_http(port)
        for path in REQUESTS:
            ask(path, [("X-Session-ID", f"s-{path[1:]}"), ("X-Tenant-ID", "acme")])
    sentry_sdk.capture_message("afterwards")
    print(json.dumps(transport.events))


if __name__ == "__main__":
    main(sys.argv[1])

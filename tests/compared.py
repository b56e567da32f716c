"""
One application for each package that docs/comparison.md compares, and what it is seen to do.

``python compared.py PACKAGE`` prints the answers for one package as JSON: each needs a
process of its own, since Django has one configuration for each.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

SENT = "0123456789abcdef0123456789abcdef"
HEADER = "X-Request-ID"
Read = Callable[[], "str | None"]


def read_idlanyard() -> str | None:
    """
    Return the current request ID.
    """
    from idlanyard import get_id

    return get_id("request_id")


def wrap_idlanyard(app: Any) -> Read:
    """
    Add this package to a Starlette application.
    """
    from idlanyard import Policy, request_spec
    from idlanyard.integrations.starlette import install

    install(app, Policy(session=None, user=None, tenant=None, extra=[request_spec()]))
    return read_idlanyard


def wrap_asgi_correlation_id(app: Any) -> Read:
    """
    Add asgi-correlation-id, as its README does.
    """
    from asgi_correlation_id import CorrelationIdMiddleware, correlation_id

    app.add_middleware(CorrelationIdMiddleware)
    return correlation_id.get


def wrap_starlette_context(app: Any) -> Read:
    """
    Add starlette-context, as its documentation does.
    """
    from starlette_context import context, plugins
    from starlette_context.middleware import RawContextMiddleware

    app.add_middleware(RawContextMiddleware, plugins=(plugins.RequestIdPlugin(),))
    return lambda: context.data.get(HEADER) if context.exists() else None


WRAP = {
    "idlanyard": wrap_idlanyard,
    "asgi-correlation-id": wrap_asgi_correlation_id,
    "starlette-context": wrap_starlette_context,
}
DJANGO: dict[str, dict[str, Any]] = {
    "idlanyard": {"MIDDLEWARE": ["idlanyard.integrations.django.SessionContextMiddleware"]},
    "django-guid": {
        "MIDDLEWARE": ["django_guid.middleware.guid_middleware"],
        "INSTALLED_APPS": ["django_guid"],
        "DJANGO_GUID": {"GUID_HEADER_NAME": HEADER},
    },
    "django-log-request-id": {
        "MIDDLEWARE": ["log_request_id.middleware.RequestIDMiddleware"],
        "LOG_REQUEST_ID_HEADER": "HTTP_X_REQUEST_ID",
        "REQUEST_ID_RESPONSE_HEADER": HEADER,
    },
    "django-structlog": {
        "MIDDLEWARE": ["django_structlog.middlewares.RequestMiddleware"],
        "INSTALLED_APPS": ["django_structlog"],
        "DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID": True,
        "DJANGO_STRUCTLOG_IP_LOGGING_ENABLED": False,
    },
}


def see_starlette(package: str) -> dict[str, bool]:
    """
    Return in which places of a Starlette application the ID is.
    """
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.testclient import TestClient

    seen: dict[str, str | None] = {}

    def note(place: str) -> None:
        seen[place] = read()

    async def home(request: Any) -> Any:
        note("async endpoint")
        return PlainTextResponse("", background=BackgroundTask(note, "background task"))

    def plain(request: Any) -> Any:
        note("sync endpoint")
        return PlainTextResponse("")

    async def broken(request: Any) -> Any:
        raise LookupError

    async def parts() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        note("last part of a stream")

    async def stream(request: Any) -> Any:
        return StreamingResponse(parts())

    async def talk(socket: Any) -> None:
        await socket.accept()
        note("WebSocket handler")
        await socket.close()

    routes = [Route("/", home), Route("/plain", plain), Route("/broken", broken)]
    app = Starlette(
        routes=[*routes, Route("/stream", stream), WebSocketRoute("/talk", talk)],
    )
    read = WRAP[package](app)
    client = TestClient(app, raise_server_exceptions=False)
    lines = {HEADER: SENT}
    for name, path in (("200", "/"), ("404", "/nowhere"), ("unhandled 500", "/broken")):
        seen[f"response: {name}"] = client.get(path, headers=lines).headers.get(HEADER)
    for path in ("/plain", "/stream"):
        client.get(path, headers=lines)
    with client.websocket_connect("/talk", headers=lines) as session:
        handshake: dict[bytes, bytes] = dict(session.extra_headers or ())
    seen["response: WebSocket handshake"] = handshake.get(HEADER.lower().encode(), b"").decode()
    return {place: value == SENT for place, value in seen.items()}


def read_django(package: str) -> Read:
    """
    Return the function that reads the ID of a package for Django.
    """
    if package == "django-guid":
        from django_guid import get_guid

        return get_guid
    if package == "django-log-request-id":
        from log_request_id import local

        return lambda: getattr(local, "request_id", None)
    if package == "django-structlog":
        from structlog.contextvars import get_contextvars

        return lambda: get_contextvars().get("request_id")
    return read_idlanyard


def see_django(package: str) -> dict[str, bool]:
    """
    Return in which places of a Django project the ID is.
    """
    import django
    from django.conf import settings

    from idlanyard import Policy, request_spec

    seen: dict[str, str | None] = {}
    views: Any = type("Routes", (), {"urlpatterns": []})
    policy = Policy(session=None, user=None, tenant=None, extra=[request_spec()])
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=views, IDLANYARD=policy, **DJANGO[package])
    django.setup()

    from django.http import HttpResponse, StreamingHttpResponse
    from django.test import AsyncClient, Client
    from django.urls import path

    read = read_django(package)

    def note(place: str) -> None:
        seen[place] = read()

    def home(request: Any) -> Any:
        note("sync view")
        return HttpResponse("")

    async def later(request: Any) -> Any:
        note("async view")
        return HttpResponse("")

    def broken(request: Any) -> Any:
        raise LookupError

    def parts() -> Iterator[str]:
        yield "a"
        note("last part of a stream")

    def stream(request: Any) -> Any:
        return StreamingHttpResponse(parts())

    views.urlpatterns += [path("", home), path("later", later), path("broken", broken)]
    views.urlpatterns += [path("stream", stream)]
    client = Client(raise_request_exception=False)
    lines = {HEADER: SENT}

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(f"Django's own line: {record.getMessage().partition(':')[0]}")

    logging.getLogger("django.request").addHandler(Noting())
    for name, route in (("200", "/"), ("404", "/nowhere"), ("unhandled 500", "/broken")):
        seen[f"response: {name}"] = client.get(route, headers=lines).headers.get(HEADER)
    client.get("/stream", headers=lines).getvalue()
    asyncio.run(AsyncClient().get("/later", headers=lines))
    return {place: value == SENT for place, value in seen.items()}


if __name__ == "__main__":
    # Lines of structlog and of Django are not the answer.
    answer, sys.stdout = sys.stdout, io.StringIO()
    logging.basicConfig(stream=sys.stdout)
    found = {}
    if sys.argv[1] in WRAP:
        found["Starlette"] = see_starlette(sys.argv[1])
    if sys.argv[1] in DJANGO:
        found["Django"] = see_django(sys.argv[1])
    print(json.dumps(found), file=answer)

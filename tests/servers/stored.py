"""
The applications that stand behind caches, one for each framework, with the same routes.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from fastapi import Request, Response

from idlanyard import EVERYONE, Policy

HERE = Path(__file__).parent
FILE = Path(__file__)
POLICY = Policy(trusted_peers=EVERYONE)
TAG = '"1"'
NOT_MODIFIED = 304

# What the views say of themselves, by their path.
SAID: dict[str, tuple[int, dict[str, str]]] = {
    "silent": (200, {}),
    "no-cache": (200, {"Cache-Control": "no-cache"}),
    "revalidated": (200, {"Cache-Control": "must-revalidate"}),
    "expired": (200, {"Expires": "0"}),
    "quoted": (200, {"Cache-Control": 'x="a, no-store'}),
    "gone": (410, {}),
    "moved": (302, {"Location": "/silent"}),
    "public": (200, {"Cache-Control": "public, max-age=60"}),
    "private": (200, {"Cache-Control": "private, max-age=60"}),
    "not-stored": (200, {"Cache-Control": "no-store"}),
    "for-cdns": (200, {"CDN-Cache-Control": "no-store"}),
    "surrogates": (
        200,
        {"Cache-Control": "private", "Surrogate-Control": 'content="ESI/1.0"'},
    ),
    "accelerated": (200, {"X-Accel-Expires": "60", "Cache-Control": "no-store"}),
    # Stored, and soon too old to be used without asking again.
    "tagged": (200, {"Cache-Control": "max-age=1", "X-Accel-Expires": "@1", "ETag": TAG}),
}
numbers = itertools.count()
revalidations: list[str] = []


def said(path: str, tag: str | None) -> tuple[int, dict[str, str], str]:
    """
    Return status, headers and body of a view, each body another.
    """
    if path == "revalidations":
        return 200, {"Cache-Control": "no-store"}, str(len(revalidations))
    status, headers = SAID[path]
    if "ETag" in headers and tag is not None and TAG in tag:
        revalidations.append(tag)
        return NOT_MODIFIED, headers, ""
    return status, headers, f"{path} {next(numbers)}"


def flask() -> Any:
    """
    Return the application of Flask.
    """
    from flask import Flask, request, send_file
    from flask import Response as FlaskResponse

    from idlanyard.integrations.flask import IDLanyard

    app = Flask("stored", static_folder=str(HERE), static_url_path="/static")
    IDLanyard(app, POLICY)

    @app.get("/file")
    def file() -> FlaskResponse:
        return send_file(FILE)

    @app.get("/<path>")
    def view(path: str) -> FlaskResponse:
        status, headers, body = said(path, request.headers.get("If-None-Match"))
        return FlaskResponse(body, status, headers)

    return app


def starlette() -> Any:
    """
    Return the application of Starlette.
    """
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    from idlanyard.integrations.starlette import install

    async def file(request: Request) -> Response:
        return FileResponse(FILE)

    async def view(request: Request) -> Response:
        status, headers, body = said(
            request.path_params["path"], request.headers.get("If-None-Match")
        )
        return PlainTextResponse(body, status, headers)

    static = Mount("/static", StaticFiles(directory=HERE))
    app = Starlette(routes=[static, Route("/file", file), Route("/{path}", view)])
    install(app, POLICY)
    return app


def fastapi() -> Any:
    """
    Return the application of FastAPI.
    """
    from fastapi import FastAPI
    from fastapi.responses import FileResponse
    from fastapi.staticfiles import StaticFiles

    from idlanyard.integrations.fastapi import install

    app = FastAPI()
    install(app, POLICY)
    app.mount("/static", StaticFiles(directory=HERE))

    @app.get("/file", response_class=FileResponse)
    def file() -> Path:
        return FILE

    @app.get("/{path}")
    def view(path: str, request: Request) -> Response:
        status, headers, body = said(path, request.headers.get("If-None-Match"))
        return Response(body, status, headers)

    return app


def django() -> Any:
    """
    Return the application of Django.
    """
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse, HttpRequest, HttpResponse
    from django.urls import path as route
    from django.urls import re_path
    from django.views.static import serve

    def file(request: HttpRequest) -> FileResponse:
        return FileResponse(FILE.open("rb"))

    def view(request: HttpRequest, path: str) -> HttpResponse:
        status, headers, body = said(path, request.headers.get("If-None-Match"))
        return HttpResponse(body, status=status, headers=headers)

    class Routes:
        urlpatterns = (
            re_path(r"^static/(?P<path>.*)$", serve, {"document_root": HERE}),
            route("file", file),
            route("<path>", view),
        )

    settings.configure(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["idlanyard.integrations.django.SessionContextMiddleware"],
        ROOT_URLCONF=Routes,
        IDLANYARD=POLICY,
    )
    return get_wsgi_application()

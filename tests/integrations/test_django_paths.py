"""
Django: excluded paths and IDs in paths, behind every prefix that a deployment may have.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import path

from drive import ask_wsgi, environ_of, http_scope
from idlanyard import PathPrefix, Policy, get_session_context, tenant_spec
from idlanyard.integrations.django import SessionContextMiddleware
from integrations.apps.django_settings import OURS
from integrations.sides import asking_asgi

POLICY = Policy(
    exclude=["/health", "/größe"],
    tenant=tenant_spec(sources=[PathPrefix("/t/{tenant}")], accept="anyone"),
)


def show(request: HttpRequest, **_: Any) -> HttpResponse:
    return JsonResponse(get_session_context().as_dict())


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (
        path("", show),
        path("health", show),
        path("größe", show),
        path("t/<tenant>/x", show),
        path("other/health", show),
    )


PREFIXES = {
    "none": ("", "", None),
    "the server's": ("/api", "/api", None),
    "the server's, with a slash": ("/api/", "/api", None),
    "the server's, not in the path": ("/api", "", None),
    "forced": ("", "/api", "/api"),
    "forced, against the server's": ("/elsewhere", "/api", "/api"),
    "forced, which is not in the path": ("", "", "/api"),
}
PATHS = {
    "excluded": ("/health", {}),
    "excluded, in letters of its own": ("/größe", {}),
    "with a tenant": ("/t/acme/x", {"session_id": "s1", "tenant_id": "acme"}),
    "neither": ("/other/health", {"session_id": "s1"}),
    "the root": ("/", {"session_id": "s1"}),
}


def serve_wsgi(route: str, script_name: str) -> Any:
    """
    Return what the middleware sees of a request behind a prefix over WSGI.
    """
    environ = environ_of(
        [("X-Session-ID", "s1")],
        SCRIPT_NAME=script_name.rstrip("/"),
        PATH_INFO=route.encode().decode("latin-1"),
    )
    return SessionContextMiddleware(show)(WSGIRequest(environ))


def serve_asgi(route: str, root_path: str, in_path: str) -> Any:
    """
    Return the same over ASGI.
    """
    scope = http_scope([("X-Session-ID", "s1")], path=in_path + route, root_path=root_path)
    return SessionContextMiddleware(show)(ASGIRequest(scope, io.BytesIO()))


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize(("route", "expected"), PATHS.values(), ids=PATHS)
def test_paths_are_those_below_the_prefix(
    prefix: tuple[str, str, str | None], route: str, expected: dict[str, str]
) -> None:
    """
    Paths are those that routes see, the same on both protocols.
    """
    script_name, in_path, forced = prefix
    with override_settings(IDLANYARD=POLICY, FORCE_SCRIPT_NAME=forced, MIDDLEWARE=[OURS]):
        answers = [serve_wsgi(route, script_name), serve_asgi(route, script_name, in_path)]
    for answer in answers:
        assert answer.content == JsonResponse(expected).content


@pytest.mark.parametrize("path", ["/api/health", "/api/t/acme/x"])
def test_paths_lead_to_views_behind_a_prefix(path: str) -> None:
    """
    And they are those of the view that answers.
    """
    expected = {} if path == "/api/health" else {"session_id": "s1", "tenant_id": "acme"}
    sent = [("X-Session-ID", "s1")]
    with override_settings(IDLANYARD=POLICY, ROOT_URLCONF=Routes, MIDDLEWARE=[OURS]):
        environ = environ_of(sent, SCRIPT_NAME="/api", PATH_INFO=path.removeprefix("/api"))
        _, _, body = ask_wsgi(get_wsgi_application(), environ)
        assert body == JsonResponse(expected).content
        with override_settings(FORCE_SCRIPT_NAME="/api"):
            app: Any = get_asgi_application()
            with asking_asgi(app, lifespan=False) as ask:
                assert ask(path, sent).body == JsonResponse(expected).content


def test_a_path_that_only_begins_like_the_prefix_stays() -> None:
    """
    A prefix ends at a slash.
    """
    policy = Policy(exclude=["/apix/health"])
    with override_settings(IDLANYARD=policy, MIDDLEWARE=[OURS]):
        assert serve_asgi("/apix/health", "/api", "").content == b"{}"

"""
Django: a service that takes only sessions that are known, over both protocols.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from idlanyard import Admission, Policy, get_session_context, wsgi
from idlanyard.registry import AsyncSessionRegistry, RegistryUnavailable, SessionRegistry
from integrations.apps.django_settings import OURS

KNOWN = "crm_user_1"


def read(request: Any) -> HttpResponse:
    shown = {
        "META": request.META.get("HTTP_X_SESSION_ID"),
        "headers": request.headers.get("X-Session-ID"),
        "bound": get_session_context().session_id,
        "request": request.session_context.session_id,
    }
    if hasattr(request, "scope"):
        lines = [v.decode() for k, v in request.scope["headers"] if k == b"x-session-id"]
        shown["scope"], *more = lines
        assert more == []
    return JsonResponse(shown)


async def read_async(request: HttpRequest) -> HttpResponse:
    return read(request)


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (path("", read), path("async", read_async))


def ask(way: str, session: str, known: Any, **choices: Any) -> Any:
    """
    Ask an application that takes known sessions only, over one of the protocols.
    """
    rules = Policy(admission=Admission(known, **choices))
    with override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=[OURS], IDLANYARD=rules):
        if way == "sync":
            return Client().get("/", headers={"X-Session-ID": session})

        async def asked() -> Any:
            return await AsyncClient().get("/async", headers={"X-Session-ID": session})

        return asyncio.run(asked())


def knows(session_id: str) -> bool:
    """
    Return whether it is the one that is known.
    """
    return session_id == KNOWN


def fails(session_id: str) -> bool:
    """
    Be down.
    """
    raise RegistryUnavailable("redis")


WAYS = pytest.mark.parametrize("way", ["sync", "async"])


@WAYS
def test_a_known_session_is_let_in(way: str) -> None:
    """
    A session that is known is bound, seen and echoed.
    """
    answer = ask(way, KNOWN, knows)
    assert (answer.status_code, answer.headers["X-Session-ID"]) == (200, KNOWN)
    assert set(answer.json().values()) == {KNOWN}


@WAYS
def test_an_unknown_session_is_minted_anew(way: str) -> None:
    """
    Everything that a view can read has the fresh session, and so has the echo.
    """
    answer = ask(way, "nobody", knows)
    fresh = answer.headers["X-Session-ID"]
    assert fresh != "nobody"
    assert set(answer.json().values()) == {fresh}


@WAYS
def test_an_unknown_session_is_refused(way: str) -> None:
    """
    Unknown="refuse" answers 404, and the view never runs.
    """
    answer = ask(way, "nobody", knows, unknown="refuse")
    assert (answer.status_code, answer.json()["field"]) == (404, "session_id")
    assert "X-Session-ID" not in answer.headers


@WAYS
def test_a_store_that_is_down_refuses(way: str) -> None:
    """
    Without an answer the request gets 503, and keeps its session.
    """
    answer = ask(way, KNOWN, fails)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["X-Session-ID"] == KNOWN


def test_registries_answer() -> None:
    """
    Exists of the one registry under WSGI, of the other under ASGI.
    """
    with SessionRegistry.open("memory://") as registry:
        registry.create(KNOWN)
        assert ask("sync", KNOWN, registry.exists).json()["bound"] == KNOWN
    awaited = AsyncSessionRegistry.open("memory://")
    asyncio.run(awaited.create(KNOWN))
    assert ask("async", KNOWN, awaited.exists, unknown="refuse").status_code == 200
    assert ask("async", "nobody", awaited.exists, unknown="refuse").status_code == 404


def test_django_over_wsgi_says_at_once_that_it_cannot_await() -> None:
    """
    An async function over WSGI is ImproperlyConfigured when Django starts.
    """
    registry = AsyncSessionRegistry.open("memory://")
    with pytest.raises(ImproperlyConfigured, match=r"IDLANYARD: admission .* cannot await"):
        ask("sync", KNOWN, registry.exists)


def test_inside_another_middleware_nobody_is_asked() -> None:
    """
    R15: inside the WSGI middleware the request's session is that one's.
    """
    from django.core.wsgi import get_wsgi_application

    from drive import ask_wsgi, environ_of

    rules = Policy(admission=Admission(fails))
    with override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=[OURS], IDLANYARD=rules):
        app: Callable[..., Any] = wsgi.SessionContextMiddleware(get_wsgi_application(), Policy())
        response = ask_wsgi(app, environ_of([("X-Session-ID", KNOWN)]))
    assert response.status == "200 OK"

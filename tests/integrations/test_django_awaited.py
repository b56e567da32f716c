"""
Django: headers that an async function verifies, in async mode and refused in sync mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path

from drive import http_scope, serve_asgi
from idlanyard import Header, Policy, asgi, get_session_context, user_spec
from idlanyard.integrations.django import SessionContextMiddleware
from integrations.apps.django_settings import OURS

NAME = "X-Signed-User"
asked: list[str] = []


async def verify(line: str) -> str | None:
    """
    Return the name that is signed, after somebody else has had a turn.
    """
    asked.append(line)
    await asyncio.sleep(0)
    name, dot, signature = line.partition(".")
    return name if dot and signature == "signed" else None


async def view(request: HttpRequest) -> HttpResponse:
    headers = {"X-User-ID": request.headers.get("X-User-ID"), NAME: request.headers.get(NAME)}
    return JsonResponse({"user": get_session_context().user_id, **headers})


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (path("", view),)


class PlainMiddleware:
    """
    A middleware that is not async.
    """

    async_capable = False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        """
        Pass the request on.
        """
        return self.get_response(request)


PLAIN = f"{__name__}.PlainMiddleware"
ALICE = {"user": "alice", "X-User-ID": "alice", NAME: "alice.signed"}
NOBODY = {"user": None, "X-User-ID": None, NAME: None}


def configure(function: Any = verify, *, below: list[str] | None = None) -> Any:
    """
    Return a block in which the user is read out of a header that *function* verifies.
    """
    asked.clear()
    rules = Policy(user=user_spec(sources=[Header(NAME, verify=function)]))
    lines = [OURS, *(below or [])]
    return override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=lines, IDLANYARD=rules)


async def ask(line: str) -> Any:
    """
    Return what the view answers in async mode.
    """
    return (await AsyncClient().get("/", headers={NAME: line})).json()


@pytest.mark.parametrize(
    ("line", "seen"), [("alice.signed", ALICE), ("alice.forged", NOBODY)], ids=["good", "forged"]
)
def test_an_async_function_is_awaited_in_async_mode(line: str, seen: dict[str, Any]) -> None:
    """
    S1: the view has the user that was verified, and the header of no other.
    """
    with configure():
        assert asyncio.run(ask(line)) == seen
    assert asked == [line]


def test_a_request_without_a_scope_is_awaited_as_well() -> None:
    """
    A test that calls the middleware itself has the same.
    """

    async def answer(request: HttpRequest) -> HttpResponse:
        return await view(request)

    with configure():
        request = RequestFactory().get("/", headers={NAME: "alice.signed"})
        response = asyncio.run(SessionContextMiddleware(answer)(request))
    assert response.content == JsonResponse(ALICE).content


def test_inside_another_middleware_nobody_is_asked() -> None:
    """
    R15: the user of the request is the one of the middleware outside.
    """
    with configure():
        app = asgi.SessionContextMiddleware(get_asgi_application(), Policy())
        asyncio.run(serve_asgi(app, http_scope([(NAME, "alice.signed")])))
    assert asked == []


def test_a_sync_middleware_below_makes_it_sync() -> None:
    """
    R14: nobody waits in sync mode, also under ASGI, and both ways out are named.
    """
    for start, below in ((Client, []), (get_asgi_application, [PLAIN])):
        with (
            configure(below=below),
            pytest.raises(ImproperlyConfigured, match="async function") as told,
        ):
            ask_sync() if start is Client else start()
        assert "write verify=async_to_sync(...)" in str(told.value)
        assert "leave out the lines of MIDDLEWARE that are not async" in str(told.value)


def ask_sync() -> Any:
    """
    Return what the view answers in sync mode.
    """
    return Client().get("/", headers={NAME: "alice.signed"}).json()


def test_the_function_that_the_message_names_works() -> None:
    """
    ``async_to_sync`` makes a plain function of it, under WSGI and under ASGI.
    """
    with configure(async_to_sync(verify), below=[PLAIN]):
        assert ask_sync() == ALICE
        assert asyncio.run(ask("alice.signed")) == ALICE

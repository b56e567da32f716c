"""
Django: who has logged in becomes the user ID, and the system checks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# It configures Django, which its models want to be.
from integrations.apps.django_settings import AUTHENTICATION, IDENTIFY_USER, OURS, SESSIONS

# isort: split
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, login, logout
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import call_command
from django.db import connection, connections, models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils.functional import SimpleLazyObject
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.response import Response

from idlanyard import get_session_context, get_user_id
from idlanyard.integrations.django import (
    IdentifyUserMiddleware,
    SessionContextMiddleware,
    identified,
)

LINES = [OURS, SESSIONS, AUTHENTICATION, IDENTIFY_USER]
TRUSTING = {"TRUSTED_PEERS": ["127.0.0.1"]}
BOB = {"X-User-ID": "bob"}


@pytest.fixture(scope="session")
def alice() -> Iterator[User]:
    """
    A user in a database of the tests' own.
    """
    call_command("migrate", verbosity=0)
    yield User.objects.create_user("alice")
    connections.close_all()


def who(request: HttpRequest) -> HttpResponse:
    name = request.user.get_username()
    return JsonResponse([name, get_user_id()], safe=False)


async def who_async(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return JsonResponse([user.get_username(), get_user_id()], safe=False)


def nobody_looks(request: HttpRequest) -> HttpResponse:
    return JsonResponse([get_user_id()], safe=False)


def log_in(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(username="alice"))
    return JsonResponse([get_user_id()], safe=False)


async def log_in_async(request: HttpRequest) -> HttpResponse:
    await alogin(request, await User.objects.aget(username="alice"))
    return JsonResponse([get_user_id()], safe=False)


def log_out(request: HttpRequest) -> HttpResponse:
    before = request.user.is_authenticated
    logout(request)
    return JsonResponse([before, get_user_id()], safe=False)


class Token(BaseAuthentication):
    """
    Authenticates in the view, as tokens do.
    """

    def authenticate(self, request: Any) -> Any:
        name = request.headers.get("Authorization")
        if name == "wrong":
            raise AuthenticationFailed
        return (User.objects.get(username=name), None) if name else None


IdentifiedToken = identified(Token)


@api_view(["GET"])
@authentication_classes([Token])
def by_token(request: Any) -> Response:
    return Response([get_user_id()])


@api_view(["GET"])
@authentication_classes([IdentifiedToken])
def by_identified_token(request: Any) -> Response:
    return Response([get_user_id()])


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (
        path("who", who),
        path("who-async", who_async),
        path("nobody", nobody_looks),
        path("login", log_in),
        path("login-async", log_in_async),
        path("logout", log_out),
        path("token", by_token),
        path("identified-token", by_identified_token),
    )


@contextmanager
def configured(idlanyard: Any = None, lines: Any = LINES, **others: Any) -> Iterator[Client]:
    """
    Give Django these settings, and yield a client.
    """
    settings = {"ROOT_URLCONF": Routes, "MIDDLEWARE": lines, "IDLANYARD": idlanyard} | others
    with override_settings(**settings):
        yield Client()


@pytest.mark.parametrize("route", ["/who", "/who-async"])
def test_who_has_logged_in_is_the_user(alice: User, route: str) -> None:
    """
    As soon as the view looks the user's primary key is the user ID, in the view
    and on the response.
    """
    with configured() as client:
        client.force_login(alice)
        answer = client.get(route)
    assert answer.json() == ["alice", str(alice.pk)]
    assert answer.headers["X-User-ID"] == str(alice.pk)


@pytest.mark.parametrize("route", ["/who", "/who-async"])
def test_who_has_logged_in_is_the_user_over_asgi(alice: User, route: str) -> None:
    """
    And so it is over ASGI, for sync and async views.
    """

    async def ask() -> Any:
        client: Any = AsyncClient()
        await client.aforce_login(alice)
        answer = await client.get(route)
        await sync_to_async(connections.close_all)()
        return answer

    with configured():
        answer = asyncio.run(ask())
    assert answer.json() == ["alice", str(alice.pk)]
    assert answer.headers["X-User-ID"] == str(alice.pk)


def test_nobody_is_looked_for(alice: User) -> None:
    """
    The session of a view that does not look is not touched: no query, and the
    response does not vary by cookie.
    """
    with configured() as client:
        client.force_login(alice)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get("/nobody")
        assert (answer.json(), "Vary" in answer.headers, len(queries)) == ([None], False, 0)
        assert "X-User-ID" not in answer.headers
        assert "Cookie" in client.get("/who").headers["Vary"]


def test_an_anonymous_user_leaves_the_proxys(alice: User) -> None:
    """
    R6: where nobody has logged in, the user of the trusted proxy stays; a login goes before it.
    """
    with configured(TRUSTING) as client:
        assert client.get("/who", headers=BOB).json() == ["", "bob"]
        client.force_login(alice)
        answer = client.get("/who", headers=BOB)
        assert (answer.json(), answer.headers["X-User-ID"]) == (
            ["alice", str(alice.pk)],
            str(alice.pk),
        )


@pytest.mark.parametrize("route", ["/login", "/login-async"])
def test_a_login_and_a_logout_count_at_once(alice: User, route: str) -> None:
    """
    S9: who logs in is named from there on, in the view and on the response, and who logs out
    no more.
    """
    with configured() as client:
        answer = client.get(route)
        assert (answer.json(), answer.headers["X-User-ID"]) == ([str(alice.pk)], str(alice.pk))
        answer = client.get("/logout")
        assert (answer.json(), "X-User-ID" in answer.headers) == ([True, None], False)


def test_who_is_authenticated_in_the_view_is_named_after_it(alice: User) -> None:
    """
    Django REST framework authenticates in the view; the response names the
    user, and with ``identified`` the view's own lines do so too.
    """
    lines = {"Authorization": "alice"}
    with configured() as client:
        answer = client.get("/token", headers=lines)
        assert (answer.json(), answer.headers["X-User-ID"]) == ([None], str(alice.pk))
        answer = client.get("/identified-token", headers=lines)
        assert (answer.json(), answer.headers["X-User-ID"]) == ([str(alice.pk)], str(alice.pk))


def test_who_is_not_authenticated_in_the_view_is_nobody(alice: User) -> None:
    """
    R6: without a token and with a wrong one nobody is named, and the framework's answer stays.
    """
    with configured() as client:
        answer = client.get("/identified-token")
        assert (answer.status_code, answer.json()) == (200, [None])
        answer = client.get("/identified-token", headers={"Authorization": "wrong"})
        assert (answer.status_code, "X-User-ID" in answer.headers) == (403, False)


def test_an_identified_class_is_the_class(alice: User) -> None:
    """
    It keeps name, module and docstring, and is a subclass.
    """
    assert issubclass(IdentifiedToken, Token)
    kept = IdentifiedToken.__name__, IdentifiedToken.__module__, IdentifiedToken.__doc__
    assert kept == ("Token", __name__, Token.__doc__)


def test_outside_requests_nobody_is_named(alice: User) -> None:
    """
    R2: a login without a request of ours, and a middleware without ours around it, bind nothing.
    """
    with configured(None, LINES[1:]) as client:
        client.force_login(alice)
        assert client.get("/who").json() == ["alice", None]
        assert client.get("/logout").json() == [True, None]
    assert get_session_context().is_empty()


class Person:
    """
    A user whose key is no ID.
    """

    is_authenticated = True
    pk = "a b"


def test_a_key_that_is_no_id_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: a user whose key cannot be an ID is logged once, and the request goes on.
    """

    def respond(request: Any) -> HttpResponse:
        request.user = Person()
        return HttpResponse()

    serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
    with caplog.at_level(logging.ERROR, "idlanyard"):
        for _ in range(2):
            assert serve(RequestFactory().get("/")).status_code == 200
    assert len(caplog.records) == 1
    assert "IdentifyUserMiddleware failed" in caplog.records[0].message


class DocumentKey(models.CharField):  # type: ignore[type-arg]
    """
    The key of a database that has keys of a type of its own.
    """

    def value_from_object(self, obj: Any) -> Any:
        return obj.pk.hex()


class Document(models.Model):
    """
    A user who is a document.
    """

    key = DocumentKey(primary_key=True, max_length=24)
    is_authenticated = True

    class Meta:
        app_label = "of_the_tests"


def test_a_key_of_a_type_of_its_own_is_the_text_that_django_has() -> None:
    """
    R7: a model's key that is no text, number or UUID is named as the model's field writes it.
    """

    def respond(request: Any) -> HttpResponse:
        request.user = Document(pk=b"\x65\x66")
        return HttpResponse()

    serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
    assert serve(RequestFactory().get("/")).headers["X-User-ID"] == "6566"


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(AnonymousUser(), id="anonymous"),
        pytest.param(User(username="unsaved"), id="unsaved"),
        pytest.param(None, id="none"),
    ],
)
def test_a_request_without_the_users_of_django_is_served(user: Any) -> None:
    """
    R14: without AuthenticationMiddleware, and for users that are nobody, nothing happens.
    """
    request: Any = RequestFactory().get("/")

    def respond(request: Any) -> HttpResponse:
        if user is not None:
            request.user = user
        return HttpResponse(str(get_user_id()))

    serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
    assert serve(request).content == b"None"


def test_a_user_without_a_key_is_nobody() -> None:
    """
    R6: a user who is authenticated and has no key is not the one whom the proxy has named.
    """

    def respond(request: Any) -> HttpResponse:
        request.user = User(username="unsaved")
        return HttpResponse()

    with configured(TRUSTING):
        serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
        answer = serve(RequestFactory().get("/", headers=BOB))
    assert "X-User-ID" not in answer.headers


def test_a_middleware_of_others_may_find_the_user() -> None:
    """
    A user that another middleware has put there is named once it is read, also
    where it has no async twin.
    """
    request: Any = RequestFactory().get("/")
    request.user = SimpleLazyObject(lambda: User(pk=7, username="carol"))

    def respond(request: Any) -> HttpResponse:
        before = get_user_id()
        return HttpResponse(f"{before} {request.user.username} {get_user_id()}")

    serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
    answer = serve(request)
    assert (answer.content, answer.headers["X-User-ID"]) == (b"None carol 7", "7")


def test_a_lazy_user_that_was_read_is_named() -> None:
    """
    Whom a middleware inside has put there lazily is named once the view has
    read it.
    """

    def respond(request: Any) -> HttpResponse:
        request.user = SimpleLazyObject(lambda: User(pk=7, username="carol"))
        return HttpResponse(request.user.username)

    serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
    assert serve(RequestFactory().get("/")).headers["X-User-ID"] == "7"


def test_a_login_of_another_request_names_nobody_here(alice: User) -> None:
    """
    R1: a test client that logs in and out inside a view changes nothing of the view's request.
    """

    def respond(request: Any) -> HttpResponse:
        client = Client()
        client.force_login(alice)
        client.logout()
        return HttpResponse(str(get_user_id()))

    with configured(TRUSTING):
        serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
        answer = serve(RequestFactory().get("/", headers=BOB))
    assert (answer.content, answer.headers["X-User-ID"]) == (b"bob", "bob")


def test_a_lazy_user_of_others_is_left_alone() -> None:
    """
    A lazy user that another middleware has put there since is not evaluated.
    """

    def load() -> Any:
        raise AssertionError("somebody looked")

    request: Any = RequestFactory().get("/")

    def respond(request: Any) -> HttpResponse:
        request.user = SimpleLazyObject(load)
        return HttpResponse()

    serve = SessionContextMiddleware(IdentifyUserMiddleware(respond))
    assert serve(request).status_code == 200

"""
A login whose user cannot be named leaves nobody's name, whichever hook has found it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, IntEnum
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

# It configures Django, which REST framework wants to be.
from integrations.apps.django_settings import IDENTIFY_USER, OURS

# isort: split
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client, override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from flask import Flask
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.response import Response
from werkzeug.local import LocalProxy

from idlanyard import Policy, _failures, get_session_id, get_user_id, identify, user_spec
from idlanyard.integrations.django import identified as identified_class
from idlanyard.integrations.fastapi import identified, install
from idlanyard.integrations.flask import IDLanyard

PROXY = {"X-User-ID": "alice", "X-Session-ID": "s1"}
TRUSTING = Policy(trusted_peers=["127.0.0.1"])

Find = Callable[[], Any]
Seen = tuple[int, Any, str | None, str | None]
"""
Status; session and user in the view; user and session on the response.
"""


def seen_of(answer: Any, body: Any) -> Seen:
    headers = answer.headers
    return answer.status_code, body, headers.get("X-User-ID"), headers.get("X-Session-ID")


def in_force() -> list[str | None]:
    return [get_session_id(), get_user_id()]


def ask_fastapi(find: Find) -> Seen:
    """
    FastAPI: the ID is taken from the user that a dependency returns.
    """
    app = FastAPI()
    dependency = identified(lambda: object(), user_id=lambda user: find())

    @app.get("/", dependencies=[Depends(dependency)])
    def read() -> list[str | None]:
        return in_force()

    install(app, TRUSTING)
    client = TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 1))
    answer = client.get("/", headers=PROXY)
    return seen_of(answer, answer.json())


def ask_fastapi_for_the_user(find: Find) -> Seen:
    """
    FastAPI: the user has the ID under one of the usual names.
    """
    app = FastAPI()

    class Account:
        @property
        def id(self) -> Any:
            return find()

    @app.get("/", dependencies=[Depends(identified(Account))])
    def read() -> list[str | None]:
        return in_force()

    install(app, TRUSTING)
    client = TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 1))
    answer = client.get("/", headers=PROXY)
    return seen_of(answer, answer.json())


def ask_flask(find: Find) -> Seen:
    """
    Flask: the loader returns the ID.
    """
    app = Flask(__name__)
    app.add_url_rule("/", view_func=in_force)
    IDLanyard(app, TRUSTING, user_loader=find)
    answer = app.test_client().get("/", headers=PROXY)
    return seen_of(answer, answer.json)


class Account:
    """
    A user whose key is what a test says.
    """

    is_authenticated = True
    find: Find

    @property
    def pk(self) -> Any:
        return type(self).find()


class PutThere:
    """
    A middleware that finds the user, as AuthenticationMiddleware does.
    """

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.user = SimpleLazyObject(Account)
        return self._get_response(request)


class Token(BaseAuthentication):
    """
    Authenticates in the view, as tokens do.
    """

    def authenticate(self, request: Any) -> Any:
        return Account(), None


IdentifiedToken = identified_class(Token)


def looking(request: HttpRequest) -> HttpResponse:
    assert request.user.is_authenticated
    return JsonResponse(in_force(), safe=False)


@api_view(["GET"])
@authentication_classes([IdentifiedToken])
def by_token(request: Any) -> Response:
    return Response(in_force())


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (path("looking", looking), path("token", by_token))


def asking_django(route: str, *between: str) -> Callable[[Find], Seen]:
    def ask(find: Find) -> Seen:
        Account.find = staticmethod(find)
        settings = {"ROOT_URLCONF": Routes, "MIDDLEWARE": [OURS, *between]}
        with override_settings(**settings, IDLANYARD=TRUSTING):
            answer = Client().get(route, headers=PROXY)
        return seen_of(answer, answer.json())

    return ask


HOOKS = {
    "fastapi": ask_fastapi,
    "fastapi user": ask_fastapi_for_the_user,
    "flask": ask_flask,
    "django": asking_django("/looking", f"{__name__}.PutThere", IDENTIFY_USER),
    "rest framework": asking_django("/token"),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "apostrophe": ("o'brien", "user_id is refused, character not allowed"),
    "backslash": ("CORP\\alice", "user_id is refused, character not allowed"),
    "space": ("Alice Doe", "user_id is refused, character not allowed"),
    "guest": ("a#EXT#@corp", "user_id is refused, character not allowed"),
    "distinguished name": ("CN=Alice,OU=x", "user_id is refused, character not allowed"),
    "line break": ("alice\r\nX-Admin: 1", "user_id is refused, character not allowed"),
    "not ASCII": ("zoë", "user_id is refused, character not allowed"),
    "half a character": ("al\udce9", "user_id is refused, character not allowed"),
    "whitespace": ("  ", "user_id is refused, character not allowed"),
    "negative": (-1, "user_id is refused, character not allowed"),
    "empty": ("", "user_id is refused, empty"),
    "too long": ("a" * 300, "user_id is refused, too long"),
    "endless number": (10**5000, "Exceeds the limit"),
    "bytes": (b"bob", "user_id is text, a number or a UUID, not bytes"),
    "tuple": (("bob",), "user_id is text, a number or a UUID, not tuple"),
    "dictionary": ({"id": "bob"}, "user_id is text, a number or a UUID, not dict"),
    "object": (SimpleNamespace(id="bob"), "user_id is text, a number or a UUID, not Simple"),
    "yes": (True, "user_id is text, a number or a UUID, not bool"),
    "no": (False, "user_id is text, a number or a UUID, not bool"),
    "function": (in_force, "user_id is text, a number or a UUID, not function"),
    "fraction": (1.5, "user_id is text, a number or a UUID, not float"),
    "proxy of an object": (
        LocalProxy(lambda: SimpleNamespace(id="bob")),
        "user_id is text, a number or a UUID, not SimpleNamespace",
    ),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_login_whose_id_is_refused_leaves_nobody(
    hook: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6, R14: the request goes on without a user, and not in the name that the proxy has said; the
    reason is logged once, and the value never.
    """
    value, reason = REFUSED[name]
    with caplog.at_level(logging.ERROR, "idlanyard"):
        answers = [HOOKS[hook](lambda: value) for _ in range(2)]
    assert answers == [(200, ["s1", None], None, "s1")] * 2
    (record,) = [record for record in caplog.records if record.name == "idlanyard"]
    assert reason in record.getMessage()
    assert not isinstance(value, str) or not value.strip() or value not in caplog.text


def fail() -> Any:
    raise LookupError("the database is down")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_login_that_fails_leaves_nobody(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    R6, R14: a hook that cannot say who has logged in is not answered by the proxy's word; what it
    raises is logged once, with its traceback, and the request goes on.
    """
    with caplog.at_level(logging.ERROR, "idlanyard"):
        answers = [HOOKS[hook](fail) for _ in range(2)]
    assert answers == [(200, ["s1", None], None, "s1")] * 2
    (record,) = [record for record in caplog.records if record.name == "idlanyard"]
    assert "LookupError" in record.getMessage()
    assert "the database is down" in caplog.text


def test_a_function_may_refuse_the_request() -> None:
    """
    An answer of the application's own is given, and names nobody.
    """

    def refuse() -> Any:
        raise HTTPException(403, "no member")

    status, body, user, session = ask_fastapi(refuse)
    assert (status, body, user, session) == (403, {"detail": "no member"}, None, "s1")


class Name(str, Enum):  # noqa: UP042 - the older way, whose text is not the value
    """
    A member's own text is not its value.
    """

    BOB = "bob"


class Number(IntEnum):
    """
    A number with a name.
    """

    SEVEN = 7


class Shouting(str):
    """
    Text that says something else of itself.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return "root\r\n"


ACCEPTED: dict[str, tuple[Any, str]] = {
    "text": ("bob", "bob"),
    "number": (7, "7"),
    "nought": (0, "0"),
    "uuid": (UUID(int=5), str(UUID(int=5))),
    "member of an enumeration": (Name.BOB, "bob"),
    "number of an enumeration": (Number.SEVEN, "7"),
    "text with a text of its own": (Shouting("bob"), "bob"),
    "proxy of text": (LocalProxy(lambda: "bob"), "bob"),
    "proxy of a number": (LocalProxy(lambda: 7), "7"),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", ACCEPTED)
def test_a_login_is_named(hook: str, name: str) -> None:
    """
    R7: text, a number and a UUID are IDs in every hook, and go before the proxy's word.
    """
    value, expected = ACCEPTED[name]
    assert HOOKS[hook](lambda: value) == (200, ["s1", expected], expected, "s1")


def test_each_reason_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: one reason does not hide another; the same one is counted only.
    """
    with caplog.at_level(logging.ERROR, "idlanyard"):
        for value in ("o'brien", "a b", "x" * 300, b"bob", "y" * 301):
            ask_flask(partial(getattr, SimpleNamespace(id=value), "id"))
    assert len(caplog.records) == 3
    assert sorted(_failures.failures.values()) == [2, 4, 4]
    remedies = ("charset='visible'", "max_length=300", "current_user.get_id()")
    assert all(remedy in caplog.text for remedy in remedies)


def test_what_a_remedy_says_is_accepted() -> None:
    """
    The sentence for Flask's loader, written as it stands, names the user.
    """
    app = Flask(__name__)
    app.add_url_rule("/", view_func=in_force)
    current_user = SimpleNamespace(get_id=lambda: "bob")
    IDLanyard(app, TRUSTING, user_loader=lambda: current_user.get_id())
    assert app.test_client().get("/", headers=PROXY).json == ["s1", "bob"]


def test_the_charset_that_a_remedy_names_is_accepted() -> None:
    """
    With ``charset="visible"`` an apostrophe is part of an ID.
    """
    app = Flask(__name__)
    app.add_url_rule("/", view_func=in_force)
    policy = Policy(user=user_spec(charset="visible"), trusted_peers=["127.0.0.1"])
    IDLanyard(app, policy, user_loader=lambda: "o'brien@example.com")
    assert app.test_client().get("/", headers=PROXY).json == ["s1", "o'brien@example.com"]


def test_a_refused_login_and_the_views_own_word() -> None:
    """
    R2: after a login that was refused what the view identifies stands on the response.
    """
    app = Flask(__name__)

    @app.get("/")
    def act() -> list[str | None]:
        identify(user_id="root")
        return in_force()

    IDLanyard(app, TRUSTING, user_loader=lambda: "o'brien")
    answer = app.test_client().get("/", headers=PROXY)
    assert (answer.json, answer.headers["X-User-ID"]) == (["s1", "root"], "root")


def test_a_login_that_becomes_refused_leaves_nobody() -> None:
    """
    R6: who logs in during the view and cannot be named takes the one before off the response.
    """
    app = Flask(__name__)
    found = iter(["alice", "o'brien"])
    app.add_url_rule("/", view_func=in_force)
    IDLanyard(app, TRUSTING, user_loader=lambda: next(found))
    answer = app.test_client().get("/", headers=PROXY)
    assert (answer.json, answer.headers.get("X-User-ID")) == (["s1", "alice"], None)

"""
The session cookie in applications of each framework, asked by a client that keeps cookies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path, re_path
from fastapi import FastAPI
from flask import Flask

from cookies import DELETED, KEY, NAME, OURS, POLICY, set_line, signed
from idlanyard import (
    Policy,
    forget_session_id,
    get_session_id,
    rotate_session_id,
    session_spec,
)
from idlanyard._binding.state import RequestIDs, make_request_ids
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import WSGI
from idlanyard.ids import Provenance
from idlanyard.integrations.django._responses import Responses
from idlanyard.integrations.fastapi import install
from idlanyard.integrations.flask import IDLanyard
from idlanyard.testing import raise_failures
from integrations.apps.django_settings import OURS as MIDDLEWARE

Ask: TypeAlias = Callable[[str, str], httpx.Response]
HOST = "app.example"


def home() -> str:
    return get_session_id() or ""


def login() -> str:
    return rotate_session_id()


def logout() -> str:
    forget_session_id()
    return home()


def fail() -> str:
    raise RuntimeError("of the application")


ACTS = {"": home, "login": login, "logout": logout, "fail": fail}


def for_django(act: Callable[[], str]) -> Callable[[HttpRequest], HttpResponse]:
    """
    Return a view of Django that answers with a text.
    """
    return lambda request: HttpResponse(act())


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = tuple(path(name, for_django(act)) for name, act in ACTS.items())


@contextmanager
def ask_flask(base: str) -> Iterator[Ask]:
    """
    Ask an application of Flask, set up by its configuration.
    """
    app = Flask(__name__)
    app.config["IDLANYARD_SESSION"] = {"SIGNING_KEYS": [KEY], "COOKIE": NAME}
    for name, act in ACTS.items():
        app.add_url_rule(f"/{name}", name or "home", act, methods=["GET", "POST"])
    IDLanyard(app)
    with httpx.Client(transport=httpx.WSGITransport(app), base_url=base) as client:
        yield client.request


@contextmanager
def ask_fastapi(base: str) -> Iterator[Ask]:
    """
    Ask an application of FastAPI.
    """
    app = FastAPI()
    for name, act in ACTS.items():
        app.add_api_route(f"/{name}", text_of(act), methods=["GET", "POST"])
    install(app, POLICY)
    with asking_asgi(app, base) as ask:
        yield ask


def text_of(act: Callable[[], str]) -> Callable[[], Any]:
    """
    Return an async function that does the same, as FastAPI has them.
    """

    async def act_async() -> Any:
        return act()

    return act_async


@contextmanager
def asking_asgi(app: Any, base: str) -> Iterator[Ask]:
    """
    Ask an ASGI application, each time in an event loop of its own.
    """
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=base
    )
    yield lambda method, url: asyncio.run(client.request(method, url))


@contextmanager
def configured(policy: Any = POLICY) -> Iterator[None]:
    """
    Set Django up with our middleware.
    """
    with override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=[MIDDLEWARE], IDLANYARD=policy):
        yield


@contextmanager
def ask_django(base: str) -> Iterator[Ask]:
    """
    Ask Django over WSGI, set up by its settings.
    """
    rules = {"SESSION": {"SIGNING_KEYS": [KEY], "COOKIE": NAME}}
    with configured(rules):
        transport = httpx.WSGITransport(get_wsgi_application())
        with httpx.Client(transport=transport, base_url=base) as client:
            yield client.request


@contextmanager
def ask_django_async(base: str) -> Iterator[Ask]:
    """
    Ask Django over ASGI.
    """
    with configured(), asking_asgi(get_asgi_application(), base) as ask:
        yield ask


DOORS = pytest.mark.parametrize(
    "door",
    [
        pytest.param(ask_flask, id="flask"),
        pytest.param(ask_fastapi, id="fastapi"),
        pytest.param(ask_django, id="django"),
        pytest.param(ask_django_async, id="django-async"),
    ],
)


def sorted_parts(line: str) -> list[str]:
    """
    Return the parts of a cookie's line, which Django writes in an order of its own.
    """
    # Django begins it with a space, which servers send as well.
    first, *rest = line.strip().split("; ")
    return [first, *sorted(rest)]


def cookies_of(answer: httpx.Response) -> list[list[str]]:
    """
    Return the cookies that a response sets.
    """
    return [sorted_parts(line) for line in answer.headers.get_list("set-cookie")]


def session_of(answer: httpx.Response) -> str:
    """
    Return the session that the application had.
    """
    return answer.text.strip('"')


@DOORS
def test_a_browser_keeps_its_session_until_it_logs_out(door: Any) -> None:
    """
    S9: over HTTPS the cookie is kept, replaced by a login and deleted by a logout.
    """
    with door(f"https://{HOST}") as ask, raise_failures():
        first = ask("GET", "/")
        again = ask("GET", "/")
        rotated = ask("POST", "/login")
        after = ask("GET", "/")
        gone = ask("POST", "/logout")
        fresh = ask("GET", "/")
    session, login_session = session_of(first), session_of(rotated)
    assert cookies_of(first) == [sorted_parts(set_line(session))]
    assert (session_of(again), cookies_of(again)) == (session, [])
    assert cookies_of(rotated) == [sorted_parts(set_line(login_session))]
    assert (session_of(after), login_session != session) == (login_session, True)
    assert cookies_of(gone) == [sorted_parts(DELETED)]
    assert session_of(gone) == ""
    assert session_of(fresh) not in (session, login_session)
    assert cookies_of(fresh) == [sorted_parts(set_line(session_of(fresh)))]


@DOORS
def test_a_browser_sends_none_over_plain_http(door: Any) -> None:
    """
    S9: the cookie is ``Secure``, so that a session of HTTPS is never seen on the wire.
    """
    with door(f"http://{HOST}") as ask, raise_failures():
        sessions = {session_of(ask("GET", "/")) for _ in range(3)}
    assert len(sessions) == 3


@DOORS
def test_an_error_carries_the_cookie(door: Any) -> None:
    """
    S26: the framework's answer to an error of the application begins a session as any other.
    """
    with door(f"https://{HOST}") as ask:
        failed = ask("GET", "/fail")
        after = ask("GET", "/")
    assert (failed.status_code, failed.headers["cache-control"]) == (500, "private")
    assert cookies_of(failed) == [sorted_parts(set_line(session_of(after)))]
    assert cookies_of(after) == []


def write(response: HttpResponse, session: str | None, policy: Policy = POLICY) -> list[str]:
    """
    Write the echo of a request with a fresh session, or with one that came in, and return the
    cookies.
    """
    plan = compile_policy(policy, WSGI)
    inner = RequestIDs()
    inner.policy, inner.binary, inner.echo, inner.held = plan.policy, False, None, OURS
    inner.values = (session, None, None, Provenance.SIGNED, None, None)
    with raise_failures():
        sent = Responses(plan).write_echo("POST", response, inner)
    return read_cookies(sent)


def read_cookies(response: HttpResponse) -> list[str]:
    """
    Return the cookies that a response of Django sets.
    """
    headers = [value for name, value in response.items() if name.lower() == "set-cookie"]
    return headers + [cookie.OutputString() for cookie in response.cookies.values()]


FRESH, NEXT = signed("s3"), signed("s4")


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        pytest.param(NEXT, [set_line(NEXT)], id="fresh"),
        pytest.param(OURS, [], id="came in"),
        pytest.param(None, [DELETED], id="forgotten"),
    ],
)
@pytest.mark.parametrize("own", [False, True], ids=["no other", "the application's"])
def test_a_response_that_is_returned_again_has_one_client(
    session: str | None, expected: list[str], own: bool
) -> None:
    """
    S11: a response object that a view returns again has no cookie of the client before.
    """
    response = HttpResponse()
    if own:
        response.set_cookie(NAME, "app")
    assert len(write(response, FRESH)) == 1
    said = write(response, session)
    expected = expected or ([f"{NAME}=app; Path=/"] if own else [])
    assert [*map(sorted_parts, said)] == [*map(sorted_parts, expected)]
    # Also where it is returned under rules without a cookie.
    assert write(response, session, Policy()) == ([f"{NAME}=app; Path=/"] if own else [])


class Busy:
    """
    A view that answers every request with one object.

    Attributes:
        sessions: the session of each request, by its path.
    """

    def __init__(self) -> None:
        self.response = HttpResponse("busy", status=503)
        self.sessions: dict[str, str | None] = {}
        self.urlpatterns = (re_path("", self.answer),)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """
        Return the one object.
        """
        self.sessions[request.path] = get_session_id()
        return self.response


@pytest.mark.parametrize("policy", [POLICY, Policy()], ids=["cookie", "echo"])
def test_requests_that_share_a_response_object_share_nothing_else(policy: Policy) -> None:
    """
    S11: a view may answer requests that run at the same time with one object, and each client
    gets its own session.
    """
    busy = Busy()

    async def ask_many() -> list[httpx.Response]:
        application: Any = get_asgi_application()
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
            asked = [
                transport.handle_async_request(client.build_request("GET", f"/{n}"))
                for n in range(8)
            ]
            return await asyncio.gather(*asked)

    with override_settings(ROOT_URLCONF=busy, MIDDLEWARE=[MIDDLEWARE], IDLANYARD=policy):
        answers = asyncio.run(ask_many())
    for number, answer in enumerate(answers):
        session = busy.sessions[f"/{number}"]
        assert answer.headers.get_list("x-session-id") == [session]
        lines = [sorted_parts(set_line(session))] if policy is POLICY else []
        assert cookies_of(answer) == lines


def test_a_response_that_another_request_is_sending_stays_as_it_is() -> None:
    """
    S11: headers and cookies, ours and those of later middlewares, go into a copy.
    """
    shared: Any = HttpResponse("busy", headers={"Cache-Control": "no-cache"})
    shared.set_cookie("a", "1")
    assert write(shared, FRESH)[1:] == read_cookies(shared)[1:] != []
    before = dict(shared.headers), read_cookies(shared)
    plan = compile_policy(POLICY, WSGI)
    for session in (NEXT, OURS):
        inner = RequestIDs()
        inner.policy, inner.binary, inner.echo, inner.held = plan.policy, False, None, OURS
        inner.values = (session, None, None, Provenance.SIGNED, None, None)
        with raise_failures():
            sent = Responses(plan).write_echo("POST", shared, inner)
        assert sent.content == b"busy"
        assert (sent["X-Session-ID"], sent["Cache-Control"]) == (session, "no-cache")
        sent.set_cookie("a", "2")
        sent._resource_closers.append(sent.close)
        assert (dict(shared.headers), read_cookies(shared)) == before
    assert shared._resource_closers == []


def test_a_plain_dict_of_headers_that_is_returned_again_has_one_client() -> None:
    """
    S11: a view may put a dict in the place of the headers, also of a response that it returns
    again.
    """
    response: Any = HttpResponse()
    write(response, FRESH)
    response.headers = dict(response.headers)
    plan = compile_policy(Policy(), WSGI)
    inner = make_request_ids(plan.policy, {"session_id": ("s1", Provenance.CLIENT)})
    with raise_failures():
        sent = Responses(plan).write_echo("POST", response, inner)
    assert (sent["X-Session-ID"], read_cookies(sent)) == ("s1", [])


def test_a_cookie_that_a_view_sets_again_is_its_own() -> None:
    """
    What the application writes over ours in between stays.
    """
    response = HttpResponse()
    write(response, FRESH)
    response.set_cookie(NAME, "app")
    (line,) = write(response, OURS)
    assert line.startswith(f"{NAME}=app;")
    response = HttpResponse()
    write(response, FRESH)
    del response.cookies[NAME]
    assert write(response, OURS) == []


def test_a_view_may_set_cookies_of_its_own() -> None:
    """
    R9: other cookies stay, in both places that Django has for them; the one of our name is ours.
    """
    response = HttpResponse(headers={"Set-Cookie": "b=2"})
    response.set_cookie("a", "1")
    response.set_cookie(NAME, "app")
    said = write(response, FRESH)
    assert said[:2] == ["b=2", "a=1; Path=/"]
    assert [sorted_parts(line) for line in said[2:]] == [sorted_parts(set_line(FRESH))]
    response = HttpResponse(headers={"Set-Cookie": f"{NAME}=app; Path=/"})
    (line,) = write(response, FRESH)
    assert sorted_parts(line) == sorted_parts(set_line(FRESH))


def test_a_session_with_signs_is_not_quoted() -> None:
    """
    A session comes in as it went out, also one that ``http.cookies`` would put into quotes.
    """
    session = signed("a/b=c+@d")
    (line,) = write(HttpResponse(), session)
    assert line.startswith(f"{NAME}={session};")


def test_a_login_on_a_page_with_an_etag_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """
    S9: Django's own middleware for conditional requests makes a file of each page, and a warning
    says that the login is lost.
    """
    etags = [MIDDLEWARE, "django.middleware.http.ConditionalGetMiddleware"]
    with configured(), override_settings(MIDDLEWARE=etags), raise_failures():
        said = Client().get("/login", headers={"Cookie": f"{NAME}={OURS}"})
    assert ("ETag" in said, said.cookies) == (True, {})
    assert "does not replace or delete the cookie" in caplog.text


def test_a_refused_request_gets_another_cookie() -> None:
    """
    R8: Django's answer to a session that is not ours has the cookie beside its headers.
    """
    spec = session_spec(signed=[KEY], cookie=NAME, on_invalid="reject")
    with configured(Policy(session=spec)), raise_failures():
        said = Client().get("/", headers={"Cookie": f"{NAME}=planted"})
    assert (said.status_code, said["Content-Type"]) == (400, "application/problem+json")
    cookie = said.cookies[NAME]
    assert (cookie.value, cookie["httponly"]) == (said["X-Session-ID"], True)

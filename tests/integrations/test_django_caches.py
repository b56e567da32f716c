"""
Django's responses end as caches demand, whatever of Django's own has a say in them (R9, S11).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils.cache import patch_cache_control
from django.views.decorators.cache import cache_control, never_cache

from cache_cases import CASES, Case, expected
from counting import Name
from idlanyard import EVERYONE, Policy, Provenance, user_spec
from idlanyard._binding.state import make_request_ids
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import WSGI
from idlanyard.integrations.django import SessionContextMiddleware
from idlanyard.integrations.django._responses import Responses
from idlanyard.testing import raise_failures
from integrations.apps.django_settings import OURS

IDS = {"X-Session-ID": "s1", "X-User-ID": "alice"}
ECHO = [("x-session-id", "s1"), ("x-user-id", "alice")]
POLICY = Policy(trusted_peers=EVERYONE)

now: list[Case] = []


def view(request: HttpRequest) -> HttpResponse:
    # Such middlewares exist; a cache saw the method that came in.
    request.method = "PURGE"
    response = HttpResponse(status=now[0].status, headers=dict(now[0].headers))
    if "content-type" not in {name.lower() for name, _ in now[0].headers}:
        del response["Content-Type"]
    return response


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (
        path("", view),
        path("plain", plain),
        path("never", never_cache(plain)),
        path("private", cache_control(private=True, max_age=60)(plain)),
    )


def test_the_echo_of_a_response_with_many_headers_is_linear() -> None:
    """
    S29: each header of a response is compared a bounded number of times.
    """
    response = HttpResponse(headers={"Cache-Control": "no-store"})
    for number in range(500):
        # Django keeps the name as it was given, next to the one in lower case.
        name = f"x-{number}-cache-control"
        response.headers._store[name] = (Name(name), "no-cache")
    plan = compile_policy(POLICY, WSGI)
    inner = make_request_ids(plan.policy, {"session_id": ("s1", Provenance.CLIENT)})
    Name.compared = 0
    Responses(plan).write_echo("GET", response, inner)
    assert response["X-Session-ID"] == "s1"
    assert Name.compared <= 13 * 500


def echo_of(response: HttpResponse, policy: Policy, user: str, method: Any = "GET") -> Any:
    """
    Return a response of plain headers, whose names are known, with the echo of a request.
    """
    plan = compile_policy(policy, WSGI)
    inner = make_request_ids(plan.policy, {"user_id": (user, Provenance.PEER)})
    responses = Responses(plan)
    responses.write_echo("GET", HttpResponse(headers={"X-User-ID": "known"}), inner)
    with raise_failures():
        return responses.write_echo(method, response, inner)


def test_a_response_that_is_returned_again_has_one_client() -> None:
    """
    S11: a response object that a view returns again has nothing of the client before, even
    under another policy.
    """
    response = HttpResponse()
    # Caches store no response to it, so that no header of the response is about them.
    echo_of(response, POLICY, "alice", "POST")
    renamed = user_spec(header="X-Person")
    sent = echo_of(response, Policy(user=renamed, trusted_peers=EVERYONE), "bob", "POST")
    assert (sent.get("X-User-ID"), sent["X-Person"]) == (None, "bob")


def test_a_request_without_a_method_has_its_echo() -> None:
    """
    A request that a test makes by hand has no method, and its response the echo.
    """
    for _ in range(2):
        response = HttpResponse()
        echo_of(response, POLICY, "alice", None)
        assert response["X-User-ID"] == "alice"


def test_headers_may_be_a_dict() -> None:
    """
    A view may put a dict of its own in the place of the response's headers.
    """
    response = HttpResponse()
    response.headers = {"X-App": "1"}  # type: ignore[assignment]
    echo_of(response, POLICY, "alice")
    assert (response["x-app"], response["X-User-ID"]) == ("1", "alice")


@contextmanager
def configured(*middleware: str, policy: Policy = POLICY) -> Iterator[Client]:
    """
    Serve the routes with our middleware first, and these inside.
    """
    lines = [OURS, *middleware]
    with (
        override_settings(ROOT_URLCONF=Routes, IDLANYARD=policy, MIDDLEWARE=lines),
        raise_failures(),
    ):
        yield Client()


@pytest.mark.parametrize("marks", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items() if case.once]
)
def test_each_response_ends_as_over_the_protocols(case: Case, marks: bool) -> None:
    """
    The decisions of the ASGI and the WSGI middleware about a response are Django's, too.
    """
    now[:] = [case]
    with configured(policy=Policy(trusted_peers=EVERYONE, mark_private=marks)) as client:
        said = client.generic(case.method, "/", headers=IDS)
    # What Django's own handler and test client add.
    lines = [(n.lower(), v.strip()) for n, v in said.items() if n != "Content-Length"]
    assert sorted(lines) == expected(case, ECHO, mark_private=marks)


@pytest.mark.parametrize(
    ("route", "control"),
    [
        pytest.param("/plain", {"private"}, id="says nothing"),
        pytest.param("/private", {"private", "max-age=60"}, id="cache_control"),
        pytest.param(
            "/never",
            {"max-age=0", "no-cache", "no-store", "must-revalidate", "private"},
            id="never_cache",
        ),
    ],
)
def test_what_djangos_decorators_say_stays(route: str, control: set[str]) -> None:
    """
    The words of ``cache_control`` and ``never_cache`` stay as they are, beside the echo.
    """
    with configured() as client:
        response = client.get(route, headers=IDS)
    assert {word.strip() for word in response["Cache-Control"].split(",")} == control
    assert response["X-User-ID"] == "alice"


def test_conditional_get_makes_a_file_of_every_page() -> None:
    """
    ``ConditionalGetMiddleware`` gives each page an ETag, so that it is bare unless it is private.
    """
    with configured("django.middleware.http.ConditionalGetMiddleware") as client:
        page = client.get("/plain", headers=IDS)
        again = client.get("/plain", headers={**IDS, "If-None-Match": page["ETag"]})
        private = client.get("/private", headers=IDS)
    assert (page.status_code, again.status_code) == (200, 304)
    assert not {"X-Session-ID", "X-User-ID", "Cache-Control"} & {*page.headers, *again.headers}
    assert private["X-User-ID"] == "alice"


def test_the_cache_of_the_whole_site_keeps_pages_without_ids() -> None:
    """
    Inside ours, Django's per-site cache sets ``max-age``: its pages have no IDs, from the view
    and from the cache.
    """
    caching = (
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    )
    cache.clear()
    with configured(*caching) as client:
        pages = [client.get("/plain", headers=IDS) for _ in range(2)]
        private = client.get("/never", headers=IDS)
    assert [page.headers.get("X-User-ID") for page in pages] == [None, None]
    assert "Age" not in pages[0].headers
    assert f"max-age={settings.CACHE_MIDDLEWARE_SECONDS}" in pages[1]["Cache-Control"]
    assert private["X-User-ID"] == "alice"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda response: None, id="as it was"),
        pytest.param(lambda response: patch_cache_control(response, public=True), id="public"),
    ],
)
def test_a_response_that_is_returned_again_says_what_the_view_said(change: Any) -> None:
    """
    The changes that one request made to a response which a view returns again and again are undone.
    """
    response = HttpResponse("again", headers={"Cache-Control": "no-cache", "X-User-ID": "app"})
    with configured():
        serve = SessionContextMiddleware(lambda request: response)
        first = serve(RequestFactory().get("/", headers=IDS))
        assert first["Cache-Control"] == "no-cache, private"
        assert first["X-User-ID"] == "alice"
        change(response)
        nobody = serve(RequestFactory().get("/", headers={"X-Session-ID": "s2"}))
    public = "public" in nobody["Cache-Control"]
    assert nobody.headers.get("X-Session-ID") == (None if public else "s2")
    assert nobody["X-User-ID"] == "app"


@pytest.mark.parametrize(
    "headers",
    [pytest.param({}, id="silent"), pytest.param({"Cache-Control": "no-cache"}, id="no-cache")],
)
def test_a_response_without_ids_stays_as_it_was(headers: dict[str, str]) -> None:
    """
    A response that has no ID is not made private, also if it had IDs for an earlier request.
    """
    response = HttpResponse("again", headers=headers)
    before = dict(response.items())
    with configured(policy=Policy(trusted_peers=EVERYONE, exclude=["/health"])):
        serve = SessionContextMiddleware(lambda request: response)
        serve(RequestFactory().get("/health", headers=IDS))
        assert dict(response.items()) == before
        served = serve(RequestFactory().get("/", headers=IDS))
        assert served["X-User-ID"] == "alice"
        assert "private" in served["Cache-Control"]
        serve(RequestFactory().get("/health", headers=IDS))
        assert dict(response.items()) == before

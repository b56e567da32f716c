"""
Django: settings, what a request shows, refusals, streams, and middlewares around us.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path

from drive import ask_wsgi, environ_of, http_scope, values_of
from idlanyard import (
    Policy,
    get_session_context,
    get_session_id,
    identify,
    session_context,
    subscribe,
    user_spec,
    wsgi,
)
from idlanyard._binding.state import RequestContext, ids_of_error
from idlanyard.integrations.django import SessionContextMiddleware
from idlanyard.testing import raise_failures
from integrations.apps.django_settings import OURS

TRUSTING = {"TRUSTED_PEERS": ["127.0.0.1"]}
BOB = {"X-Session-ID": "s1", "X-User-ID": "bob"}


def read(request: HttpRequest) -> HttpResponse:
    shown = {
        "META": {k: v for k, v in request.META.items() if k.startswith("HTTP_X_")},
        "headers": {k: v for k, v in request.headers.items() if k.startswith("X-")},
        "ids": get_session_context().as_dict(),
    }
    if isinstance(request, ASGIRequest):
        lines = dict(request.scope["headers"])
        shown["scope"] = {k.decode(): v.decode() for k, v in lines.items() if k[:2] == b"x-"}
    return JsonResponse(shown)


def follow(request: Any) -> HttpResponse:
    context = request.session_context
    before = context.user_id
    identify(user_id="alice")
    return JsonResponse([before, context.user_id, isinstance(context, RequestContext)], safe=False)


def forbid(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError("as it was")


async def fail_async(request: HttpRequest) -> HttpResponse:
    raise LookupError("as it was")


def download(request: HttpRequest) -> HttpResponse:
    return FileResponse(Path(__file__).open("rb"))  # type: ignore[return-value]


def cached(request: HttpRequest) -> HttpResponse:
    return HttpResponse("for all", headers={"Cache-Control": "public, max-age=60"})


class Routes:
    """
    The views of these tests.
    """

    urlpatterns = (
        path("", read),
        path("follow", follow),
        path("forbidden", forbid),
        path("fail", fail),
        path("fail-async", fail_async),
        path("file", download),
        path("cached", cached),
    )


class ReadsHeaders:
    """
    A middleware around ours that has read what the client sent.
    """

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        assert request.headers["X-User-ID"]
        return self.get_response(request)


HERE = f"{__name__}.ReadsHeaders"


@contextmanager
def configured(idlanyard: Any = None, *lines: str, **others: Any) -> Iterator[Client]:
    """
    Give Django these settings, and yield a client.
    """
    everything = {
        "ROOT_URLCONF": Routes,
        "MIDDLEWARE": lines or [OURS],
        "IDLANYARD": idlanyard,
    } | others
    with override_settings(**everything):
        yield Client(raise_request_exception=False)


def ask_async(route: str, lines: dict[str, str]) -> Any:
    async def ask() -> Any:
        client: Any = AsyncClient(raise_request_exception=False)
        return await client.get(route, headers=lines)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(None, {"session_id": "s1"}, id="nothing"),
        pytest.param({}, {"session_id": "s1"}, id="empty"),
        pytest.param(TRUSTING, {"session_id": "s1", "user_id": "bob"}, id="a mapping"),
        pytest.param(
            Policy(trusted_peers=["127.0.0.1"]),
            {"session_id": "s1", "user_id": "bob"},
            id="a policy",
        ),
        pytest.param(
            {"SESSION": None, "USER": {"ACCEPT": "anyone"}}, {"user_id": "bob"}, id="rules"
        ),
        pytest.param(
            {"USER": user_spec(accept="anyone"), "SESSION": None}, {"user_id": "bob"}, id="spec"
        ),
    ],
)
def test_the_settings_describe_the_policy(given: Any, expected: dict[str, str]) -> None:
    """
    ``settings.IDLANYARD`` is a mapping of the fields in capitals, or a Policy.
    """
    with configured(given) as client:
        assert client.get("/", headers=BOB).json()["ids"] == expected


def test_without_settings_the_environment_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A middleware without a policy uses that of the environment.
    """
    monkeypatch.setenv("IDLANYARD_TRUSTED_PEERS", "127.0.0.1")
    with configured() as client:
        assert client.get("/", headers=BOB).json()["ids"]["user_id"] == "bob"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"TRUSTED_PEER": []},
            "IDLANYARD['TRUSTED_PEER'] is no option: write IDLANYARD['TRUSTED_PEERS']",
            id="misspelt",
        ),
        pytest.param(
            {"SESSION": {"ECHOS": False}},
            "IDLANYARD['SESSION']['ECHOS'] is no option: write IDLANYARD['SESSION']['ECHO']",
            id="misspelt inside",
        ),
        pytest.param(
            {"SHARED_SECRET": ("X-Secret", "short")},
            "IDLANYARD['SHARED_SECRET']: shared_secret",
            id="short secret",
        ),
        pytest.param(["10.0.0.1"], "IDLANYARD is list: write IDLANYARD = {'TRUSTED_", id="a list"),
    ],
)
def test_wrong_settings_are_said(given: Any, message: str) -> None:
    """
    R14: they raise ImproperlyConfigured when Django builds its middleware.
    """
    with configured(given) as client, pytest.raises(ImproperlyConfigured) as caught:
        client.get("/")
    assert str(caught.value).startswith(message)
    assert "short" not in str(caught.value)


def test_a_wrong_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    R14: so does an environment that describes no policy.
    """
    monkeypatch.setenv("IDLANYARD_ENABLED", "perhaps")
    with configured() as client, pytest.raises(ImproperlyConfigured, match="IDLANYARD_ENABLED"):
        client.get("/")


def test_settings_may_change_under_a_standing_application() -> None:
    """
    ``override_settings`` reaches an application that has served before; other
    settings change nothing.
    """
    with configured() as client:
        assert "user_id" not in client.get("/", headers=BOB).json()["ids"]
        with override_settings(IDLANYARD=TRUSTING, USE_TZ=False):
            assert client.get("/", headers=BOB).json()["ids"]["user_id"] == "bob"
        assert "user_id" not in client.get("/", headers=BOB).json()["ids"]


@pytest.mark.parametrize("around", [False, True], ids=["first", "below one that has read"])
def test_a_request_shows_what_is_in_force(around: bool) -> None:
    """
    S1: META and headers have the minted session and not the spoofed user, also where a
    middleware around ours has read the headers before.
    """
    lines = [HERE, OURS] if around else [OURS]
    with configured(None, *lines) as client:
        answer = client.get("/", headers={"X-User-ID": "root", "X-Other": "o"})
    session = answer.headers["X-Session-ID"]
    assert answer.json() == {
        "META": {"HTTP_X_SESSION_ID": session, "HTTP_X_OTHER": "o"},
        "headers": {"X-Session-Id": session, "X-Other": "o"},
        "ids": {"session_id": session},
    }


@pytest.mark.parametrize("around", [False, True], ids=["first", "below one that has read"])
def test_an_async_request_shows_what_is_in_force(around: bool) -> None:
    """
    S1: and so does the ASGI scope, on raw lines that Django has joined.
    """
    lines = [HERE, OURS] if around else [OURS]
    with configured(None, *lines):
        answer = ask_async("/", {"X-User-ID": "root", "X-Other": "o"})
    session = answer.headers["X-Session-ID"]
    assert answer.json() == {
        "META": {"HTTP_X_SESSION_ID": session, "HTTP_X_OTHER": "o"},
        "headers": {"X-Session-Id": session, "X-Other": "o"},
        "scope": {"x-session-id": session, "x-other": "o"},
        "ids": {"session_id": session},
    }


def test_repeated_lines_are_no_value_over_asgi() -> None:
    """
    S4: two lines of a user are none, though META has joined them into what may look like one.
    """
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(b"x-user-id", b"bob"), (b"x-user-id", b"bob")],
        "client": ("127.0.0.1", 1),
    }
    seen: list[Any] = []

    def respond(request: Any) -> HttpResponse:
        seen.append((request.META.get("HTTP_X_USER_ID"), request.scope["headers"][:-1]))
        return HttpResponse()

    with configured(TRUSTING):
        SessionContextMiddleware(respond)(ASGIRequest(scope, io.BytesIO()))
    assert seen == [(None, [])]


def test_lines_that_can_be_read_but_once_are_known_from_meta() -> None:
    """
    S1: where Django has used up the server's iterable, the spoof does not stay in META.
    """
    lines = iter([(b"x-session-id", b"s1"), (b"x-user-id", b"root"), (b"x-other", b"o")])
    request = ASGIRequest(http_scope(headers=lines), io.BytesIO())
    with configured():
        SessionContextMiddleware(read)(request)
    assert sorted(request.scope["headers"]) == [(b"x-other", b"o"), (b"x-session-id", b"s1")]
    assert "HTTP_X_USER_ID" not in request.META


KINDS: dict[str, tuple[bytes, bytes] | None] = {
    "own": (b"x-user-id", b"root"),
    "alias": (b"x_user-id", b"root"),
    "forwarding": (b"x-forwarded-for", b"10.0.0.1"),
    "named by Connection": (b"connection", b"x-user-id"),
    "named by Connection alone": None,
    "others": (b"a", b""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_many_lines_cost_each_the_same(kind: str) -> None:
    """
    S29: no kind of line is looked for among all the others, and none of ours is left.
    """
    compared = 0

    class Counted(bytes):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return bytes.__eq__(self, other)

        __hash__ = bytes.__hash__

    def ask(count: int) -> int:
        nonlocal compared
        pair = KINDS[kind]
        named = [(b"connection", f"x-user-id, a-{n}".encode()) for n in range(count)]
        lines = [(b"a", b"")] * count + (named if pair is None else [pair] * count)
        middleware = SessionContextMiddleware(read)
        # The lines of the first such request are looked at once more, for the warning.
        scopes = [http_scope(headers=[]) for _ in range(2)]
        first, request = (ASGIRequest(scope, io.BytesIO()) for scope in scopes)
        for scope in scopes:
            scope["headers"] = [(Counted(name), value) for name, value in lines]
        middleware(first)
        compared = 0
        middleware(request)
        assert {name[:6] for name, _ in request.scope["headers"]} <= {
            b"x-sess",
            b"connec",
            b"a",
            b"x-forw",
        }
        return compared

    with configured(TRUSTING):
        few, many = ask(100), ask(1_000)
    assert many <= 11 * few + 100


def test_a_request_has_a_context_that_follows() -> None:
    """
    ``request.session_context`` says who was identified since.
    """
    with configured(TRUSTING) as client:
        assert client.get("/follow").json() == [None, "alice", True]
        assert ask_async("/follow", {}).json() == [None, "alice", True]


@pytest.mark.parametrize(
    ("route", "status"),
    [
        pytest.param("/nowhere", 404, id="404"),
        pytest.param("/forbidden", 403, id="permission"),
        pytest.param("/fail", 500, id="unhandled"),
    ],
)
def test_error_pages_have_the_echo(route: str, status: int) -> None:
    """
    R9: 404, permission errors and an unhandled 500 carry the session, over both protocols.
    """
    with configured() as client:
        for answer in (client.get(route, headers=BOB), ask_async(route, BOB)):
            assert (answer.status_code, answer.headers["X-Session-ID"]) == (status, "s1")


REQUIRED = {"USER": {"REQUIRED": True}}


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_request_is_refused(way: str) -> None:
    """
    R8: a request without a required user is answered 401 by a problem; the view never runs.
    """
    with configured(REQUIRED) as client:
        answer: Any = client.get("/", headers=BOB) if way == "sync" else ask_async("/", BOB)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["field"]) == (401, "user_id")
    assert answer.headers["X-Session-ID"] == "s1"
    assert answer.reason_phrase == "Unauthorized"


def test_the_access_line_of_a_refusal_has_its_ids() -> None:
    """
    R4: over WSGI the access line finds the IDs of a refused request in the environ.
    """
    request = RequestFactory().get("/", headers={"X-Session-ID": "s1"})
    with configured(REQUIRED):
        assert SessionContextMiddleware(lambda _: HttpResponse())(request).status_code == 401
    found = {key: value for key, value in request.META.items() if key.startswith("idlanyard.")}
    assert found == {"idlanyard.session_id": "s1"}


def test_a_second_line_adds_nothing() -> None:
    """
    R15: written twice in MIDDLEWARE there are one ID and one echo, and the demands of the inner
    policy still count.
    """
    with configured(None, OURS, OURS) as client:
        for answer in (client.get("/"), ask_async("/", {})):
            assert answer.json()["ids"] == {"session_id": answer.headers["X-Session-ID"]}


def test_a_middleware_inside_another_still_demands() -> None:
    """
    R15: inside the WSGI middleware Django's policy refuses what it requires, with one echo.
    """
    with configured(REQUIRED):
        app = wsgi.SessionContextMiddleware(get_wsgi_application(), Policy())
        status, headers, _ = ask_wsgi(app, environ_of([("X-Session-ID", "s1")]))
    assert status == "401 Unauthorized"
    assert values_of(headers, "X-Session-ID") == ["s1"]


def test_a_request_that_is_served_again_is_a_new_one() -> None:
    """
    R15: what a request that has ended holds encloses nothing.
    """
    request = RequestFactory().get("/", headers=BOB)
    with configured():
        serve = SessionContextMiddleware(lambda request: HttpResponse(str(get_session_id())))
        for _ in range(2):
            answer = serve(request)
            assert (answer.content, answer.headers["X-Session-ID"]) == (b"s1", "s1")


def test_a_file_is_sent_by_the_server_itself() -> None:
    """
    R4: a response that the server may send by its own means is handed on as it is.
    """
    with configured() as client:
        answer = client.get("/file", headers=BOB)
        assert answer.getvalue() == Path(__file__).read_bytes()
        assert answer.headers["X-Session-ID"] == "s1"
        assert "partial" not in repr(vars(answer).get("close"))
        answer.close()


SHARED = HttpResponse("the same object for all")


def test_a_response_that_is_returned_again_has_no_stranger() -> None:
    """
    S1: a view may return one object again and again; what one request was echoed does not stay.
    """
    with configured(TRUSTING):
        serve = SessionContextMiddleware(lambda request: SHARED)
        lines = BOB | {"X-Tenant-ID": "acme"}
        assert serve(RequestFactory().get("/", headers=lines)).headers["X-User-ID"] == "bob"
        answer = serve(RequestFactory().get("/", headers={"X-Session-ID": "s2"}))
    ours = {name: value for name, value in answer.items() if name.startswith("X-")}
    assert ours == {"X-Session-ID": "s2"}


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_error_of_a_stream_carries_the_ids(way: str) -> None:
    """
    R14: what the parts of a stream raise carries the snapshot, for the server's line.
    """

    def parts() -> Iterator[str]:
        yield str(get_session_id())
        raise LookupError("as it was")

    async def async_parts() -> AsyncIterator[str]:
        for part in parts():
            yield part

    def respond(request: Any) -> Any:
        return StreamingHttpResponse(parts() if way == "sync" else async_parts())

    async def collect(response: Any) -> list[Any]:
        return [part async for part in response]

    with configured():
        response = SessionContextMiddleware(respond)(RequestFactory().get("/", headers=BOB))
    with pytest.raises(LookupError, match="as it was") as caught:
        list(response) if way == "sync" else asyncio.run(collect(response))
    carried = ids_of_error(caught.value)
    assert carried is not None
    assert carried.session_id == "s1"


class Feed:
    """
    An async iterator that cannot be closed.
    """

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> str:
        return str(get_session_id())


def test_an_async_stream_that_is_left_between_parts_cleans_up_bound() -> None:
    """
    R4: left between two parts and only collected, it cleans up with its own session, not
    with that of the request that is served meanwhile; one that cannot be closed is only left.
    """
    cleaned: list[Any] = []

    async def parts() -> AsyncIterator[str]:
        try:
            while True:
                yield str(get_session_id())
        finally:
            cleaned.append(get_session_id())

    async def leave(make: Any, *, cleans: bool) -> None:
        serve = SessionContextMiddleware(lambda request: StreamingHttpResponse(make()))
        response: Any = serve(RequestFactory().get("/", headers=BOB))
        stream = aiter(response)
        assert await anext(stream) == b"s1"
        with session_context("another"):
            del stream, response
            async with asyncio.timeout(30):
                while cleans and not cleaned:
                    gc.collect()
                    await asyncio.sleep(0)

    with configured():
        asyncio.run(leave(parts, cleans=True))
        asyncio.run(leave(Feed, cleans=False))
    assert cleaned == ["s1"]


def test_a_cached_response_has_no_echo() -> None:
    """
    R9, S11: a response that a shared cache may store carries no ID.
    """
    with configured() as client:
        assert "X-Session-ID" not in client.get("/cached", headers=BOB).headers


class Unlisted:
    """
    A response whose headers cannot be read.
    """

    status_code = 200
    streaming = False

    @property
    def headers(self) -> Any:
        raise LookupError("no headers")


def test_an_echo_that_fails_leaves_the_response_alone(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: a response that cannot take headers is returned as it is, and logged once.
    """
    response = Unlisted()
    with configured():
        serve = SessionContextMiddleware(lambda request: response)
        with caplog.at_level(logging.ERROR, "idlanyard"):
            assert serve(RequestFactory().get("/")) is response
        with raise_failures(), pytest.raises(LookupError):
            serve(RequestFactory().get("/"))
    assert [record.message.split(";")[0] for record in caplog.records] == ["idlanyard: echo failed"]


@pytest.mark.parametrize("route", ["/fail", "/fail-async"])
def test_an_exception_that_leaves_carries_the_ids(route: str) -> None:
    """
    R14: with DEBUG_PROPAGATE_EXCEPTIONS the exception leaves Django, and carries the snapshot.
    """
    with configured(None, OURS, DEBUG_PROPAGATE_EXCEPTIONS=True) as client:
        with pytest.raises(LookupError, match="as it was") as caught:
            client.get(route, headers=BOB)
        with pytest.raises(LookupError, match="as it was") as again:
            ask_async(route, BOB)
    for error in (caught.value, again.value):
        carried = ids_of_error(error)
        assert carried is not None
        assert carried.session_id == "s1"
    assert get_session_id() is None


def test_an_excluded_path_has_nothing() -> None:
    """
    S24: at an excluded path nothing is bound or echoed, over both protocols.
    """
    with configured({"EXCLUDE": ["/"]}) as client:
        for answer in (client.get("/", headers=BOB), ask_async("/", BOB)):
            assert (answer.json()["ids"], "X-Session-ID" in answer.headers) == ({}, False)
            assert "s1" not in answer.text


def test_who_subscribed_is_told() -> None:
    """
    R14: subscribers hear of each request over both protocols.
    """
    told: list[str | None] = []
    undo = subscribe("bind", lambda event: told.append(event.context.session_id))
    try:
        with configured() as client:
            client.get("/", headers=BOB)
            ask_async("/", BOB)
    finally:
        undo()
    assert told == ["s1", "s1"]


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_access_logs_find_the_ids(streams: bool) -> None:
    """
    Over WSGI the environ has the IDs as they are at the end, which a stream decides too.
    """
    request = RequestFactory().get("/", headers=BOB)

    def parts() -> Iterator[str]:
        identify(user_id="alice")
        yield "a part"

    def respond(request: Any) -> Any:
        return StreamingHttpResponse(parts()) if streams else HttpResponse([*parts()])

    with configured():
        response = SessionContextMiddleware(respond)(request)
    assert [*response] == [b"a part"]
    response.close()
    found = {key: value for key, value in request.META.items() if key.startswith("idlanyard.")}
    assert found.pop("idlanyard._scope") is not None
    assert found == {"idlanyard.session_id": "s1", "idlanyard.user_id": "alice"}

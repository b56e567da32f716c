"""
The HTTP API: through each face, mounted and served for real, and its pure handler.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from werkzeug.exceptions import ImATeapot
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

import idlanyard.asgi
import idlanyard.wsgi
from idlanyard import EVERYONE, Policy, PolicyError, get_session_id, session_spec
from idlanyard.integrations import fastapi as idlanyard_fastapi
from idlanyard.integrations import starlette as idlanyard_starlette
from idlanyard.registry import (
    AsyncSessionRegistry,
    IdempotencyMismatch,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    SessionRecord,
    SessionRegistry,
)
from idlanyard.registry.asgi import asgi_app
from idlanyard.registry.fastapi import sessions_router
from idlanyard.registry.http import Call, Reply, SessionRequest, SessionsHandler
from idlanyard.registry.wsgi import wsgi_app
from registry.faces import registry_on
from registry.http_contract import (
    ASYNC,
    POLICY,
    SYNC,
    Broken,
    HTTPBasics,
    HTTPContract,
    Site,
    by_uvicorn,
    by_waitress,
    error_of,
    fresh,
    said,
    said_async,
)
from registry.naming import eventually

TESTS = Path(__file__).parents[1]
TTL = 3600.0
NOW = datetime(2025, 10, 15, 8, 34, 11, 753923, tzinfo=UTC)
GUNICORN = "-m gunicorn --preload -k gthread --threads 8 --no-control-socket -b fd://{} served"


async def close(*registries: SessionRegistry | AsyncSessionRegistry) -> None:
    """
    Close registries of either kind.
    """
    for registry in registries:
        closing = registry.close()
        if inspect.isawaitable(closing):
            await closing


class OnSQLite(HTTPBasics):
    """
    The sessions are in a file.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        """
        Return where the file is.
        """
        return f"sqlite:///{tmp_path_factory.mktemp('sessions')}/sessions.db"


class MountedInStarlette(HTTPBasics):
    """
    ``Mount`` in a Starlette application.
    """

    @classmethod
    @contextmanager
    def served(cls, url: str) -> Iterator[int]:
        """
        Serve it by uvicorn.
        """
        registries = {prefix: cls.kind.open(url, ttl=TTL) for prefix in cls.options()}

        @asynccontextmanager
        async def lifespan(_: object) -> AsyncIterator[None]:
            yield
            await close(*registries.values())

        routes = [
            Mount(prefix, asgi_app(registries[prefix], **options))
            for prefix, options in cls.options().items()
        ]
        app = Starlette(routes=routes, lifespan=lifespan)
        idlanyard_starlette.install(app, POLICY)
        with by_uvicorn(app, http="h11") as port:
            yield port


class TestStarlette(MountedInStarlette, HTTPContract):
    kind = SYNC


class TestStarletteAsync(MountedInStarlette, HTTPContract):
    kind = ASYNC


class IncludedInFastAPI(HTTPBasics):
    """
    ``include_router`` in a FastAPI application.
    """

    @classmethod
    @contextmanager
    def served(cls, url: str) -> Iterator[int]:
        """
        Serve it by uvicorn.
        """
        registries = {prefix: cls.kind.open(url, ttl=TTL) for prefix in cls.options()}

        @asynccontextmanager
        async def lifespan(_: object) -> AsyncIterator[None]:
            yield
            await close(*registries.values())

        app = FastAPI(lifespan=lifespan)
        for prefix, options in cls.options().items():
            app.include_router(sessions_router(registries[prefix], **options), prefix=prefix)
        idlanyard_fastapi.install(app, POLICY)
        with by_uvicorn(app, http="httptools") as port:
            yield port


class TestFastAPI(IncludedInFastAPI, HTTPContract):
    kind = SYNC


class TestFastAPIAsync(IncludedInFastAPI):
    kind = ASYNC


class MountedInFlask(HTTPBasics):
    """
    ``DispatcherMiddleware`` around a Flask application.
    """

    @classmethod
    @contextmanager
    def served(cls, url: str) -> Iterator[int]:
        """
        Serve it by waitress.
        """
        with ExitStack() as stack:
            mounts: dict[str, Any] = {}
            for prefix, options in cls.options().items():
                registry = stack.enter_context(SessionRegistry.open(url, ttl=TTL))
                mounts[prefix] = wsgi_app(registry, **options)
            whole = DispatcherMiddleware(Flask(__name__).wsgi_app, mounts)
            app = idlanyard.wsgi.SessionContextMiddleware(whole, POLICY)
            yield stack.enter_context(by_waitress(app))


class TestFlask(MountedInFlask, HTTPContract):
    kind = SYNC


class TestFlaskOnSQLite(MountedInFlask, OnSQLite):
    kind = SYNC


class TestStarletteAsyncOnSQLite(MountedInStarlette, OnSQLite):
    kind = ASYNC


DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="s" * 50)
urlpatterns = []

from idlanyard.registry.wsgi import wsgi_app
from idlanyard.wsgi import SessionContextMiddleware
from registry.http_contract import JSON, POLICY, SYNC, HTTPContract
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client


class Mounted(HTTPContract):
    kind = SYNC


mounts = {
    prefix: wsgi_app(SYNC.open("memory://", ttl=3600.0), **options)
    for prefix, options in Mounted.options().items()
}
application = DispatcherMiddleware(get_wsgi_application(), mounts)
application = SessionContextMiddleware(application, POLICY)
for prefix in mounts:
    # The server forks after this.
    client = Client(application)
    answer = client.post(prefix + "/session/create", json={}, headers={"X-User-ID": "x"})
    assert answer.status_code in (200, 403), answer.text
"""


class MountedInDjango(HTTPBasics):
    """
    ``DispatcherMiddleware`` around a Django application.
    """

    @classmethod
    @contextmanager
    def served(cls, url: str) -> Iterator[int]:
        """
        Serve it by gunicorn, whose worker is forked off after the application has answered.
        """
        with ExitStack() as stack:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            folder = Path(stack.enter_context(TemporaryDirectory()))
            folder.joinpath("served.py").write_text(DJANGO, encoding="utf-8")
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
            paths = (str(folder), str(TESTS), os.environ.get("PYTHONPATH"))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            log = stack.enter_context(folder.joinpath("output").open("wb"))
            words = GUNICORN.format(listening.fileno()).split()
            process = subprocess.Popen(
                [sys.executable, *words],
                pass_fds=[listening.fileno()],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
            try:
                yield listening.getsockname()[1]
            finally:
                process.terminate()
                process.wait(30)


class TestDjango(MountedInDjango):
    kind = SYNC


def ask_asgi(app: Any) -> Callable[..., Any]:
    """
    Return what sends an ASGI application one request, on an event loop of its own.
    """

    def ask(method: str, path: str, raises: bool = False, **options: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    return ask


def ask_wsgi(app: Any) -> Callable[..., Any]:
    """
    Return what sends a WSGI application one request.
    """

    def ask(method: str, path: str, raises: bool = True, **options: Any) -> Any:
        response = Client(app).open(path, method=method, **options)
        return httpx.Response(
            response.status_code, headers=list(response.headers), content=response.data
        )

    return ask


@contextmanager
def asgi(registry: Any, **options: Any) -> Iterator[Callable[..., Any]]:
    """
    The ASGI application as it is.
    """
    yield ask_asgi(asgi_app(registry, **options))


@contextmanager
def fastapi(registry: Any, **options: Any) -> Iterator[Callable[..., Any]]:
    """
    The router in an application.
    """
    app = FastAPI()
    app.include_router(sessions_router(registry, **options))
    yield ask_asgi(app)


@contextmanager
def wsgi(registry: Any, **options: Any) -> Iterator[Callable[..., Any]]:
    """
    The WSGI application as it is.
    """
    yield ask_wsgi(wsgi_app(registry, **options))


FACES = [asgi, fastapi, wsgi]
ON_LOOPS = [asgi, fastapi]
# Nothing is awaited on WSGI.
PLAIN_OR_AWAITED = pytest.mark.parametrize(
    ("face", "awaited"), [(face, kind) for face in FACES for kind in (False, True)][:-1]
)
BUILDERS = [asgi_app, sessions_router, wsgi_app, SessionsHandler]


class Allowing:
    """
    An instance that is called, and awaited.
    """

    async def __call__(self, request: SessionRequest) -> bool:
        return request.action in ("create", "input")


async def allowing(request: SessionRequest, *, also: str = "") -> bool:
    """
    Allow everything but reading.
    """
    return request.action in ("create", "input", also)


@pytest.mark.parametrize("face", ON_LOOPS)
@pytest.mark.parametrize("opened", [SessionRegistry.open, AsyncSessionRegistry.open])
@pytest.mark.parametrize(
    "on_input", [said, said_async, partial(said_async), lambda *a: said_async(*a)]
)
@pytest.mark.parametrize(
    "authorize",
    [
        lambda request: request.action in ("create", "input"),
        allowing,
        partial(allowing, also=""),
        Allowing(),
        lambda request: allowing(request),
    ],
)
def test_on_loops_every_kind_is_taken(
    face: Any, opened: Any, on_input: Any, authorize: Any
) -> None:
    """
    Either registry, and plain and async functions of any kind, on a loop.
    """
    with face(opened("memory://"), on_input=on_input, authorize=authorize) as ask:
        assert ask("POST", "/session/create", json={"session_id": "s1"}).status_code == 200
        answer = ask("POST", "/session/s1/input", json={"x": 1})
        assert answer.json() == {"body": {"x": 1}, "bound": "s1", "record": "s1"}
        assert ask("GET", "/session/s1").status_code == 403
    assert get_session_id() is None


@PLAIN_OR_AWAITED
@pytest.mark.parametrize("answer", [1, "yes", [True], None, False, object()])
def test_only_true_allows(face: Any, answer: object, awaited: bool) -> None:
    """
    Every answer of authorize but True itself is a no.
    """

    async def authorize(request: SessionRequest) -> Any:
        return answer

    allowed: Any = authorize if awaited else lambda request: answer
    with face(SessionRegistry.open("memory://"), authorize=allowed) as ask:
        assert ask("POST", "/session/create").status_code == 403


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    "options", [{}, {"authorize": None}, {"authorize": True}, {"authorize": "everyone"}]
)
def test_authorize_must_be_given(build: Any, options: dict[str, Any]) -> None:
    """
    Leaving authorize out raises, and the sentence spells out EVERYONE.
    """
    with pytest.raises(TypeError, match="EVERYONE"):
        build(SessionRegistry.open("memory://"), **options)


@pytest.mark.parametrize("build", BUILDERS)
def test_options_are_checked_when_built(build: Any) -> None:
    """
    R14: what cannot be followed raises when the face is built, with a sentence.
    """
    registry = SessionRegistry.open("memory://")
    with pytest.raises(TypeError, match=r"SessionRegistry\.open"):
        build("memory://", authorize=EVERYONE)
    with pytest.raises(TypeError, match="on_input"):
        build(registry, authorize=EVERYONE, on_input="x")
    for most in (0, -1, True, 1.5, "65536", None):
        with pytest.raises(PolicyError, match="max_body"):
            build(registry, authorize=EVERYONE, max_body=most)


@pytest.mark.parametrize("face", FACES)
def test_the_limit_is_an_option(face: Any) -> None:
    """
    Max_body is the most bytes of a body.
    """
    with face(SessionRegistry.open("memory://"), authorize=EVERYONE, max_body=2) as ask:
        assert ask("POST", "/session/create", json={}).status_code == 200
        assert ask("POST", "/session/create", json={"a": 1}).status_code == 413


class Down:
    """
    A store that does not answer until it is told to; see ``Store``.
    """

    def __init__(self) -> None:
        self.up = False

    def ask(self, question: object) -> None:
        """
        Answer a question with an outage, or as an empty store would.
        """
        if not self.up:
            raise RegistryUnavailable("redis") from ConnectionError("redis.internal:6379")

    def close(self) -> Any:
        """
        Close nothing.
        """


class AsyncDown(Down):
    """
    The same as an ``AsyncStore``.
    """

    async def ask(self, question: object) -> None:  # type: ignore[override]
        """
        Answer a question with an outage, or as an empty store would.
        """
        super().ask(question)

    async def close(self) -> Any:
        """
        Close nothing.
        """


def broken(store: Any) -> SessionRegistry | AsyncSessionRegistry:
    """
    Return the registry on a store that is down.
    """
    kind = AsyncSessionRegistry if isinstance(store, AsyncDown) else SessionRegistry
    registry: SessionRegistry | AsyncSessionRegistry = registry_on(store, kind)
    return registry


@pytest.mark.parametrize(
    ("face", "store"), [(face, store) for face in FACES for store in (Down, AsyncDown)][:-1]
)
@pytest.mark.parametrize("authorize", [EVERYONE, lambda request: request.action != "read"])
def test_a_store_that_is_down_is_seen(
    face: Any, store: Any, authorize: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    503 with Retry-After and no detail; the log has the cause, once.
    """
    kept = store()
    with face(broken(kept), on_input=said, authorize=authorize) as ask:
        for method, target in (
            ("POST", "create"),
            ("GET", "s1"),
            ("PATCH", "s1"),
            ("DELETE", "s1"),
            ("POST", "s1/input"),
        ):
            body: dict[str, Any] | None = {} if method in ("POST", "PATCH") else None
            answer = ask(method, f"/session/{target}", json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            said_so = answer.json()
            assert said_so.keys() == {"error", "message", "timestamp"}
            assert said_so["error"] == "HTTPException"
            assert "redis" not in answer.text
        records = [record for record in caplog.records if record.name == "idlanyard"]
        assert [record.levelno for record in records] == [logging.ERROR]
        assert "redis.internal:6379" in caplog.text
        kept.up = True
        assert ask("POST", "/session/create", json={"session_id": "s1"}).status_code == 409
        ask("GET", "/session/s1")
        kept.up = False
        ask("POST", "/session/s1/input", json={})
        levels = [record.levelno for record in caplog.records if record.name == "idlanyard"]
        assert levels == [logging.ERROR, logging.WARNING, logging.ERROR]


@pytest.mark.parametrize("face", FACES)
def test_an_expired_session_is_unknown(face: Any) -> None:
    """
    Expired is absent to every route, and its ID is free.
    """
    registry = SessionRegistry.open("memory://", ttl=0.02)
    with face(registry, on_input=said, authorize=EVERYONE) as ask:
        ask("POST", "/session/create", json={"session_id": "s1"})
        eventually(lambda: bool(ask("GET", "/session/s1").status_code == 404))
        assert ask("DELETE", "/session/s1").status_code == 404
        assert ask("POST", "/session/s1/input", json={}).status_code == 404
        assert ask("POST", "/session/create", json={"session_id": "s1"}).status_code == 200


@pytest.mark.parametrize("face", FACES)
def test_a_generator_that_repeats_is_a_failure_of_the_service(face: Any) -> None:
    """
    A minted ID that is taken is an error of the application, and the caller learns nothing.
    """
    registry = SessionRegistry.open("memory://", mint=lambda: "somebody-s")
    with face(registry, authorize=EVERYONE) as ask:
        assert ask("POST", "/session/create").status_code == 200
        with pytest.raises(SessionExists):
            ask("POST", "/session/create", raises=True)
        if face is not wsgi:
            answer = ask("POST", "/session/create")
            assert (answer.status_code, "somebody" in answer.text) == (500, False)


RAISED = [
    SessionNotFound("x"),
    SessionExists("x"),
    IdempotencyMismatch("x"),
    ValueError("x"),
    Broken(),
]


@PLAIN_OR_AWAITED
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_on_input_raises_goes_through(face: Any, error: Exception, awaited: bool) -> None:
    """
    An error of the application is the framework's to handle, even one that a registry raises, too.
    """

    def on_input(record: SessionRecord, body: dict[str, Any]) -> None:
        raise error

    async def on_input_async(record: SessionRecord, body: dict[str, Any]) -> None:
        raise error

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    given: Any = on_input_async if awaited else on_input
    with face(registry, on_input=given, authorize=EVERYONE) as ask:
        with pytest.raises(type(error)) as raised:
            ask("POST", "/session/s1/input", raises=True, json={})
        assert raised.value is error
    assert get_session_id() is None


@PLAIN_OR_AWAITED
def test_a_stray_stop_ends_nothing_but_the_request(face: Any, awaited: bool) -> None:
    """
    R14: a StopIteration out of on_input is an error like any other, and leaves nobody waiting.
    """

    def on_input(record: SessionRecord, body: dict[str, Any]) -> Any:
        return next(iter([]))

    async def on_input_async(record: SessionRecord, body: dict[str, Any]) -> Any:
        return next(iter([]))

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    given: Any = on_input_async if awaited else on_input
    with (
        face(registry, on_input=given, authorize=EVERYONE) as ask,
        pytest.raises(RuntimeError, match="StopIteration"),
    ):
        ask("POST", "/session/s1/input", raises=True, json={})


def test_the_framework_s_handlers_see_what_on_input_raises() -> None:
    """
    Handlers of the application around it apply, in each framework's own way.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("s1")

    def broken_here(record: SessionRecord, body: dict[str, Any]) -> None:
        raise {"own": Broken(), "http": HTTPException(418), "werkzeug": ImATeapot()}[body["raise"]]

    async def handled(_: object, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(type(error).__name__, 599)

    options: dict[str, Any] = {"on_input": broken_here, "authorize": EVERYONE}
    starlette = Starlette(
        routes=[Mount("/", asgi_app(registry, **options))], exception_handlers={Broken: handled}
    )
    api = FastAPI(exception_handlers={Broken: handled})
    api.include_router(sessions_router(registry, **options))
    for app in (starlette, api):
        answer = ask_asgi(app)("POST", "/session/s1/input", json={"raise": "own"})
        assert (answer.status_code, answer.text) == (599, "Broken")
        assert ask_asgi(app)("POST", "/session/s1/input", json={"raise": "http"}).status_code == 418
    ask = ask_wsgi(wsgi_app(registry, **options))
    assert ask("POST", "/session/s1/input", json={"raise": "werkzeug"}).status_code == 418


def test_a_waiting_function_does_not_hold_the_loop() -> None:
    """
    A plain on_input runs in a worker thread, and other requests go on.
    """
    registry = SessionRegistry.open("memory://")
    released = threading.Event()

    def on_input(record: SessionRecord, body: dict[str, Any]) -> Any:
        if body.get("release"):
            released.set()
        return {"released": released.wait(20), "thread": threading.current_thread().name}

    app = asgi_app(registry, on_input=on_input, authorize=EVERYONE)

    async def both() -> list[Any]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.post("/session/create", json={"session_id": "s1"})
            asked = [client.post("/session/s1/input", json={"release": r}) for r in (False, True)]
            return [answer.json() for answer in await asyncio.gather(*asked)]

    answers = asyncio.run(both())
    assert [answer["released"] for answer in answers] == [True, True]
    assert threading.current_thread().name not in {answer["thread"] for answer in answers}


POLICIES = [
    pytest.param("a!b", Policy(), False, id="default"),
    pytest.param("a!b", Policy(session=session_spec(charset="visible")), True, id="visible"),
    pytest.param("x" * 300, Policy(session=session_spec(max_length=1024)), True, id="long"),
    pytest.param("s1", Policy(session=None), True, id="no session of its own"),
    pytest.param("s\u00e9", Policy(session=session_spec(charset="visible")), False, id="non-ASCII"),
]


@pytest.mark.parametrize("face", [asgi, wsgi])
@pytest.mark.parametrize(("name", "policy", "is_bound"), POLICIES)
def test_the_policy_in_force_says_what_is_bound(
    face: Any, name: str, policy: Policy, is_bound: bool
) -> None:
    """
    R7, R10: whether a session's ID is bound is up to the rules of the request's own middleware.
    """
    registry = SessionRegistry.open("memory://")
    registry.create(name)
    options: dict[str, Any] = {"on_input": said, "authorize": EVERYONE}
    if face is asgi:
        around = idlanyard.asgi.SessionContextMiddleware(asgi_app(registry, **options), policy)
        ask = ask_asgi(around)
    else:
        ask = ask_wsgi(
            idlanyard.wsgi.SessionContextMiddleware(wsgi_app(registry, **options), policy)
        )
    answer = ask("POST", f"/session/{name}/input", json={})
    assert answer.json()["record"] == name
    assert (answer.json()["bound"] == name) is is_bound
    if policy.session is not None:
        assert (answer.headers["x-session-id"] == name) is is_bound


def test_it_is_served_as_it_is() -> None:
    """
    The applications need no framework around them.
    """
    registry = SessionRegistry.open("memory://")
    options: dict[str, Any] = {"on_input": said, "authorize": EVERYONE}
    with by_uvicorn(asgi_app(registry, **options), lifespan="on") as port:
        served(Site(port))
    with by_uvicorn(asgi_app(registry, **options), root_path="/behind/a/proxy") as port:
        served(Site(port))
    with by_waitress(wsgi_app(registry, **options)) as port:
        served(Site(port))


def served(site: Site) -> None:
    """
    Check that a site serves the API at its root.
    """
    name = fresh("a/b")
    assert site.create("", session_id=name).status == 200
    assert site.input(name, "").json["bound"] == name
    assert site.at("DELETE", name, "").status == 200
    error_of(site.at("GET", name, ""), 404)
    for target in ("/session/", "/sessions", "/"):
        assert (site.ask("GET", target).status, site.ask("GET", target).is_ours()) == (404, False)


@pytest.mark.parametrize("raw", [{}, {"raw_path": None}, {"raw_path": b"/session/%FF"}])
def test_a_server_that_says_no_raw_path_is_not_believed(raw: dict[str, Any]) -> None:
    """
    U+FFFD in a path may be what a server made of bytes; only the raw path can tell.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("\ufffd")
    app = asgi_app(registry, authorize=EVERYONE)
    path = "/session/\ufffd"
    assert answered(app, {"path": path} | raw) == 404
    assert answered(app, {"path": path, "raw_path": b"/session/%EF%BF%BD"}) == 200


def test_a_client_that_goes_away_is_no_error() -> None:
    """
    R14: a body that is broken off raises nothing, and creates nothing.
    """
    registry = SessionRegistry.open("memory://")
    app = asgi_app(registry, authorize=EVERYONE)
    scope = {"path": "/session/create", "method": "POST"}
    half: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"session_id": "s1"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert answered(app, scope, *half) == 400
    assert not registry.exists("s1")


def test_authorize_sees_the_headers_that_came_before_the_body() -> None:
    """
    S1: a line that a server appends to its headers while the body is read names nobody.
    """
    lines: list[tuple[bytes, bytes]] = []
    asked: list[SessionRequest] = []

    def authorize(request: SessionRequest) -> bool:
        asked.append(request)
        return True

    class Late(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            lines.append((b"x-user-id", b"mallory"))
            return super().__getitem__(name)

    app = asgi_app(SessionRegistry.open("memory://"), authorize=authorize)
    scope = {"path": "/session/create", "method": "POST", "headers": lines}
    assert answered(app, scope, Late(type="http.request", body=b"", more_body=False)) == 200
    assert [dict(request.headers) for request in asked] == [{}]


def answered(app: Any, given: dict[str, Any], *messages: dict[str, Any]) -> int:
    """
    Return the status of a request whose scope and messages are given by hand.
    """
    statuses: list[int] = []
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left)

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    asyncio.run(app(scope | given, receive, send))
    return statuses[0]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        pytest.param({}, 200, id="none"),
        pytest.param({"HTTP_TRANSFER_ENCODING": "chunked"}, 411, id="chunks without an end"),
        pytest.param(
            {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}, 200, id="chunks"
        ),
        pytest.param(
            {"wsgi.input_terminated": True, "wsgi.input": b"{}".ljust(65_536)}, 200, id="as long"
        ),
        pytest.param(
            {"wsgi.input_terminated": True, "wsgi.input": b"{}".ljust(65_537)}, 413, id="longer"
        ),
        pytest.param({"CONTENT_LENGTH": "20"}, 400, id="less than declared"),
        pytest.param({"CONTENT_LENGTH": "20", "wsgi.input_terminated": True}, 400, id="cut off"),
        pytest.param({"CONTENT_LENGTH": "-5"}, 400, id="negative"),
        pytest.param({"CONTENT_LENGTH": "x"}, 400, id="no number"),
        pytest.param({"CONTENT_LENGTH": "9" * 5000}, 400, id="5,000 digits"),
        pytest.param({"CONTENT_LENGTH": "9" * 18}, 413, id="18 digits"),
        pytest.param({"CONTENT_LENGTH": "\u0662"}, 400, id="digits of another script"),
        pytest.param({"CONTENT_LENGTH": ""}, 200, id="empty"),
        pytest.param({"PATH_INFO": "/session/\u4f1a"}, 404, id="a path that is no bytes"),
        pytest.param({"PATH_INFO": "/session/\xff"}, 404, id="a path that is no text"),
        pytest.param({"PATH_INFO": ""}, 404, id="no path"),
    ],
)
def test_what_wsgi_servers_hand_over(more: dict[str, Any], status: int) -> None:
    """
    S29: a body that is not all there creates nothing, and no environment causes a 5xx.
    """
    registry = SessionRegistry.open("memory://")
    app = wsgi_app(registry, authorize=EVERYONE)
    body = more.get("wsgi.input", b"{}" if "20" in more.values() else b"")
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/session/create",
        "CONTENT_TYPE": "application/json" if body else "",
        **more,
        "wsgi.input": BytesIO(body),
    }
    statuses: list[str] = []
    said_so = app(environ, lambda line, *_: statuses.append(line))  # type: ignore[arg-type]
    assert b"".join(said_so)
    assert statuses[0].startswith(str(status))


def test_the_schema() -> None:
    """
    The schema has every route with its bodies, replies and errors.
    """
    registry = SessionRegistry.open("memory://")
    app = FastAPI()
    app.include_router(sessions_router(registry, on_input=said, authorize=EVERYONE), prefix="/v1")
    idlanyard_fastapi.install(app)
    schema = app.openapi()
    seen = {
        (method, path): (set(operation["responses"]), "requestBody" in operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }
    assert seen == {
        ("post", "/v1/session/create"): ({"200", "403", "409", "413", "422", "500", "503"}, True),
        ("post", "/v1/session/{session_id}/input"): (
            {"200", "403", "404", "413", "422", "500", "503"},
            True,
        ),
        ("get", "/v1/session/{session_id}"): ({"200", "403", "404", "500", "503"}, False),
        ("patch", "/v1/session/{session_id}"): (
            {"200", "403", "404", "413", "422", "500", "503"},
            True,
        ),
        ("delete", "/v1/session/{session_id}"): ({"200", "403", "404", "500", "503"}, False),
    }
    models = schema["components"]["schemas"]
    assert set(models) == {"SessionCreated", "SessionState", "SessionEnded", "ErrorReply"}
    assert set(models["SessionCreated"]["required"]) == {
        "session_id",
        "created_at",
        "expires_at",
        "status",
        "message",
    }
    assert set(models["ErrorReply"]["required"]) == {"error", "message", "timestamp"}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            named = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert named == (["session_id"] if "{session_id}" in path else ["Idempotency-Key"])
    for method, path, known in (
        ("post", "/v1/session/create", {"session_id", "client_id", "metadata", "ttl"}),
        ("patch", "/v1/session/{session_id}", {"metadata", "ttl"}),
    ):
        body = schema["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["properties"]) == known
        assert body["additionalProperties"] is False
    bare = FastAPI()
    bare.include_router(sessions_router(registry, authorize=EVERYONE))
    assert not [path for path in bare.openapi()["paths"] if path.endswith("input")]


def test_a_router_below_a_path_of_its_own() -> None:
    """
    A prefix may have parameters, routers may be nested, and IDs stay whole.
    """
    registry = SessionRegistry.open("memory://")
    outer = FastAPI()
    outer.include_router(sessions_router(registry, authorize=EVERYONE), prefix="/t/{tenant}/v1")
    ask = ask_asgi(outer)
    assert ask("POST", "/t/acme/v1/session/create", json={"session_id": "a/b"}).status_code == 200
    assert ask("GET", "/t/acme/v1/session/a%2Fb").json()["session_id"] == "a/b"
    assert ask("GET", "/t/acme/v1/session/").json() == {"detail": "Not Found"}


def put(handling: Any, *results: object) -> tuple[list[Call], Reply]:
    """
    Return the calls that a handler asks for, and its reply, given the results of the calls.
    """
    calls: list[Call] = []
    rest = iter(results)
    try:
        call = next(handling)
        while True:
            calls.append(call)
            result = next(rest)
            raising = isinstance(result, Exception)
            call = handling.throw(result) if raising else handling.send(result)
    except StopIteration as done:
        return calls, done.value


def names(calls: list[Call]) -> list[str]:
    """
    Return the names of the functions that were to be called.
    """
    return [getattr(call.function, "func", call.function).__name__ for call in calls]


RECORD = SessionRecord(session_id="s1", client_id="c1", metadata={"a": 1}, created_at=NOW)


def handler(**options: Any) -> SessionsHandler:
    """
    Return a handler whose registry nobody asks.
    """
    options = {"on_input": said, "authorize": may_all, "clock": lambda: NOW} | options
    return SessionsHandler(SessionRegistry.open("memory://"), **options)


def may_all(request: SessionRequest) -> bool:
    """
    Stands for an authorize that nobody calls here.
    """
    raise AssertionError


def test_the_handler_asks_and_never_does() -> None:
    """
    The handler yields its calls in order, and makes none of them itself.
    """
    calls, reply = put(
        handler().handle("input", "s1", JSON_LINES, b"{}"), RECORD, True, RECORD, {"x": 1}
    )
    assert names(calls) == ["get", "may_all", "touch", "said"]
    assert [call.is_verb for call in calls] == [True, False, True, False]
    assert [call.session_id for call in calls] == [None, None, None, "s1"]
    assert reply.body == b'{"x": 1}'


def test_the_handler_asks_no_more_than_it_must() -> None:
    """
    If nobody is checked, one atomic verb finds a session and extends it.
    """
    open_ = handler(authorize=EVERYONE)
    action: Any
    calls, _ = put(open_.handle("input", "s1", JSON_LINES, b"{}"), RECORD, None)
    assert names(calls) == ["touch", "said"]
    for action, verb in (("update", "touch"), ("end", "end"), ("read", "get")):
        calls, _ = put(open_.handle(action, "s1", {}, b""), RECORD)
        assert names(calls) == [verb]
    calls, _ = put(handler().handle("read", "s1", {}, b""), RECORD, True)
    assert names(calls) == ["get", "may_all"]


JSON_LINES = {"content-type": "application/json"}


def test_nothing_is_asked_about_a_body_that_is_refused() -> None:
    """
    Authorize is asked about requests that have a valid body, and once.
    """
    for body in (None, b"{", b'{"session_id": 1}'):
        assert put(handler().handle("create", None, JSON_LINES, body))[0] == []
        assert put(handler().handle("input", "s1", JSON_LINES, body))[0] == []


def test_who_may_not_changes_nothing() -> None:
    """
    Authorize is asked before anything is changed, and about create before 409.
    """
    calls, reply = put(handler().handle("create", None, {}, b""), False)
    assert ([call.function for call in calls], reply.status) == ([may_all], 403)
    for action in ("read", "update", "end", "input"):
        body = b"{}" if action in ("update", "input") else b""
        for known in (RECORD, SessionNotFound("s1")):
            lines = JSON_LINES if body else {}
            calls, reply = put(handler().handle(action, "s1", lines, body), known, False)
            assert names(calls) == ["get", "may_all"]
            assert reply.status == 403


@pytest.mark.parametrize(
    ("action", "body", "session_id", "record"),
    [
        ("create", b'{"session_id": "s2", "ttl": 1}', "s2", None),
        ("create", b'{"session_id": ""}', None, None),
        ("create", b"", None, None),
        ("read", b"", "s1", RECORD),
        ("update", b'{"ttl": 1}', "s1", RECORD),
        ("end", b"", "s1", RECORD),
        ("input", b'{"x": 1}', "s1", RECORD),
    ],
)
def test_what_authorize_gets(
    action: Any, body: bytes, session_id: str | None, record: SessionRecord | None
) -> None:
    """
    The action, the session asked for and what is known of it, body and headers.
    """
    lines = {"authorization": "Bearer t0p"} | (JSON_LINES if body else {})
    path = None if action == "create" else "s1"
    given = [RECORD, False] if record else [False]
    calls, _ = put(handler().handle(action, path, lines, body), *given)
    (request,) = calls[-1].arguments
    assert (request.action, request.session_id, request.record) == (action, session_id, record)
    assert request.headers == lines
    assert dict(request.body) == (json.loads(body) if body else {})
    assert "t0p" not in repr(request)
    with pytest.raises(TypeError):
        request.body["x"] = 2
    with pytest.raises(FrozenInstanceError):
        request.action = "read"


def test_an_answer_nobody_awaited_is_no_yes() -> None:
    """
    A coroutine is an object like any other, and allows nothing.
    """

    async def never() -> bool:
        return True

    coroutine = never()
    _, reply = put(handler().handle("create", None, {}, b""), coroutine)
    coroutine.close()
    assert reply.status == 403


def test_a_session_that_was_exchanged_meanwhile_is_another_one() -> None:
    """
    Input that was authorised for one session never reaches its successor.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("s1", client_id="alice")
    inputs: list[SessionRecord] = []

    def authorize(request: SessionRequest) -> bool:
        # Between the call and its result, somebody else gets the ID.
        registry.end("s1")
        registry.create("s1", client_id="bob")
        return request.record is not None and request.record.client_id == "alice"

    app = wsgi_app(
        registry, on_input=lambda record, body: inputs.append(record), authorize=authorize
    )
    assert ask_wsgi(app)("POST", "/session/s1/input", json={}).status_code == 404
    assert inputs == []


def test_who_may_end_one_session_ends_no_other() -> None:
    """
    An end that was authorised for one session spares its successor.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("s1", client_id="alice")

    def authorize(request: SessionRequest) -> bool:
        registry.end("s1")
        registry.create("s1", client_id="bob")
        return request.record is not None and request.record.client_id == "alice"

    app = wsgi_app(registry, authorize=authorize)
    assert ask_wsgi(app)("DELETE", "/session/s1").status_code == 404
    assert registry.get("s1").client_id == "bob"


def test_the_moment_of_an_error() -> None:
    """
    An error is stamped by the handler's clock, in ISO 8601 with Z.
    """
    _, reply = put(handler().handle("read", "s1", {}, b""), SessionNotFound("s1"), True)
    expected = (
        b'{"error": "HTTPException", "message": "Session ID \'s1\' not found.", '
        b'"timestamp": "2025-10-15T08:34:11.753923Z"}'
    )
    assert reply == Reply(
        404, (("Content-Type", "application/json"), ("Cache-Control", "no-store")), expected
    )
    on_the_second = handler(clock=lambda: NOW.replace(microsecond=0))
    _, reply = put(on_the_second.handle("create", None, {}, None))
    assert b'"timestamp": "2025-10-15T08:34:11.000000Z"' in reply.body


def test_lines_of_one_name_are_joined() -> None:
    """
    S4: authorize sees every line of a header, so that a second one cannot pass for the first.
    """
    seen: list[str] = []

    def authorize(request: SessionRequest) -> bool:
        seen.append(request.headers["authorization"])
        return False

    ask = ask_asgi(asgi_app(SessionRegistry.open("memory://"), authorize=authorize))
    ask("POST", "/session/create", headers=[("Authorization", "a"), ("authorization", "b")])
    assert seen == ["a, b"]


def test_a_task_that_is_cancelled_leaves_nothing_bound() -> None:
    """
    R3: a request that is cancelled amid on_input takes its binding along.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    left: list[str | None] = []

    async def on_input(record: SessionRecord, body: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append(get_session_id())

    async def cancelled() -> str | None:
        app = asgi_app(registry, on_input=on_input, authorize=EVERYONE)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://x"
        ) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.post("/session/s1/input", json={})
        return get_session_id()

    assert asyncio.run(cancelled()) is None
    assert left == ["s1"]


def test_the_example(tmp_path: Path) -> None:
    """
    The example creates, echoes and refuses, with the middleware around.
    """
    examples = Path(__file__).parents[2] / "examples"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # The command at its top, on a socket that listens already.
        text = examples.joinpath("registry_app.py").read_text(encoding="utf-8")
        (command,) = re.findall(r"^    uvicorn (.*)$", text, re.MULTILINE)
        words = command.replace("examples", str(examples)).split()
        words += ["--fd", str(listening.fileno())]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
        with tmp_path.joinpath("output").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *words],
                pass_fds=[listening.fileno()],
                env=environment,
                stdout=log,
                stderr=log,
            )
        try:
            site = Site(listening.getsockname()[1])
            assert site.create(user="alice", session_id="s1", client_id="alice").status == 200
            assert site.create(user="alice", session_id="s2", client_id="bob").status == 200
            assert site.at("GET", "s2", user="bob").status == 403
            assert site.create(user="alice", session_id="s1", client_id="alice").status == 409
            answer = site.input("s1", user="alice", user_input="hello")
            assert answer.json == {"session_id": "s1", "heard": "hello"}
            assert (answer.headers["x-session-id"], answer.headers["x-user-id"]) == ("s1", "alice")
            assert site.at("GET", "s1", user="bob").status == 403
            assert site.at("GET", "s1").status == 403
        finally:
            process.terminate()
            process.wait(30)
    output = tmp_path.joinpath("output").read_text(encoding="utf-8")
    assert "input in session s1" in output
    assert "Traceback" not in output

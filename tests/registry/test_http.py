"""
The HTTP API through each face, mounted and served, and the options of a face.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
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
from idlanyard.registry.http import SessionRequest, SessionsHandler
from idlanyard.registry.wsgi import wsgi_app
from registry.asking_faces import (
    FACES,
    ON_LOOPS,
    PLAIN_OR_AWAITED,
    asgi,
    ask_asgi,
    ask_wsgi,
    wsgi,
)
from registry.faces import registry_on
from registry.http_contract import POLICY, HTTPBasics, HTTPContract
from registry.http_site import (
    ASYNC,
    SYNC,
    Broken,
    by_uvicorn,
    by_waitress,
    said,
    said_async,
)
from registry.naming import eventually

TESTS = Path(__file__).parents[1]
TTL = 3600.0
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
from registry.http_contract import POLICY, HTTPContract
from registry.http_site import JSON, SYNC
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

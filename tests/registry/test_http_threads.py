"""
Which threads the HTTP API takes, and which loops it runs on: never the application's threads.
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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.test import Client

from idlanyard import EVERYONE
from idlanyard.registry import AsyncSessionRegistry, SessionRecord, SessionRegistry
from idlanyard.registry._outages import Outages
from idlanyard.registry._questions import Question
from idlanyard.registry._urls import Opened
from idlanyard.registry._verbs import Verbs
from idlanyard.registry.asgi import asgi_app
from idlanyard.registry.fastapi import sessions_router
from idlanyard.registry.flask import sessions_blueprint
from idlanyard.registry.http import SessionRequest
from idlanyard.registry.wsgi import wsgi_app
from registry.naming import eventually
from registry.postgres import postgres
from registry.valkey import valkey

__all__ = ["postgres", "valkey"]

MOST = 40
TIMEOUT = 3.0


def on_starlette(registry: Any, **options: Any) -> Any:
    """
    Return an application with a plain endpoint of its own, and the API mounted.
    """

    def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse("plain")

    options = {"authorize": EVERYONE} | options
    return Starlette(routes=[Route("/plain", plain), Mount("/", asgi_app(registry, **options))])


def on_fastapi(registry: Any, **options: Any) -> Any:
    """
    Return the same on FastAPI.
    """
    app = FastAPI()
    options = {"authorize": EVERYONE} | options
    app.include_router(sessions_router(registry, **options))

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    return app


FACES = pytest.mark.parametrize(
    "face", [pytest.param(on_starlette, id="asgi"), pytest.param(on_fastapi, id="fastapi")]
)


async def timed(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> Any:
    """
    Return the status of a request, and how long it took.
    """
    began = time.monotonic()
    answer = await client.request(method, path, **more)
    return answer, time.monotonic() - began


def client_of(app: Any) -> httpx.AsyncClient:
    """
    Return what asks an application.
    """
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60)


@contextmanager
def silent_server() -> Iterator[int]:
    """
    Take connections, and never answer.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listening:
        yield listening.getsockname()[1]


@FACES
@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_a_silent_store_stops_nothing_else(face: Any, scheme: str) -> None:
    """
    200 creates wait for a server that is silent; a plain endpoint answers meanwhile, and
    no create waits for another one's timeout.
    """
    with silent_server() as port:
        registry = SessionRegistry.open(f"{scheme}://127.0.0.1:{port}/0", timeout=TIMEOUT)
        app = face(registry)

        async def ask() -> None:
            async with client_of(app) as client:
                many = [
                    asyncio.create_task(timed(client, "POST", "/session/create"))
                    for _ in range(200)
                ]
                await asyncio.sleep(0.1)
                assert (await client.get("/plain")).status_code == 200
                assert not any(task.done() for task in many)
                answers = await asyncio.gather(*many)
                assert {answer.status_code for answer, _ in answers} == {503}
                assert {answer.headers["retry-after"] for answer, _ in answers} == {"1"}
                assert max(seconds for _, seconds in answers) < 2 * TIMEOUT

        asyncio.run(ask())
        registry.close()


class Holding:
    """
    A store whose verbs wait until they are released; see ``Store``.
    """

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = 0
        self.busy = 0
        self.most = 0
        self._lock = threading.Lock()

    def ask(self, question: Question[Any]) -> Any:
        """
        Answer nothing, when the test wants it.
        """
        with self._lock:
            self.begun += 1
            self.busy += 1
            self.most = max(self.most, self.busy)
        self.release.wait(20)
        with self._lock:
            self.busy -= 1

    def close(self) -> None:
        """
        Close nothing.
        """


def held(store: Holding, timeout: float) -> SessionRegistry:
    """
    Return the registry on such a store, which remembers no outage, as SQLite's does not.
    """
    outages = Outages("sqlite", timeout=timeout, remembers=False)
    return SessionRegistry(Opened(store, outages, "sqlite"), Verbs())


@FACES
def test_the_wait_for_a_thread_is_inside_the_timeout(
    face: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    With every thread taken a verb is never begun, and its request is 503 in time; the
    log says so once, until one is answered again.
    """
    store = Holding()
    app = face(held(store, 0.3))

    async def ask() -> None:
        async with client_of(app) as client:
            for _ in range(2):
                many = [timed(client, "GET", f"/session/s{n}") for n in range(60)]
                answers = await asyncio.gather(*many)
                assert {answer.status_code for answer, _ in answers} == {503}
                # A second round of threads would begin after 20 seconds.
                assert max(seconds for _, seconds in answers) < 10
                # Those that were given up keep their threads until they are done.
                assert (store.begun, store.most) == (MOST, MOST)
            assert (await client.get("/plain")).status_code == 200
            store.release.set()
            await asyncio.to_thread(eventually, lambda: store.busy == 0)
            assert (await client.get("/session/s")).status_code == 404
            assert store.begun == MOST + 1

    asyncio.run(ask())
    told = [record for record in caplog.records if record.name == "idlanyard"]
    assert [record.levelno for record in told] == [logging.ERROR]
    assert "within 0.3 seconds, the wait for one of 40 threads included" in told[0].getMessage()


@FACES
def test_a_client_that_leaves_frees_no_thread(face: Any) -> None:
    """
    A request that is cancelled ends at once; its verb goes on in its thread, which nobody else gets
    before it is done, and afterwards all is as before.
    """
    store = Holding()
    app = face(held(store, 10.0))

    async def ask() -> None:
        async with client_of(app) as client:
            for _ in range(3):
                many = [
                    asyncio.create_task(client.get(f"/session/s{number}")) for number in range(50)
                ]
                await asyncio.to_thread(eventually, lambda: store.busy == MOST)
                for task in many:
                    task.cancel()
                assert await asyncio.gather(*many, return_exceptions=True)
            assert (store.begun, store.most) == (MOST, MOST)
            store.release.set()
            await asyncio.to_thread(eventually, lambda: store.busy == 0)
            assert (await client.get("/session/s")).status_code == 404

    asyncio.run(ask())


@FACES
@pytest.mark.parametrize("name", ["on_input", "authorize"])
def test_slow_functions_take_no_thread_of_the_application(face: Any, name: str) -> None:
    """
    Plain functions that wait take threads of the face's own, and none of the verbs'.
    """
    release = threading.Event()
    busy: list[None] = []

    def slow(*_: object) -> Any:
        busy.append(None)
        return release.wait(60)

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    options = {"on_input": slow} | ({"authorize": slow} if name == "authorize" else {})
    app = face(registry, **options)

    async def ask() -> None:
        async with client_of(app) as client:
            many = [
                asyncio.create_task(client.post("/session/s1/input", json={})) for _ in range(60)
            ]
            await asyncio.to_thread(eventually, lambda: len(busy) == MOST)
            assert (await client.get("/plain")).status_code == 200
            if name == "on_input":
                assert (await client.get("/session/s1")).status_code == 200
            assert not any(task.done() for task in many)
            release.set()
            assert {answer.status_code for answer in await asyncio.gather(*many)} == {200}

    asyncio.run(ask())


@FACES
def test_plain_functions_may_come_back_to_the_loop(face: Any) -> None:
    """
    The face's threads for functions are AnyIO's, from which the loop can be asked.
    """

    async def ask_there() -> str:
        return "from the loop"

    def on_input(record: SessionRecord, body: dict[str, Any]) -> str:
        return anyio.from_thread.run(ask_there)

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    app = face(registry, on_input=on_input)

    async def ask() -> Any:
        async with client_of(app) as client:
            return (await client.post("/session/s1/input", json={})).json()

    # Each loop has its own count of threads.
    assert [asyncio.run(ask()), asyncio.run(ask())] == ["from the loop"] * 2


@FACES
def test_authorize_sees_the_request_of_the_framework(face: Any) -> None:
    """
    Values that a middleware left in Starlette's request are there for authorize.
    """

    def authorize(request: SessionRequest) -> bool:
        assert isinstance(request.framework_request, Request)
        return bool(request.framework_request.scope["user"] == "alice")

    app = face(SessionRegistry.open("memory://"), authorize=authorize)

    def logged_in(name: str) -> Any:
        async def around(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"user": name}, receive, send)

        return around

    async def ask(name: str) -> int:
        async with client_of(logged_in(name)) as client:
            return (await client.post("/session/create")).status_code

    assert [asyncio.run(ask(name)) for name in ("alice", "bob")] == [200, 403]


@pytest.fixture(params=["memory", "sqlite", "postgresql", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """
    Return where sessions are, on each store.
    """
    servers = {"postgresql": "postgres", "redis": "valkey"}
    if request.param in servers:
        return str(request.getfixturevalue(servers[request.param]))
    return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/s.db"}[request.param]


@FACES
@pytest.mark.parametrize("open_", [SessionRegistry.open, AsyncSessionRegistry.open])
def test_a_test_client_without_a_block(face: Any, open_: Any, url: str) -> None:
    """
    Each request of Starlette's client has a loop of its own, and every one is answered.
    """
    registry = open_(url)
    client = TestClient(face(registry))
    made = [client.post("/session/create") for _ in range(3)]
    assert [answer.status_code for answer in made] == [200, 200, 200]
    name = made[0].json()["session_id"]
    assert client.get(f"/session/{name}").json()["session_id"] == name
    closing = registry.close()
    if inspect.isawaitable(closing):
        asyncio.run(awaiting(closing))


async def awaiting(awaitable: Any) -> None:
    """
    Await on a loop of its own.
    """
    await awaitable


TRIO = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.routing import Mount
from idlanyard import EVERYONE
from idlanyard.registry import SessionRegistry
from idlanyard.registry.asgi import asgi_app


def plain(record, body):
    return "plain"


async def awaited(record, body):
    import trio

    await trio.sleep(0)
    return "awaited"


registry = SessionRegistry.open("memory://")
app = Starlette(
    routes=[
        Mount("/plain", asgi_app(registry, on_input=plain, authorize=EVERYONE)),
        Mount("/awaited", asgi_app(registry, on_input=awaited, authorize=EVERYONE)),
    ]
)
"""


def test_hypercorn_on_trio(tmp_path: Path) -> None:
    """
    On a loop of trio a SessionRegistry works, with plain and async functions.
    """
    tmp_path.joinpath("sessions_on_trio.py").write_text(TRIO, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    paths = (str(tmp_path), os.environ.get("PYTHONPATH"))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        words = ["-k", "trio", "-b", f"fd://{listening.fileno()}", "sessions_on_trio:app"]
        with tmp_path.joinpath("output").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "hypercorn", *words],
                pass_fds=[listening.fileno()],
                env=environment,
                cwd=tmp_path,
                stdout=log,
                stderr=log,
            )
        try:
            base = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=base, timeout=60) as client:
                for at in ("plain", "awaited"):
                    made = client.post(f"/{at}/session/create", json={"session_id": at})
                    assert made.status_code == 200
                    assert client.post(f"/{at}/session/{at}/input", json={}).json() == at
                    assert client.delete(f"/{at}/session/{at}").status_code == 200
        finally:
            server.terminate()
            server.wait(60)


async def allowing(request: SessionRequest) -> bool:
    """
    Allow everything, awaited.
    """
    return True


class Allowing:
    """
    An instance that is called, and awaited.
    """

    async def __call__(self, *_: object) -> bool:
        return True


WAITING = pytest.mark.parametrize("build", [wsgi_app, sessions_blueprint])
ASYNC = [
    pytest.param(allowing, id="a function"),
    pytest.param(partial(allowing), id="a partial"),
    pytest.param(Allowing(), id="an object"),
    pytest.param(partial(Allowing()), id="a partial of an object"),
    pytest.param(Allowing().__call__, id="a method"),
]


@WAITING
@pytest.mark.parametrize("function", ASYNC)
def test_async_functions_are_refused_on_wsgi(build: Any, function: Any) -> None:
    """
    Async options of a sync face are refused when it is built, and the message says what to write.
    """
    registry = SessionRegistry.open("memory://")
    with pytest.raises(TypeError, match=r"authorize is async.*write a plain function"):
        build(registry, authorize=function)
    with pytest.raises(TypeError, match=r"on_input is async.*write a plain function"):
        build(registry, authorize=EVERYONE, on_input=function)


@WAITING
def test_an_asynchronous_registry_is_refused_on_wsgi(build: Any) -> None:
    """
    WSGI takes a SessionRegistry, and the sentence says how to open one.
    """
    with pytest.raises(TypeError, match=r"write SessionRegistry\.open\(\.\.\.\)"):
        build(AsyncSessionRegistry.open("memory://"), authorize=EVERYONE)


class Promise:
    """
    An awaitable that is no coroutine.
    """

    def __await__(self) -> Any:
        raise AssertionError


@pytest.mark.parametrize("name", ["on_input", "authorize"])
@pytest.mark.parametrize("promise", [Promise, lambda: allowing(None)])  # type: ignore[arg-type]
def test_a_promise_is_an_error_on_wsgi(name: str, promise: Callable[[], Any]) -> None:
    """
    A plain function that returns an awaitable after all is an error, and leaves no coroutine.
    """
    made: list[Any] = []

    def later(*_: object) -> Any:
        made.append(promise())
        return made[-1]

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    options: dict[str, Any] = {"on_input": later, "authorize": EVERYONE} | {name: later}
    app = wsgi_app(registry, **options)
    with pytest.raises(TypeError, match=f"{name} returned .*: write a plain function"):
        Client(app).post("/session/s1/input", json={})
    for one in made:
        assert not inspect.iscoroutine(one) or inspect.getcoroutinestate(one) == "CORO_CLOSED"


def test_threads_of_wsgi_are_the_server_s() -> None:
    """
    On WSGI authorize and on_input run in the thread of the request.
    """
    names: list[str] = []

    def noted(*_: object) -> Any:
        names.append(threading.current_thread().name)
        return True

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    app = wsgi_app(registry, on_input=noted, authorize=noted)
    with ThreadPoolExecutor(1, "request") as pool:
        pool.submit(Client(app).post, "/session/s1/input", json={}).result()
    assert names == ["request_0", "request_0"]

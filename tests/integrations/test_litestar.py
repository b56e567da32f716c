"""
Litestar: the contract, and what its page says of threads, streams and routers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Litestar, Response, get
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency, Provide
from litestar.middleware import DefineMiddleware
from litestar.response import ServerSentEvent, Stream
from litestar.testing import TestClient

from idlanyard import get_session_id, get_user_id, identify
from idlanyard.asgi import SessionContextMiddleware
from integrations.apps.litestar_app import build
from integrations.apps.seen import JOURNAL
from integrations.contract import TRUSTING, Contract, WebSockets, nothing_is_noted
from integrations.sides import HOST, Answer, Ask, Line

__all__ = ["nothing_is_noted"]

S1 = {"X-Session-ID": "s1"}


def from_here(app: Any) -> Any:
    """
    Return *app* asked from 127.0.0.1: to Litestar's client a peer is ``testclient``.
    """

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"client": (HOST, 50000)}, receive, send)

    return asked


class TestLitestar(WebSockets, Contract):
    """
    The contract on Litestar, which answers exceptions itself and denies a WebSocket by closing it.
    """

    build = staticmethod(build)
    protocol = "asgi"
    escapes = False
    denies_by_response = False

    @contextmanager
    def client(self, app: Any) -> Iterator[Ask]:
        with TestClient(from_here(app), raise_server_exceptions=False) as client:

            def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
                response = client.request(method, path, headers=list(lines))
                return Answer(
                    response.status_code, response.headers.multi_items(), response.content
                )

            yield ask


def name_user() -> str:
    identify(user_id="alice")
    return "alice"


@get("/dependency", dependencies={"user": Provide(name_user, sync_to_thread=True)})
async def with_dependency(user: NamedDependency[str]) -> str:
    return f"{user} {get_user_id()}"


def parts() -> Iterator[str]:
    for number in range(2):
        yield f"{number} {get_session_id()} "


@get("/sync-stream")
async def sync_stream() -> Stream:
    return Stream(parts(), media_type="text/plain")


async def events() -> AsyncIterator[str]:
    yield str(get_session_id())


@get("/events")
async def server_sent() -> ServerSentEvent:
    return ServerSentEvent(events())


def note() -> None:
    JOURNAL.note("thread", get_session_id())


@get("/sync-background")
async def sync_background() -> Response[str]:
    return Response("ok", background=BackgroundTask(note))


VIEWS = [with_dependency, sync_stream, server_sent, sync_background]
# Litestar's types of a scope are closed.
MIDDLEWARE: Any = SessionContextMiddleware


def wrapped() -> Any:
    return SessionContextMiddleware(Litestar(VIEWS))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("/dependency", "alice alice", id="sync dependency"),
        pytest.param("/sync-stream", "0 s1 1 s1 ", id="sync stream"),
        pytest.param("/events", "data: s1\r\n\r\n", id="server-sent events"),
    ],
)
def test_what_litestar_runs_in_threads_and_streams_has_the_ids(path: str, text: str) -> None:
    """
    R2, R4: dependencies and iterators that Litestar runs in worker threads share the scope.
    """
    with TestClient(wrapped()) as client:
        assert client.get(path, headers=S1).text == text


def test_a_sync_background_task_has_the_ids() -> None:
    """
    R2: a background task that is a plain function has the request's session.
    """
    with TestClient(wrapped()) as client:
        client.get("/sync-background", headers=S1)
    assert JOURNAL.wait_for("thread") == ["s1"]


@pytest.mark.parametrize(
    "middleware",
    [
        pytest.param(MIDDLEWARE, id="class"),
        pytest.param(DefineMiddleware(MIDDLEWARE, policy=TRUSTING), id="DefineMiddleware"),
    ],
)
def test_in_the_middleware_list_the_router_is_missed(middleware: Any) -> None:
    """
    Defect 4.18: why the page says to wrap the application: what Litestar's router answers
    itself goes around its middlewares.
    """
    with TestClient(Litestar(VIEWS, middleware=[middleware])) as client:
        assert client.get("/sync-stream", headers=S1).headers["X-Session-ID"] == "s1"
        for answer in (client.get("/nowhere", headers=S1), client.post("/events", headers=S1)):
            assert answer.status_code in (404, 405)
            assert "X-Session-ID" not in answer.headers
    with TestClient(wrapped()) as client:
        for answer in (client.get("/nowhere", headers=S1), client.post("/events", headers=S1)):
            assert answer.headers["X-Session-ID"] == "s1"

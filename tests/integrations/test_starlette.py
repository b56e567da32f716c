"""
Starlette: the contract, and what ``install`` promises besides.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from drive import ask_asgi, http_scope, serve_asgi
from idlanyard import (
    IDLanyardError,
    Policy,
    SessionContext,
    get_session_context,
    get_session_id,
    identify,
    session_context,
)
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.starlette import install
from integrations.apps import starlette_app
from integrations.contract import CLOSED, TRUSTING, Contract, WebSockets, nothing_is_noted
from integrations.sides import Ask, asking_asgi

__all__ = ["nothing_is_noted"]


class TestStarlette(WebSockets, Contract):
    """
    Starlette keeps the contract.
    """

    build = staticmethod(starlette_app.build)
    protocol = "asgi"
    escapes = True
    denies_by_response = True

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        return asking_asgi(app)


def ids_of(request: Request) -> Response:
    return JSONResponse(get_session_context().as_dict())


def plain() -> Starlette:
    return Starlette(routes=[Route("/", ids_of)])


def client_of(app: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50000))


def test_the_application_stays_what_it_is() -> None:
    """
    Defect 4.2: the type stays, and middleware that is added later runs inside ours.
    """
    app = plain()
    install(app, CLOSED)

    async def name_session(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Seen"] = str(get_session_id())
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=name_session)
    answer = client_of(app).get("/", headers={"X-Session-ID": "s1"})
    assert type(app) is Starlette
    assert (answer.headers["X-Seen"], answer.json()) == ("s1", {"session_id": "s1"})


def test_the_stack_is_one_that_instrumentations_know() -> None:
    """
    It is a ServerErrorMiddleware without handler and debug, around ours,
    around the whole stack that the application built.
    """
    app = Starlette(debug=True, exception_handlers={Exception: starlette_app.handle})
    install(app, CLOSED)
    stack = app.build_middleware_stack()
    assert isinstance(stack, ServerErrorMiddleware)
    assert (stack.handler, stack.debug) == (None, False)
    assert isinstance(stack.app, SessionContextMiddleware)
    whole: Any = stack.app
    while not isinstance(whole, ServerErrorMiddleware):
        whole = whole.app
    assert (whole.handler, whole.debug) == (starlette_app.handle, True)


def test_installing_again_does_nothing() -> None:
    """
    The same policy twice is one middleware, also once the application runs.
    """
    app = plain()
    undo = install(app, Policy(expose=True))
    assert install(app, Policy(expose=True)) == undo
    answer = client_of(app).get("/", headers={"X-Session-ID": "s1"})
    assert answer.headers.get_list("X-Session-ID") == ["s1"]
    assert install(app, Policy(expose=True)) == undo


def test_what_cannot_be_installed_is_said() -> None:
    """
    Another policy and an application that runs are refused with what to do.
    """
    app = plain()
    install(app, CLOSED)
    with pytest.raises(IDLanyardError, match=r"another policy already: install one policy, or "):
        install(app, TRUSTING)
    late = plain()
    client_of(late).get("/")
    with pytest.raises(IDLanyardError, match=r"has started.*: call install\(app\) where"):
        install(late, CLOSED)


@pytest.mark.parametrize(
    ("app", "policy", "message"),
    [
        pytest.param(None, None, "takes the Starlette or FastAPI application, not None", id="app"),
        pytest.param(Starlette, None, "write install.app. for the application that", id="class"),
        pytest.param(Router(), None, "for the application that has the router", id="router"),
        pytest.param(CLOSED, plain(), r"write install\(app, policy\)$", id="the wrong way round"),
        pytest.param(Flask("x"), None, "integrations.flask import IDLanyard", id="of Flask"),
        pytest.param(plain(), "10.0.0.1", "policy is a Policy, not str", id="policy"),
    ],
)
def test_wrong_arguments_are_said(app: Any, policy: Any, message: str) -> None:
    """
    R14: what is no application and what is no policy raise when installed.
    """
    with pytest.raises(TypeError, match=message):
        install(app, policy)


def test_without_a_policy_the_environment_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Left out, the policy is that of the environment.
    """
    monkeypatch.setenv("IDLANYARD_TRUSTED_PEERS", "127.0.0.1")
    app = plain()
    install(app)
    assert client_of(app).get("/", headers={"X-User-ID": "bob"}).json()["user_id"] == "bob"


@pytest.mark.parametrize("started", [False, True], ids=["before it starts", "while it runs"])
def test_an_install_can_be_taken_back(started: bool) -> None:
    """
    R11: taken back, the application answers as if it had never been installed; twice is once.
    """
    app = plain()
    undo = install(app, CLOSED)
    if started:
        client_of(app).get("/")
    undo()
    undo()
    assert "X-Session-ID" not in client_of(app).get("/").headers
    assert app.build_middleware_stack.__func__ is Starlette.build_middleware_stack  # type: ignore[attr-defined]


def test_what_was_put_around_us_stays() -> None:
    """
    R11: where somebody else has wrapped the stack since, taking back leaves theirs, and a new
    install under another policy works.
    """
    app = plain()
    undo = install(app, CLOSED)
    ours, built = app.build_middleware_stack, []

    def build_middleware_stack() -> Any:
        built.append(True)
        return ours()

    app.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]
    undo()
    install(app, TRUSTING)
    answer = client_of(app).get("/", headers={"X-User-ID": "bob"})
    assert (answer.json()["user_id"], built) == ("bob", [True])


@pytest.mark.parametrize("way", ["Middleware", "wrapped"])
def test_the_plain_middleware_works_as_well(way: str) -> None:
    """
    In the list of middlewares, or around the application.
    """
    if way == "wrapped":
        app: Any = SessionContextMiddleware(plain(), CLOSED)
    else:
        ours = Middleware(SessionContextMiddleware, policy=CLOSED)
        app = Starlette(routes=[Route("/", ids_of)], middleware=[ours])
    answer = client_of(app).get("/", headers={"X-Session-ID": "s1"})
    assert (answer.json(), answer.headers["X-Session-ID"]) == ({"session_id": "s1"}, "s1")


def test_the_state_has_the_context_and_follows_it() -> None:
    """
    ``request.state.session_context`` says who was identified since, beside
    what the lifespan has put there, on WebSockets too.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        assert get_session_context().is_empty()
        yield {"pool": "a pool"}

    def read(request: Request) -> Response:
        context = request.state.session_context
        before = context.user_id
        identify(user_id="alice")
        with session_context(user_id="elsewhere"):
            seen = [request.state.pool, before, context.user_id, context == SessionContext("s1")]
        return JSONResponse([*seen, isinstance(context, SessionContext)])

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(str(socket.state.session_context.session_id))
        await socket.close()

    app = Starlette(routes=[Route("/", read), WebSocketRoute("/ws", talk)], lifespan=lifespan)
    install(app, CLOSED)
    with client_of(app) as client:
        answer = client.get("/", headers={"X-Session-ID": "s1"})
        assert answer.json() == ["a pool", None, "alice", False, True]
        with client.websocket_connect("/ws", headers={"X-Session-ID": "s1"}) as socket:
            assert socket.receive_text() == "s1"


def test_a_state_that_requests_share_has_the_ids_of_each() -> None:
    """
    R1: where a server hands one state to several requests at once, each reads its own session,
    and the server's dictionary stays as it was.
    """
    state = {"pool": "a pool"}
    seen: list[Any] = []

    async def read(request: Request) -> Response:
        if request.state.session_context.session_id == "s1":
            second = http_scope([("X-Session-ID", "s2")], state=state)
            seen.append(await serve_asgi(app, second))
        return JSONResponse([request.state.pool, request.state.session_context.session_id])

    app = Starlette(routes=[Route("/", read)])
    install(app, CLOSED)
    answer = ask_asgi(app, http_scope([("X-Session-ID", "s1")], state=state))
    assert [sent[1]["body"] for sent in (answer, *seen)] == [b'["a pool","s1"]', b'["a pool","s2"]']
    assert state == {"pool": "a pool"}


def test_applications_inside_another_share_the_state() -> None:
    """
    Installed on both, what a mounted application puts into the state of the
    request is there for a middleware of the outer one that has read it before.
    """

    async def put(request: Request) -> Response:
        request.state.found = request.state.session_context.session_id
        return Response()

    async def dispatch(request: Request, call_next: Any) -> Response:
        request.state.before = True
        response: Response = await call_next(request)
        response.headers["X-Found"] = request.state.found
        return response

    inner = Starlette(routes=[Route("/", put)])
    app = Starlette(
        routes=[Mount("/inner", inner)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    install(inner, CLOSED)
    install(app, CLOSED)
    answer = client_of(app).get("/inner/", headers={"X-Session-ID": "s1"})
    assert answer.headers["X-Found"] == "s1"


def test_a_mounted_application_has_the_same_id() -> None:
    """
    R15: installed on an application and on one mounted in it, there is one ID.
    """
    inner = plain()
    install(inner, CLOSED)
    app = Starlette(routes=[Mount("/inner", inner)])
    install(app, CLOSED)
    answer = client_of(app).get("/inner/")
    assert answer.headers.get_list("X-Session-ID") == [answer.json()["session_id"]]


def test_a_base_middleware_around_the_application_changes_nothing() -> None:
    """
    Defect 4.2: inside a BaseHTTPMiddleware that wraps the application the IDs are bound, and
    the echo passes it.
    """

    async def dispatch(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    app = plain()
    install(app, CLOSED)
    answer = client_of(BaseHTTPMiddleware(app, dispatch)).get("/", headers={"X-Session-ID": "s1"})
    assert (answer.json(), answer.headers["X-Session-ID"]) == ({"session_id": "s1"}, "s1")


def test_a_state_that_cannot_be_written_fails_no_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R14: where a server hands over no state to write to, it is logged, and the request goes on.
    """
    app = Starlette(routes=[Route("/", ids_of)])
    install(app, CLOSED)
    with caplog.at_level("ERROR", "idlanyard"):
        sent = ask_asgi(app, http_scope([("X-Session-ID", "s1")], state=None))
    assert sent[0]["status"] == 200
    assert "request.state failed" in caplog.records[0].message


def test_a_handler_that_fails_is_the_servers() -> None:
    """
    If the application's handler for exceptions raises itself, nothing is answered
    in its place, as without us.
    """

    def handle(request: Request, error: Exception) -> Response:
        raise LookupError("the handler")

    routes = [Route("/boom", starlette_app.boom)]
    for installed in (False, True):
        app = Starlette(routes=routes, exception_handlers={Exception: handle})
        if installed:
            install(app, CLOSED)
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        async def receive() -> Any: ...

        with pytest.raises(LookupError, match="the handler"):
            asyncio.run(app(http_scope(path="/boom"), receive, send))
        assert sent == []


def test_a_traceback_page_has_the_echo() -> None:
    """
    R9: the page of ``debug=True`` is a response like any other.
    """
    app = Starlette(debug=True, routes=[Route("/boom", starlette_app.boom)])
    install(app, CLOSED)
    answer = client_of(app).get("/boom", headers={"X-Session-ID": "s1"})
    assert (answer.status_code, answer.headers["X-Session-ID"]) == (500, "s1")
    assert "as it was" in answer.text


def test_the_context_of_a_request_is_a_value_of_its_own() -> None:
    """
    S25: it is equal to a snapshot, pickles as one, and cannot be a key, since it changes.
    """
    seen: list[Any] = []

    def keep(request: Request) -> Response:
        seen.append(request.state.session_context)
        return Response()

    app = Starlette(routes=[Route("/", keep)])
    install(app, CLOSED)
    client_of(app).get("/", headers={"X-Session-ID": "s1"})
    context = seen[0]
    assert (context, repr(context)) == (SessionContext("s1"), "SessionContext(session_id='s1')")
    assert type(pickle.loads(pickle.dumps(context))) is SessionContext
    assert context.provenance("session_id") == "client"
    with pytest.raises(TypeError, match="changes with identify"):
        hash(context)


def test_a_decorated_stream_that_is_left_between_parts_cleans_up_bound() -> None:
    """
    R4: a generator decorated with ``session_context()`` and left between two parts cleans
    up with its own session, also while another is bound.
    """
    cleaned: list[str | None] = []

    @session_context()
    async def parts() -> AsyncIterator[str]:
        try:
            while True:
                yield str(get_session_id())
        finally:
            cleaned.append(get_session_id())

    async def leave() -> None:
        with session_context("s1"):
            stream = parts()
            assert await anext(stream) == "s1"
        with session_context("another"):
            del stream
            async with asyncio.timeout(30):
                while not cleaned:
                    gc.collect()
                    await asyncio.sleep(0)

    asyncio.run(leave())
    assert cleaned == ["s1"]

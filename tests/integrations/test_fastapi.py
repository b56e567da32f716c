"""
FastAPI: the contract, and what ``install`` promises besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.testclient import WebSocketDenialResponse

from drive import ask_asgi, http_scope, serve_asgi, websocket_scope
from idlanyard import (
    ContextThreadPoolExecutor,
    IDLanyardError,
    IDSpec,
    Policy,
    bind,
    dump,
    get_session_id,
    get_tenant_id,
    get_user_id,
    identify,
    restore,
    session_context,
    session_spec,
    tenant_spec,
    user_spec,
)
from idlanyard._failures import warned
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations import starlette
from idlanyard.integrations.fastapi import (
    CurrentContext,
    RequiredSessionID,
    RequiredTenantID,
    RequiredUserID,
    SessionID,
    TenantID,
    UserID,
    identified,
    install,
)
from integrations.apps import fastapi_app
from integrations.contract import CLOSED, TRUSTING, Contract, WebSockets, nothing_is_noted
from integrations.sides import Ask, asking_asgi

__all__ = ["nothing_is_noted"]


class TestFastAPI(WebSockets, Contract):
    """
    FastAPI keeps the contract.
    """

    build = staticmethod(fastapi_app.build)
    protocol = "asgi"
    escapes = True
    denies_by_response = True

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        return asking_asgi(app)


PROBLEM = "application/problem+json"


def client_of(app: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50000))


def asking_for(**endpoints: Callable[..., Any]) -> FastAPI:
    """
    Return an application with an endpoint at the path of each name.
    """
    app = FastAPI()
    for name, endpoint in endpoints.items():
        app.get(f"/{name}")(endpoint)
    return app


def three(session: SessionID, user: UserID, tenant: TenantID) -> list[str | None]:
    return [session, user, tenant]


def session_needed(session: RequiredSessionID) -> str:
    return session


def user_needed(user: RequiredUserID) -> str:
    return user


def tenant_needed(tenant: RequiredTenantID) -> str:
    return tenant


def test_ids_are_parameters() -> None:
    """
    The current IDs arrive as annotated parameters, ``None`` if absent.
    """
    app = asking_for(three=three)
    install(app, TRUSTING)
    lines = {"X-Session-ID": "s1", "X-User-ID": "bob"}
    assert client_of(app).get("/three", headers=lines).json() == ["s1", "bob", None]


def test_a_spoofed_parameter_is_absent() -> None:
    """
    R6: the parameters are what is in force, not what the client's header says.
    """
    app = asking_for(three=three)
    lines = {"X-Session-ID": "s1", "X-User-ID": "root"}
    without_us = client_of(app).get("/three", headers=lines)
    assert without_us.json() == [None, None, None]
    app = asking_for(three=three)
    install(app, CLOSED)
    assert client_of(app).get("/three", headers=lines).json() == ["s1", None, None]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("session", "session_id", id="required"),
        pytest.param("three", "session_id", id="optional"),
        pytest.param("whole", "CurrentContext", id="all"),
        pytest.param("login", "identified", id="login"),
    ],
)
def test_a_forgotten_install_is_said_once(
    path: str, asked: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: an endpoint that asks for IDs where no middleware binds any is told of, once, and what
    the line says to write ends it.
    """

    def whole(context: CurrentContext) -> None: ...

    def login(_: Annotated[str, Depends(identified(lambda: "alice"))]) -> None: ...

    endpoints: dict[str, Any] = {"session": session_needed, "three": three}
    app = asking_for(**endpoints, whole=whole, login=login)
    for _ in range(2):
        client_of(app).get(f"/{path}")
    message = (
        f"idlanyard: an endpoint asks for {asked} in a request that has no IDs: call "
        f"idlanyard.integrations.fastapi.install(app) for the application that serves it, or take "
        f"its path out of exclude"
    )
    assert caplog.messages == [message]
    caplog.clear()
    warned.clear()
    app = asking_for(**endpoints, whole=whole, login=login)
    install(app, CLOSED)
    assert client_of(app).get(f"/{path}").status_code == 200
    assert not caplog.messages


def test_an_application_of_starlettes_is_told_where_to_go() -> None:
    """
    R14: what FastAPI's install cannot take is refused before anything is put around it.
    """
    app = Starlette()
    with pytest.raises(TypeError, match=r"write from idlanyard.integrations.starlette import"):
        install(app)  # type: ignore[arg-type]
    starlette.install(app, TRUSTING)


def test_required_ids_are_given() -> None:
    """
    R8: a required ID that is there is a plain text; the session from anyone.
    """
    app = asking_for(session=session_needed, user=user_needed, tenant=tenant_needed)
    install(app, TRUSTING)
    lines = {"X-Session-ID": "s1", "X-User-ID": "bob", "X-Tenant-ID": "acme"}
    client = client_of(app)
    answers = [client.get(f"/{p}", headers=lines).json() for p in ("session", "user", "tenant")]
    assert answers == ["s1", "bob", "acme"]


@pytest.mark.parametrize(
    ("path", "policy", "status"),
    [
        pytest.param("user", CLOSED, 401, id="user"),
        pytest.param("tenant", CLOSED, 401, id="tenant"),
        pytest.param("session", Policy(session=None), 401, id="session left out"),
        pytest.param("tenant", Policy(tenant=tenant_spec(accept="anyone")), 400, id="open tenant"),
        pytest.param("session", Policy(exclude=["/session"]), 400, id="session excluded"),
    ],
)
def test_a_required_id_that_is_absent_is_a_problem(path: str, policy: Policy, status: int) -> None:
    """
    R8: it is answered 401 where it needs proof, else 400, names the field, and has the echo.
    """
    app = asking_for(session=session_needed, user=user_needed, tenant=tenant_needed)
    install(app, policy)
    answer = client_of(app).get(f"/{path}", headers={"X-Session-ID": "s1"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert answer.headers["Cache-Control"] == "no-store"
    problem = answer.json()
    assert (problem["field"], problem["reason"]) == (f"{path}_id", "required and absent")
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    echoed = answer.headers.get("X-Session-ID")
    assert echoed == (None if path == "session" else "s1")


def test_a_required_id_that_nobody_vouches_for_is_a_problem() -> None:
    """
    R8: a user that is only the client's word is answered 401.
    """
    carrier = extracted()

    async def client_says() -> AsyncIterator[None]:
        with restore(carrier):
            yield

    app = FastAPI()
    app.get("/", dependencies=[Depends(client_says)])(user_needed)
    install(app, CLOSED)
    answer = client_of(app).get("/")
    assert (answer.status_code, answer.json()["reason"]) == (401, "required and not proven")


def extracted() -> Any:
    """
    Return what a job's carrier says of a user that only a client has named.
    """
    policy = Policy(user=user_spec(accept="anyone"))
    sent: list[Any] = []

    async def keep(scope: Any, receive: Any, send: Any) -> None:
        sent.append(dump())

    ask_asgi(SessionContextMiddleware(keep, policy), http_scope([("X-User-ID", "bob")]))
    return sent[0]


def test_without_install_a_refusal_names_the_field_all_the_same() -> None:
    """
    R8: with the plain middleware FastAPI words the answer; status and field are ours.
    """
    app = SessionContextMiddleware(asking_for(user=user_needed), CLOSED)
    answer = client_of(app).get("/user")
    assert (answer.status_code, answer.headers["Content-Type"]) == (401, PROBLEM)
    assert answer.json() == {"detail": "user_id: required and absent"}


def websocket_needing_a_user() -> FastAPI:
    app = FastAPI()

    @app.websocket("/")
    async def talk(socket: WebSocket, user: RequiredUserID) -> None:
        await socket.accept()

    install(app, CLOSED)
    return app


def test_a_websocket_without_a_required_id_is_denied() -> None:
    """
    R8: the handshake is answered with the problem, where the server offers that.
    """
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client_of(websocket_needing_a_user()).websocket_connect("/"),
    ):
        raise AssertionError("it was accepted")
    assert (denied.value.status_code, denied.value.json()["field"]) == (401, "user_id")


def test_a_websocket_without_a_required_id_is_closed() -> None:
    """
    R8: and is closed before it is accepted where the server does not.
    """
    sent = ask_asgi(websocket_needing_a_user(), websocket_scope())
    assert [(m["type"], m.get("code")) for m in sent] == [("websocket.close", 1008)]


def parameters_of(app: FastAPI, path: str) -> list[tuple[str, str]]:
    found = app.openapi()["paths"][path]["get"].get("parameters", [])
    assert all("x-idlanyard" not in str(parameter) for parameter in found)
    return [(parameter["in"], parameter["name"]) for parameter in found]


def test_the_schema_names_the_headers() -> None:
    """
    Annotated dependencies document their headers, as the policy calls them,
    and those that it leaves out not at all.
    """

    def all_of(context: CurrentContext, limit: int = 3) -> None: ...

    app = asking_for(three=three, all=all_of, user=user_needed)
    install(app, Policy(user=user_spec(header="X-Who"), tenant=None))
    ours = [("header", "X-Session-ID"), ("header", "X-Who")]
    assert parameters_of(app, "/three") == ours
    assert parameters_of(app, "/all") == [("query", "limit"), *ours]
    assert parameters_of(app, "/user") == [("header", "X-Who")]
    assert parameters_of(app, "/user") == [("header", "X-Who")]
    described = app.openapi()["paths"]["/user"]["get"]["parameters"][0]
    assert (described["schema"]["title"], described["required"]) == ("X-Who", False)
    assert described["description"].startswith("The user")


def test_an_install_can_be_taken_back() -> None:
    """
    R11: schema, handlers and stack are as before; twice is once.
    """
    app = asking_for(user=user_needed)
    handlers = dict(app.exception_handlers)
    undo = install(app, Policy(user=user_spec(header="X-Who")))
    assert install(app, Policy(user=user_spec(header="X-Who"))) == undo
    assert parameters_of(app, "/user") == [("header", "X-Who")]
    undo()
    undo()
    assert app.exception_handlers == handlers
    assert app.openapi()["paths"]["/user"]["get"]["parameters"][0]["name"] == "X-User-ID"
    assert "X-Session-ID" not in client_of(app).get("/user").headers


def test_a_schema_of_the_application_stays() -> None:
    """
    R11: where the application has put a schema function of its own since, it stays.
    """
    app = FastAPI()
    undo = install(app, CLOSED)

    def openapi() -> dict[str, Any]:
        return {"mine": True}

    app.openapi = openapi  # type: ignore[method-assign]
    undo()
    assert app.openapi() == {"mine": True}


def test_another_policy_is_refused() -> None:
    """
    Twice with another policy raises what to do.
    """
    app = FastAPI()
    install(app)
    with pytest.raises(IDLanyardError, match="install one policy"):
        install(app, TRUSTING)


@dataclass
class Account:
    id: int


USERS: dict[str, tuple[Any, str | None]] = {
    "text": ("alice", "alice"),
    "number": (7, "7"),
    "uuid": (UUID(int=5), str(UUID(int=5))),
    "id": (Account(7), "7"),
    "pk before sub": (SimpleNamespace(pk=3, sub="s"), "3"),
    "claims": ({"sub": "auth0|7", "name": "A"}, "auth0|7"),
    "nobody": (None, None),
}


@pytest.mark.parametrize("name", USERS)
def test_the_current_user_is_identified(name: str) -> None:
    """
    Whom the application's own dependency returns is named everywhere, and
    the endpoint gets the same user.
    """
    user, expected = USERS[name]

    def current_user() -> Any:
        return user

    def read(found: Any = Depends(identified(current_user))) -> list[Any]:
        return [found is user, get_user_id()]

    app = asking_for(me=read)
    install(app, CLOSED)
    answer = client_of(app).get("/me")
    assert (answer.json(), answer.headers.get("X-User-ID")) == ([True, expected], expected)


async def coroutine_user() -> str:
    return "alice"


def generator_user() -> Iterator[str]:
    yield "alice"


async def async_generator_user() -> AsyncIterator[str]:
    yield "alice"


def user_with_dependencies(request: Request, limit: int = 3) -> str:
    return f"alice{limit}"


@pytest.mark.parametrize(
    ("dependency", "expected"),
    [
        pytest.param(coroutine_user, "alice", id="async"),
        pytest.param(generator_user, "alice", id="yield"),
        pytest.param(async_generator_user, "alice", id="async yield"),
        pytest.param(user_with_dependencies, "alice9", id="with parameters"),
    ],
)
def test_any_dependency_can_be_identified(dependency: Any, expected: str) -> None:
    """
    A dependency of any kind is resolved by FastAPI as before.
    """

    def read(user: str = Depends(identified(dependency))) -> str | None:
        return get_user_id()

    app = asking_for(me=read)
    install(app, CLOSED)
    assert client_of(app).get("/me?limit=9").json() == expected


def test_other_ids_can_be_taken_from_the_user() -> None:
    """
    Each ID can be taken from the user by a function, ``None`` is absent.
    """

    def current_user() -> dict[str, Any]:
        return {"login": "alice", "organisation": 12, "nothing": None}

    dependency = identified(
        current_user,
        user_id=lambda user: user["login"],
        tenant_id=lambda user: user["organisation"],
        session_id=lambda user: user["nothing"],
    )

    def read(user: Any = Depends(dependency)) -> list[str | None]:
        return [get_session_id(), get_user_id(), get_tenant_id()]

    app = asking_for(me=read)
    install(app, CLOSED)
    assert client_of(app).get("/me").json() == [None, "alice", "12"]


@pytest.mark.parametrize(
    ("user", "message"),
    [
        pytest.param(object(), "no user_id, id, pk, sub on object: write identified(", id="object"),
        pytest.param(b"bob", "no user_id, id, pk, sub on bytes: write identified(", id="bytes"),
        pytest.param(("bob",), "no user_id, id, pk, sub on tuple: write identified(", id="tuple"),
        pytest.param({}, "no user_id, id, pk, sub on dict: write identified(", id="no claims"),
        pytest.param(False, "a UUID, not bool: write identified(", id="false"),
        pytest.param({"id": True}, "a UUID, not bool: write identified(", id="true inside"),
    ],
)
def test_a_user_without_an_id_is_nobody(
    user: object, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: a user of whom nothing can be taken is told in the log with what to write instead; the
    endpoint gets the same user, and the proxy's user is not taken for it.
    """

    def read(found: Any = Depends(identified(lambda: user))) -> list[Any]:
        return [found is user, get_user_id()]

    app = asking_for(me=read)
    install(app, TRUSTING)
    with caplog.at_level("ERROR", "idlanyard"):
        answer = TestClient(app, client=("127.0.0.1", 1)).get("/me", headers={"X-User-ID": "bob"})
    assert (answer.json(), "X-User-ID" in answer.headers) == ([True, None], False)
    assert message in caplog.text


def test_what_the_message_says_is_accepted() -> None:
    """
    A function for the user's ID, as the message asks for, names the user.
    """

    def read(
        found: Any = Depends(identified(lambda: ("bob", 1), user_id=lambda user: user[0])),
    ) -> str | None:
        return get_user_id()

    app = asking_for(me=read)
    install(app, CLOSED)
    assert client_of(app).get("/me").json() == "bob"


def test_nobody_leaves_the_proxys_user() -> None:
    """
    R6: a dependency that returns ``None`` says nothing of the user; the trusted proxy has.
    """

    def read(found: Any = Depends(identified(lambda: None))) -> list[str | None]:
        return [found, get_user_id()]

    app = asking_for(me=read)
    install(app, TRUSTING)
    assert client_of(app).get("/me", headers={"X-User-ID": "bob"}).json() == [None, "bob"]


def test_an_id_that_is_refused_takes_the_others_along() -> None:
    """
    R6: user and tenant come from one login: where one of them cannot be named, neither is the
    proxy's.
    """
    dependency = identified(
        lambda: {"sub": "carol", "org": "a c m e"},
        user_id=lambda user: user["sub"],
        customer_id=lambda user: user["org"],
    )

    def read(found: Any = Depends(dependency)) -> list[str | None]:
        return [get_session_id(), get_user_id(), get_tenant_id()]

    app = asking_for(me=read)
    install(app, TRUSTING)
    lines = {"X-Session-ID": "s1", "X-User-ID": "bob", "X-Tenant-ID": "acme"}
    answer = client_of(app).get("/me", headers=lines)
    assert answer.json() == ["s1", None, None]
    assert not {"X-User-ID", "X-Tenant-ID"} & {name.title() for name in answer.headers}


def test_an_id_that_is_not_declared_leaves_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: a further ID that the policy does not know is told in the log, and nobody is named.
    """
    dependency = identified(lambda: "alice", user_id=str, device_id=str)

    def read(found: Any = Depends(dependency)) -> str | None:
        return get_user_id()

    app = asking_for(me=read)
    install(app, TRUSTING)
    assert client_of(app).get("/me", headers={"X-User-ID": "bob"}).json() is None
    assert "'device_id' is not a declared ID" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda: identified(str, user=str), "user is no ID: write user_id=lambda", id="user"
        ),
        pytest.param(
            lambda: identified(str, tenant=str),
            "tenant is no ID: write tenant_id=lambda",
            id="tenant",
        ),
        pytest.param(
            lambda: identified(str, session=str),
            "session is no ID: write session_id=lambda",
            id="session",
        ),
        pytest.param(
            lambda: identified(str, customer=str),
            "customer is no ID: write customer_id=lambda",
            id="customer",
        ),
        pytest.param(
            lambda: identified(str, user_id="sub"),  # type: ignore[arg-type]
            "user_id takes a function, not str: write user_id=lambda",
            id="a key",
        ),
        pytest.param(
            lambda: identified(Depends(str)),
            r"takes the dependency itself, not Depends: write identified\(current_user\)",
            id="Depends",
        ),
    ],
)
def test_what_cannot_identify_is_said(make: Callable[[], Any], message: str) -> None:
    """
    R7: misspelt IDs, and what is no function, raise where they are written.
    """
    with pytest.raises(TypeError, match=message):
        make()


def test_a_user_whose_id_is_none_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: an ID that does not fit is logged once, and the request goes on without a user.
    """

    def read(found: str = Depends(identified(lambda: "no id"))) -> list[str | None]:
        return [found, get_user_id()]

    app = asking_for(me=read)
    install(app, CLOSED)
    with caplog.at_level("ERROR", "idlanyard"):
        answers = [client_of(app).get("/me").json() for _ in range(2)]
    assert answers == [["no id", None]] * 2
    assert len([r for r in caplog.records if r.name == "idlanyard"]) == 1


def test_a_parameter_is_read_anew_each_time() -> None:
    """
    R2: what a dependency has asked for before the login is not what the endpoint gets after it.
    """

    def log_before(user: UserID) -> None:
        assert user is None

    def read(
        found: str = Depends(identified(lambda: "alice")), user: UserID = None
    ) -> list[str | None]:
        return [found, user]

    app = FastAPI()
    app.get("/me", dependencies=[Depends(log_before)])(read)
    install(app, CLOSED)
    assert client_of(app).get("/me").json() == ["alice", "alice"]


def test_an_install_of_starlettes_that_was_taken_back_is_over() -> None:
    """
    R11: installed anew under another policy, the application has that one everywhere.
    """
    app = asking_for(user=user_needed)
    install(app, CLOSED)
    starlette.install(app, CLOSED)()
    install(app, Policy(user=user_spec(header="X-Who"), trusted_peers=["127.0.0.1"]))
    assert parameters_of(app, "/user") == [("header", "X-Who")]
    assert client_of(app).get("/user", headers={"X-Who": "bob"}).json() == "bob"


def test_an_override_of_the_dependency_still_counts() -> None:
    """
    ``dependency_overrides`` of the application's dependency are identified.
    """
    app = FastAPI()

    @app.get("/")
    def read(user: Annotated[str, Depends(identified(coroutine_user))]) -> str | None:
        return get_user_id()

    install(app, CLOSED)
    app.dependency_overrides[coroutine_user] = lambda: "tester"
    assert client_of(app).get("/").json() == "tester"


def test_no_query_supplies_a_bound_parameter() -> None:
    """
    A parameter that ``bind`` fills is none of the endpoint's inputs, not
    in the query, not in the body.
    """
    app = FastAPI()

    @app.get("/")
    @bind
    def read(user_id: str | None = None, session_id: str = "") -> list[str | None]:
        return [user_id, session_id]

    @app.post("/")
    @bind
    async def write(text: Annotated[str, Body(embed=True)], user_id: str | None) -> list[Any]:
        return [text, user_id]

    install(app, CLOSED)
    client = client_of(app)
    lines = {"X-Session-ID": "s1"}
    assert client.get("/?user_id=root&session_id=x", headers=lines).json() == [None, "s1"]
    assert client.post("/?user_id=root", json={"text": "t", "user_id": "root"}).json() == [
        "t",
        None,
    ]
    assert parameters_of(app, "/") == []


def test_the_context_as_a_parameter_follows_who_is_identified() -> None:
    """
    R2: ``CurrentContext`` says who was identified by a dependency that ran after it.
    """

    def log_in() -> None:
        identify(user_id="alice")

    def read(context: CurrentContext, _: None = Depends(log_in)) -> dict[str, str]:
        return context.as_dict()

    app = asking_for(me=read)
    install(app, CLOSED)
    answer = client_of(app).get("/me", headers={"X-Session-ID": "s1"})
    assert answer.json() == {"session_id": "s1", "user_id": "alice"}


async def in_a_block() -> AsyncIterator[None]:
    with session_context(tenant_id="acme"):
        yield


def test_a_block_of_a_dependency_is_in_force() -> None:
    """
    R3: IDs that an async dependency with ``yield`` binds for a block are in force in the
    endpoint, and in its ``CurrentContext``; the echo is the request's.
    """

    async def read(_: Annotated[None, Depends(in_a_block)], context: CurrentContext) -> list[Any]:
        return [get_tenant_id(), context.tenant_id]

    app = asking_for(me=read)
    install(app, CLOSED)
    answer = client_of(app).get("/me")
    assert (answer.json(), "X-Tenant-ID" in answer.headers) == (["acme", "acme"], False)


def in_a_sync_block() -> Iterator[None]:
    with session_context(tenant_id="acme"):
        yield


def identifying() -> Iterator[None]:
    identify(tenant_id="acme")
    yield


@pytest.mark.parametrize(
    ("dependency", "expected"),
    [
        pytest.param(in_a_sync_block, [None, None], id="a block"),
        pytest.param(identifying, ["acme", "acme"], id="identify"),
    ],
)
def test_a_plain_dependency_with_yield_identifies(
    dependency: Any, expected: list[str | None]
) -> None:
    """
    FastAPI runs a plain ``def`` with ``yield`` in a worker thread's own copy
    of the Context, so a block ends there; ``identify`` reaches the endpoint and the response.
    """

    async def read(_: None = Depends(dependency)) -> str | None:
        return get_tenant_id()

    app = asking_for(me=read)
    install(app, CLOSED)
    answer = client_of(app).get("/me")
    assert [answer.json(), answer.headers.get("X-Tenant-ID")] == expected


class OnlyThese(BaseModel):
    """
    Headers, and no others.
    """

    model_config = {"extra": "forbid"}

    x_colour: str


@pytest.mark.parametrize(
    ("session", "status"),
    [
        pytest.param(session_spec(), 422, id="as it is"),
        pytest.param(session_spec(forward=False), 200, id="forward=False"),
    ],
)
def test_a_model_that_forbids_headers(session: IDSpec, status: int) -> None:
    """
    A model of the headers that forbids others sees the header of an ID that
    was minted; with ``forward=False`` it sees none, and the ID is bound and echoed all the same.
    """
    app = FastAPI()

    @app.get("/")
    def read(headers: Annotated[OnlyThese, Header()]) -> str | None:
        return get_session_id()

    install(app, Policy(session=session))

    async def ask() -> list[Any]:
        return await serve_asgi(app, http_scope([("X-Colour", "red")]))

    start, body, *_ = asyncio.run(ask())
    echoed = dict(start["headers"])[b"x-session-id"].decode()
    assert (start["status"], len(echoed)) == (status, 32)
    assert (body["body"].decode() == f'"{echoed}"') == (status == 200)


def test_a_browser_of_another_origin_may_send_and_read_the_session() -> None:
    """
    With ``allow_headers`` the preflight for the session is answered, and with
    ``expose=True`` a script may read the echo.
    """
    app = asking_for(three=three)
    app.add_middleware(
        CORSMiddleware, allow_origins=["http://site"], allow_headers=["X-Session-ID"]
    )
    install(app, Policy(expose=True))
    client, origin = client_of(app), {"Origin": "http://site"}
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-session-id",
    }
    preflight = client.options("/three", headers=origin | asked)
    assert preflight.status_code == 200
    assert "X-Session-ID" in preflight.headers["Access-Control-Allow-Headers"]
    answer = client.get("/three", headers=origin | {"X-Session-ID": "s1"})
    assert "X-Session-ID" in answer.headers["Access-Control-Expose-Headers"]
    assert answer.headers["X-Session-ID"] == "s1"


def test_the_loops_own_executor_may_take_the_ids_along() -> None:
    """
    Set in the lifespan, ``ContextThreadPoolExecutor`` serves
    ``run_in_executor(None, ...)``, and each call has the IDs of its own request.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ContextThreadPoolExecutor(1))
        yield

    async def read() -> str | None:
        return await asyncio.get_running_loop().run_in_executor(None, get_session_id)

    app = FastAPI(lifespan=lifespan)
    app.get("/")(read)
    install(app, CLOSED)
    with client_of(app) as client:
        answers = [client.get("/", headers={"X-Session-ID": s}).json() for s in ("s1", "s2")]
    assert answers == ["s1", "s2"]


def test_routers_and_mounted_applications_have_one_id() -> None:
    """
    R15: a router's routes and a mounted application that has us too share ID and echo.
    """
    router = APIRouter(prefix="/router")
    router.get("/three")(three)
    inner = asking_for(three=three)
    install(inner, CLOSED)
    app = FastAPI()
    app.include_router(router)
    app.mount("/inner", inner)
    install(app, CLOSED)
    for path in ("/router/three", "/inner/three"):
        answer = client_of(app).get(path)
        assert answer.headers.get_list("X-Session-ID") == [answer.json()[0]]


def test_events_keep_their_ids() -> None:
    """
    R4: a stream of server-sent events has the session in each.
    """
    app = FastAPI()

    async def events() -> AsyncIterator[str]:
        for number in range(2):
            yield f"id: {number}\ndata: {get_session_id()}\n\n"

    @app.get("/")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    install(app, CLOSED)
    answer = client_of(app).get("/", headers={"X-Session-ID": "s1"})
    assert answer.text == "id: 0\ndata: s1\n\nid: 1\ndata: s1\n\n"

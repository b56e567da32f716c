"""
Faces on real servers and below routers: raw requests, disconnects, the schema, the example.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from idlanyard import EVERYONE, get_session_id
from idlanyard.integrations import fastapi as idlanyard_fastapi
from idlanyard.registry import (
    SessionRecord,
    SessionRegistry,
)
from idlanyard.registry.asgi import asgi_app
from idlanyard.registry.fastapi import sessions_router
from idlanyard.registry.http import SessionRequest
from idlanyard.registry.wsgi import wsgi_app
from registry.asking_faces import ask_asgi
from registry.http_site import (
    Site,
    by_uvicorn,
    by_waitress,
    error_of,
    fresh,
    said,
)


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

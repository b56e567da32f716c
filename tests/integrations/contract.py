"""
What holds for every framework, under its own test client and over a server.

A subclass says how its application is built and asked; the routes are those
of ``apps/``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, ClassVar, Literal

import a2wsgi
import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient
from websockets import Subprotocol
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from idlanyard import Policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from integrations.apps.seen import JOURNAL, RAISED
from integrations.sides import (
    AllowingOrigins,
    Ask,
    ask_at_once,
    leave_early,
    over_http,
    serving_asgi,
    serving_wsgi,
)

TRUSTING = Policy(trusted_peers=["127.0.0.1"])
CLOSED = Policy()
MINTED = 32
MANY = 500
PREFLIGHT = ("Access-Control-Request-Method", "GET")
allowing_origins = partial(
    CORSMiddleware, allow_origins=["http://site"], expose_headers=["X-Total"]
)


@pytest.fixture(autouse=True)
def nothing_is_noted() -> None:
    """
    Forget what the application before did.
    """
    JOURNAL.clear()
    RAISED.clear()


class Contract:
    """
    The contract of one framework.

    Attributes:
        build: makes a fresh application that has the IDs under a policy.
        protocol: which server serves it.
        client: asks it through its framework's own test client.
        escapes: whether an unhandled exception leaves the application, so
            that the server logs it with its IDs.
        logs_inside: whether the server writes its access line while the IDs are bound, or
            finds them in the environ.
    """

    build: ClassVar[Callable[..., Any]]
    protocol: ClassVar[Literal["asgi", "wsgi"]]
    escapes: ClassVar[bool]
    logs_inside: ClassVar[bool] = True

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        raise NotImplementedError

    @contextmanager
    def serving(self, app: Any) -> Iterator[int]:
        """
        Serve an application for real; the port is yielded.
        """
        start = serving_asgi if self.protocol == "asgi" else serving_wsgi
        with start(app) as port:
            yield port

    @contextmanager
    def asking(self, side: str, app: Any) -> Iterator[Ask]:
        """
        Ask an application from one side.
        """
        if side == "client":
            with self.client(app) as ask:
                yield ask
        else:
            with self.serving(app) as port:
                yield over_http(port)

    @pytest.fixture(params=["client", "server"])
    def side(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def ask(self, side: str) -> Iterator[Ask]:
        """
        The application with 127.0.0.1 trusted.
        """
        with self.asking(side, type(self).build(TRUSTING)) as ask:
            yield ask

    def test_a_session_is_minted(self, ask: Ask) -> None:
        """
        R15: without IDs a session is minted, bound, shown to the application and echoed once.
        """
        answer = ask("/ids")
        (session,) = answer.all("X-Session-ID")
        assert len(session) == MINTED
        assert answer.json()["ids"] == {"session_id": session}
        assert answer.json()["how"] == {"session_id": "minted"}
        assert answer.json()["headers"]["x-session-id"] == session

    def test_a_session_is_read(self, ask: Ask) -> None:
        """
        R5, R9: a session that the client sends is bound and echoed once.
        """
        answer = ask("/ids", [("X-Session-ID", "s1")])
        assert answer.json()["ids"] == {"session_id": "s1"}
        assert answer.json()["how"] == {"session_id": "client"}
        assert answer.all("X-Session-ID") == ["s1"]

    def test_a_trusted_identity_is_believed(self, ask: Ask) -> None:
        """
        R6: user and tenant of a trusted peer are bound, shown to the application and echoed.
        """
        answer = ask("/ids", [("X-User-ID", "bob"), ("X-Tenant-ID", "acme")])
        assert answer.json()["ids"] | {"session_id": ""} == {
            "session_id": "",
            "user_id": "bob",
            "tenant_id": "acme",
        }
        assert answer.json()["how"]["user_id"] == "peer"
        assert answer.json()["headers"]["x-user-id"] == "bob"
        assert (answer.all("X-User-ID"), answer.all("X-Tenant-ID")) == (["bob"], ["acme"])

    def test_a_spoofed_identity_is_gone(self, side: str) -> None:
        """
        R6, S1: from a peer that nobody trusts it is absent, for who reads the raw header too.
        """
        with self.asking(side, type(self).build(CLOSED)) as ask:
            answer = ask("/ids", [("X-User-ID", "root"), ("X-Session-ID", "s1")])
        assert answer.json()["ids"] == {"session_id": "s1"}
        assert b"root" not in answer.body
        assert answer.all("X-User-ID") == []

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            pytest.param("/ids", 200, id="200"),
            pytest.param("/nowhere", 404, id="404"),
            pytest.param("/wrong", 409, id="framework error"),
            pytest.param("/boom", 500, id="unhandled 500"),
        ],
    )
    def test_every_response_has_the_echo(self, ask: Ask, path: str, status: int) -> None:
        """
        R9: whatever the framework answers carries the session, once.
        """
        answer = ask(path, [("X-Session-ID", "s1")])
        assert (answer.status, answer.all("X-Session-ID")) == (status, ["s1"])

    def test_a_handler_for_any_exception_has_the_ids(self, side: str) -> None:
        """
        R9: the handler that answers the 500 reads the session, and it is echoed.
        """
        with self.asking(side, type(self).build(TRUSTING, handler=True)) as ask:
            answer = ask("/boom", [("X-Session-ID", "s1")])
        assert (answer.status, answer.all("X-Session-ID")) == (500, ["s1"])
        assert b"handled s1" in answer.body

    def test_an_exception_is_left_as_it_was(self, ask: Ask, side: str) -> None:
        """
        R14: its text and arguments are the application's; where it
        leaves the application, the server's line of it finds the IDs.
        """
        ask("/boom", [("X-Session-ID", "s1")])
        error = RAISED[-1]
        assert (str(error), error.args) == ("as it was", ("as it was",))
        assert not hasattr(error, "__notes__")
        if self.escapes and side == "server":
            assert JOURNAL.wait_for("error") == ["s1"]

    def test_a_stream_keeps_its_ids(self, ask: Ask) -> None:
        """
        R4: every part of a stream is made with the request's session.
        """
        answer = ask("/stream", [("X-Session-ID", "s1")])
        assert answer.body == b"0 s1\n1 s1\n2 s1\n"
        assert answer.all("X-Session-ID") == ["s1"]

    def test_a_stream_that_is_left_cleans_up_with_its_ids(self) -> None:
        """
        R4, S28: the clean-up of a stream that the client leaves has the request's session.
        """
        with self.serving(type(self).build(TRUSTING)) as port:
            assert leave_early(port, "/endless", "s1") == b"0 s1\n"
            assert JOURNAL.wait_for("left") == ["s1"]

    def test_who_is_identified_is_seen_everywhere(self, ask: Ask, side: str) -> None:
        """
        R2: a user named in a sync view or dependency is on the response and in
        the access log.
        """
        answer = ask("/login", [("X-User-ID", "bob")])
        assert answer.json()["ids"]["user_id"] == "alice"
        assert answer.json()["how"]["user_id"] == "code"
        assert answer.all("X-User-ID") == ["alice"]
        if side == "server":
            lines = JOURNAL.wait_for("access /login")
            assert lines == ["alice" if self.logs_inside else None]

    def test_background_work_has_the_ids(self, ask: Ask) -> None:
        """
        R2: what goes on after the response has the request's session.
        """
        assert ask("/background", [("X-Session-ID", "s1")]).body == b"ok"
        assert JOURNAL.wait_for("background") == [{"session_id": "s1"}]

    def test_a_header_of_the_application_is_replaced(self, ask: Ask) -> None:
        """
        R9: there is one session on the response, the request's.
        """
        answer = ask("/own", [("X-Session-ID", "s1")])
        assert (answer.body, answer.all("X-Session-ID")) == (b"own", ["s1"])

    def test_a_second_middleware_adds_nothing(self, side: str) -> None:
        """
        R15: mounted twice there are one ID and one echo.
        """
        wrap: Any = ASGIMiddleware if self.protocol == "asgi" else WSGIMiddleware
        with self.asking(side, wrap(type(self).build(TRUSTING), TRUSTING)) as ask:
            answer = ask("/ids", [("X-User-ID", "bob")])
            (session,) = answer.all("X-Session-ID")
            assert answer.json()["ids"] == {"session_id": session, "user_id": "bob"}
            assert ask("/boom", [("X-Session-ID", "s1")]).all("X-Session-ID") == ["s1"]

    def test_many_requests_at_once_keep_apart(self) -> None:
        """
        R1: of 500 requests that are all between reading and echoing each has its own session.
        """
        sessions = [f"session-{number}" for number in range(MANY)]
        with self.serving(type(self).build(TRUSTING)) as port:
            answers = asyncio.run(ask_at_once(port, [("/wait", one) for one in sessions]))
        assert answers == [(one, f"{one} {one}") for one in sessions]

    def with_origins_inside(self, policy: Policy) -> Any:
        """
        Return the application with a CORS middleware inside ours.
        """
        inside = allowing_origins if self.protocol == "asgi" else AllowingOrigins
        return type(self).build(policy, middle=[inside])

    def test_cors_inside_is_merged(self, side: str) -> None:
        """
        S12: our names are added to those that the application exposes, and a
        preflight that it answers has the echo.
        """
        lines = [("Origin", "http://site"), ("X-Session-ID", "s1")]
        app = self.with_origins_inside(Policy(expose=True))
        with self.asking(side, app) as ask:
            answer = ask("/ids", lines)
            preflight = ask("/ids", [*lines, PREFLIGHT], method="OPTIONS")
        assert answer.all("Access-Control-Expose-Headers") == ["X-Total, X-Session-ID"]
        assert answer.json()["ids"] == {"session_id": "s1"}
        assert len(answer.all("Access-Control-Allow-Origin")) == 1
        assert (preflight.status, preflight.all("X-Session-ID")) == (200, ["s1"])

    def test_cors_outside_is_left_alone(self) -> None:
        """
        S12: what a CORS middleware around ours says stays, and the echo passes it.
        """
        lines = [("Origin", "http://site"), ("X-Session-ID", "s1")]
        app = type(self).build(Policy(expose=True))
        inner: Any = app if self.protocol == "asgi" else a2wsgi.WSGIMiddleware(app)
        outside = allowing_origins(inner)
        with serving_asgi(outside) as port:
            answer = over_http(port)("/ids", lines)
            preflight = over_http(port)("/ids", [*lines, PREFLIGHT], method="OPTIONS")
        assert answer.all("X-Session-ID") == ["s1"]
        assert answer.all("Access-Control-Expose-Headers") == ["X-Total"]
        assert (preflight.status, preflight.all("X-Session-ID")) == (200, [])


class WebSockets:
    """
    The contract of frameworks that have WebSockets.

    Attributes:
        denies_by_response: whether a denial is a response of the framework's
            own, which can have the echo, or closes the connection, and the
            server answers.
    """

    build: ClassVar[Callable[..., Any]]
    denies_by_response: ClassVar[bool]

    def test_a_websocket_has_the_ids_and_the_echo(self) -> None:
        """
        R9: the handler sees the IDs, the handshake carries them, and
        the subprotocol stays.
        """
        with (
            serving_asgi(type(self).build(TRUSTING)) as port,
            connect(
                f"ws://127.0.0.1:{port}/ws",
                additional_headers={"X-Session-ID": "s1", "X-User-ID": "bob"},
                subprotocols=[Subprotocol("chat")],
            ) as socket,
        ):
            assert json.loads(socket.recv())["ids"] == {"session_id": "s1", "user_id": "bob"}
            assert socket.subprotocol == "chat"
            assert socket.response is not None
            assert socket.response.headers.get_all("X-Session-ID") == ["s1"]

    def test_a_websocket_has_the_echo_under_a_test_client(self) -> None:
        """
        R9: the same through a test client, without a subprotocol.
        """
        client = TestClient(type(self).build(TRUSTING))
        with client.websocket_connect("/ws", headers={"X-Session-ID": "s1"}) as socket:
            assert socket.receive_json()["ids"] == {"session_id": "s1"}
            assert socket.accepted_subprotocol is None
            assert (b"x-session-id", b"s1") in (socket.extra_headers or [])

    def test_a_denied_websocket_has_the_echo(self) -> None:
        """
        R9: a denial is a 403, with the echo where the framework writes it.
        """
        with (
            serving_asgi(type(self).build(TRUSTING)) as port,
            pytest.raises(InvalidStatus) as denied,
            connect(f"ws://127.0.0.1:{port}/ws-denied", additional_headers={"X-Session-ID": "s1"}),
        ):
            raise AssertionError("it was accepted")
        response = denied.value.response
        expected = ["s1"] if self.denies_by_response else []
        assert (response.status_code, response.headers.get_all("X-Session-ID")) == (403, expected)

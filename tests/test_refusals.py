"""
How a request is refused: the problem, its headers, never the value (R8).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from drive import PROXY, Line, ask_asgi, ask_wsgi, environ_of, http_scope, pairs_of, values_of
from idlanyard import (
    Policy,
    asgi,
    get_session_context,
    get_session_id,
    get_user_id,
    request_spec,
    session_spec,
    subscribe,
    tenant_spec,
    user_spec,
    wsgi,
)

POISON = "evil<script>value"


def _never(value: str, request: Any) -> bool:
    return False


def _later(value: str, request: Any) -> Any:
    async def answer() -> bool:
        raise AssertionError

    return answer()


def _failing(value: str, request: Any) -> bool:
    raise RuntimeError("no answer")


def _by_asgi(policy: Policy, lines: list[Line], method: str = "GET") -> tuple[int, Any, bytes]:
    """
    Return status, headers and body of the ASGI middleware's answer.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the app was called")

    app_ = asgi.SessionContextMiddleware(app, policy)
    start, body = ask_asgi(app_, http_scope(lines, peer=PROXY, method=method))
    assert not body.get("more_body")
    return start["status"], pairs_of(start), body["body"]


def _by_wsgi(policy: Policy, lines: list[Line], method: str = "GET") -> tuple[int, Any, bytes]:
    """
    Return status, headers and body of the WSGI middleware's answer.
    """

    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("the app was called")

    app_ = wsgi.SessionContextMiddleware(app, policy)
    response = ask_wsgi(app_, environ_of(lines, peer=PROXY, REQUEST_METHOD=method))
    assert response.status[3] == " "
    return int(response.status[:3]), response.headers, response.body


Serve = Callable[..., tuple[int, list[Line], bytes]]
BOTH = pytest.mark.parametrize(
    "serve", [pytest.param(_by_asgi, id="asgi"), pytest.param(_by_wsgi, id="wsgi")]
)
REJECT = Policy(session=session_spec(on_invalid="reject"))
S1 = ("X-Session-ID", "s1")

REFUSALS = {
    "a character": (REJECT, [("X-Session-ID", POISON)], 400, "session_id", "character not allowed"),
    "too long": (REJECT, [("X-Session-ID", POISON * 20)], 400, "session_id", "too long"),
    "required": (
        Policy(extra=[request_spec(required=True)]),
        [S1],
        400,
        "request_id",
        "required and absent",
    ),
    "unproven": (
        Policy(user=user_spec(required=True)),
        [S1, ("X-User-ID", "mallory")],
        401,
        "user_id",
        "required and absent",
    ),
    "no match": (
        Policy(trusted_peers=[PROXY], tenant=tenant_spec(must_match=_never)),
        [S1, ("X-Tenant-ID", "acme")],
        403,
        "tenant_id",
        "does not match the request",
    ),
    "a match that nobody awaits": (
        Policy(trusted_peers=[PROXY], tenant=tenant_spec(must_match=_later)),
        [S1, ("X-Tenant-ID", "acme")],
        403,
        "tenant_id",
        "does not match the request",
    ),
    "a match that fails": (
        Policy(trusted_peers=[PROXY], tenant=tenant_spec(must_match=_failing)),
        [S1, ("X-Tenant-ID", "acme")],
        403,
        "tenant_id",
        "does not match the request",
    ),
}
EACH = pytest.mark.parametrize(
    ("policy", "lines", "status", "field", "reason"),
    [pytest.param(*case, id=name) for name, case in REFUSALS.items()],
)


@BOTH
@EACH
def test_a_refusal_is_a_problem(
    serve: Serve, policy: Policy, lines: list[Line], status: int, field: str, reason: str
) -> None:
    """
    The body is RFC 9457 problem+json that names field and reason, and no value (R8).
    """
    answered, headers, body = serve(policy, lines)
    assert answered == status
    problem = json.loads(body)
    assert (problem["status"], problem["field"], problem["reason"]) == (status, field, reason)
    assert problem["type"] == "about:blank"
    assert problem["title"] in ("Bad Request", "Unauthorized", "Forbidden")
    assert values_of(headers, "content-type") == ["application/problem+json"]
    assert values_of(headers, "content-length") == [str(len(body))]
    assert values_of(headers, "cache-control") == ["no-store"]
    assert bool(values_of(headers, "www-authenticate")) is (status == 401)


@BOTH
@EACH
def test_a_refusal_repeats_no_value(
    serve: Serve, policy: Policy, lines: list[Line], status: int, field: str, reason: str
) -> None:
    """
    Neither body nor headers of a refusal have any of the refused value (R8, S29).
    """
    answered, headers, body = serve(policy, lines)
    assert answered == status
    said = body + "".join(value for _, value in headers).encode()
    for value in (POISON, "script", "mallory", "acme"):
        assert value.encode() not in said


@BOTH
@EACH
def test_a_refusal_carries_the_session_that_would_be_bound(
    serve: Serve, policy: Policy, lines: list[Line], status: int, field: str, reason: str
) -> None:
    """
    R8: a refusal has the session's echo header, and no other ID's.
    """
    answered, headers, _ = serve(policy, lines)
    assert answered == status
    [session] = values_of(headers, "X-Session-ID")
    assert session == "s1" or (len(session) == 32 and S1 not in lines)
    for name in ("X-User-ID", "X-Tenant-ID", "X-Request-ID"):
        assert values_of(headers, name) == []


@BOTH
@pytest.mark.parametrize(
    "session",
    [
        pytest.param(None, id="none declared"),
        pytest.param(session_spec(echo=False), id="not echoed"),
    ],
)
def test_a_refusal_without_a_session_to_echo(serve: Serve, session: Any) -> None:
    """
    R8: a refusal has no echo if no session is declared or echoed.
    """
    policy = Policy(session=session, user=user_spec(required=True))
    status, headers, _ = serve(policy, [S1])
    assert (status, values_of(headers, "X-Session-ID")) == (401, [])


@BOTH
def test_head_gets_no_body(serve: Serve) -> None:
    """
    A refused HEAD request gets the same head and no body (R8, RFC 9110).
    """
    _, head, nothing = serve(REJECT, [("X-Session-ID", "a b")], "HEAD")
    _, headers, body = serve(REJECT, [("X-Session-ID", "a b")], "GET")
    assert nothing == b""
    assert values_of(head, "content-length") == values_of(headers, "content-length")
    assert values_of(head, "content-length") == [str(len(body))]


@BOTH
def test_a_refused_request_binds_nothing(serve: Serve) -> None:
    """
    After a refusal nothing is bound (S28).
    """
    serve(REJECT, [("X-Session-ID", "a b")])
    assert get_session_context().is_empty()


TENANT_NEEDED = Policy(tenant=tenant_spec(required=True), trusted_peers=[PROXY])
KNOWN: list[Line] = [("X-Session-ID", "s1"), ("X-User-ID", "bob")]


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        pytest.param("http", ["http.response.start", "http.response.body"], id="http"),
        pytest.param("websocket", ["websocket.close"], id="websocket"),
    ],
)
def test_the_server_logs_a_refusal_with_its_ids(kind: str, sent: list[str]) -> None:
    """
    R4: lines that a server logs while it sends a refusal have the IDs of the request; later ones
    have not, since the server may begin the next request then.
    """
    seen: list[tuple[str, str | None, str | None]] = []

    async def send(message: Any) -> None:
        seen.append((message["type"], get_session_id(), get_user_id()))

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    app = asgi.SessionContextMiddleware(never_called, TENANT_NEEDED)
    scope = http_scope(KNOWN, peer=PROXY) | {"type": kind}
    asyncio.run(app(scope, receive, send))
    assert seen[0] == (sent[0], "s1", "bob")
    assert seen[1:] == [(each, None, None) for each in sent[1:]]


async def never_called(scope: Any, receive: Any, send: Any) -> None:
    """
    Fail: a refused request reaches no application.
    """
    raise AssertionError


def test_the_access_line_of_a_refusal_has_its_ids() -> None:
    """
    R4: over WSGI the access line finds the IDs of a refused request in the environ.
    """
    environ = environ_of(KNOWN, peer=PROXY)
    app = wsgi.SessionContextMiddleware(lambda *_: [], TENANT_NEEDED)
    assert ask_wsgi(app, environ).status.startswith("401")
    assert (environ["idlanyard.session_id"], environ["idlanyard.user_id"]) == ("s1", "bob")
    assert "idlanyard.tenant_id" not in environ


@BOTH
def test_what_is_told_of_a_request_is_told_with_its_ids(serve: Serve) -> None:
    """
    R6: the log line and the event about a dropped value have the IDs of the request.
    """
    seen: list[str | None] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(get_session_id())

    handler = Seen()
    logging.getLogger("idlanyard").addHandler(handler)
    undo = subscribe("reject", lambda _: seen.append(get_session_id()))
    try:
        serve(Policy(tenant=tenant_spec(required=True)), KNOWN)
    finally:
        undo()
        logging.getLogger("idlanyard").removeHandler(handler)
    assert seen == ["s1"] * 4


@BOTH
def test_a_refusal_is_told_once_with_field_and_reason(serve: Serve) -> None:
    """
    The ``reject`` event names field and reason of a refusal once, never the value (R8, S8).
    """
    told: list[Any] = []
    undo = subscribe("reject", told.append)
    try:
        serve(REJECT, [("X-Session-ID", POISON)])
    finally:
        undo()
    [event] = told
    assert (event.field, event.reason) == ("session_id", "character not allowed")
    assert POISON not in repr(event)


@BOTH
def test_required_after_a_rejected_value_is_one_refusal(serve: Serve) -> None:
    """
    A value that is invalid, rejected and required is refused as invalid (R8).
    """
    policy = Policy(session=session_spec(required=True, on_invalid="reject"))
    status, _, body = serve(policy, [("X-Session-ID", "a b")])
    assert (status, json.loads(body)["reason"]) == (400, "character not allowed")

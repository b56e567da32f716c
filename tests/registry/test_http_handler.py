"""
The pure handler: the calls that it asks for, and its replies.
"""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest

from idlanyard import EVERYONE
from idlanyard.registry import (
    SessionNotFound,
    SessionRecord,
    SessionRegistry,
)
from idlanyard.registry.http import Call, Reply, SessionRequest, SessionsHandler
from idlanyard.registry.wsgi import wsgi_app
from registry.asking_faces import (
    ask_wsgi,
)
from registry.http_site import (
    said,
)

NOW = datetime(2025, 10, 15, 8, 34, 11, 753923, tzinfo=UTC)


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

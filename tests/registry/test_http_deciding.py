"""
The HTTP API: grants of ``authorize``, idempotency keys, and faults of the registry.
"""

from __future__ import annotations

import json
import logging
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from idlanyard import EVERYONE, UNSET
from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionNotFound,
    SessionRecord,
    SessionRegistry,
)
from idlanyard.registry._questions import Delete, Extend, Insert, Question, Read
from idlanyard.registry.http import Grant, SessionRequest, SessionsHandler
from registry.asking_faces import FACES
from registry.faces import registry_on
from registry.http_site import said
from registry.test_http_handler import JSON_LINES, names, put

NOW = datetime(2025, 10, 15, 8, 34, 11, 753923, tzinfo=UTC)
RECORD = SessionRecord(session_id="s1", client_id="c1", metadata={"a": 1}, created_at=NOW)
ASKED: dict[str, Any] = {"client_id": "bob", "ttl": 5, "metadata": {"a": 1}}
OTHERS = ("read", "update", "end", "input")
# WSGI, the last one, takes plain functions and a registry that waits.
KINDS = [(face, is_async) for face in FACES for is_async in (False, True)][:-1]


def handler(authorize: Any = lambda request: True, **options: Any) -> SessionsHandler:
    """
    Return a handler whose registry nobody asks.
    """
    return SessionsHandler(SessionRegistry.open("memory://"), authorize=authorize, **options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="a plain yes"),
        pytest.param({"client_id": "alice"}, {"client_id": "alice"}, id="an owner"),
        pytest.param({"client_id": None}, {"client_id": None}, id="no owner"),
        pytest.param({"client_id": ""}, {"client_id": ""}, id="an empty owner"),
        pytest.param({"ttl": 60}, {"ttl": 60}, id="a time to live"),
        pytest.param({"ttl": None}, {"ttl": None}, id="the registry's time to live"),
        pytest.param({"metadata": {"b": (2,)}}, {"metadata": {"b": [2]}}, id="metadata"),
        pytest.param({"metadata": None}, {"metadata": {}}, id="no metadata"),
        pytest.param(
            {"client_id": "alice", "ttl": 0.5, "metadata": {}},
            {"client_id": "alice", "ttl": 0.5, "metadata": {}},
            id="all",
        ),
    ],
)
def test_a_grant_takes_the_place_of_the_body(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    """
    Each value of a grant wins, None too; where none is given the body's does.
    """
    body = json.dumps({"session_id": "s1", **ASKED}).encode()
    calls, reply = put(handler().handle("create", None, JSON_LINES, body), Grant(**given), RECORD)
    assert reply.status == 200
    create: Any = calls[-1].function
    assert create.keywords == ASKED | expected | {"idempotency_key": None}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param({"client_id": 5}, TypeError, id="a number as an owner"),
        pytest.param({"client_id": b"x"}, TypeError, id="bytes as an owner"),
        pytest.param({"client_id": UNSET}, TypeError, id="UNSET, which elsewhere removes"),
        pytest.param({"client_id": "a\nb"}, ValueError, id="a control character"),
        pytest.param({"client_id": "x" * 1025}, ValueError, id="a long owner"),
        pytest.param({"client_id": "\ud800"}, ValueError, id="a lone surrogate"),
        pytest.param({"ttl": 0}, ValueError, id="no time"),
        pytest.param({"ttl": -1}, ValueError, id="less than no time"),
        pytest.param({"ttl": float("nan")}, ValueError, id="not a number"),
        pytest.param({"ttl": 1e12}, ValueError, id="ages"),
        pytest.param({"ttl": "60"}, TypeError, id="text as a time"),
        pytest.param({"ttl": True}, TypeError, id="true as a time"),
        pytest.param({"ttl": timedelta(seconds=5)}, TypeError, id="a timedelta"),
        pytest.param({"metadata": []}, TypeError, id="a list as metadata"),
        pytest.param({"metadata": {1: 2}}, TypeError, id="a number as a name"),
        pytest.param({"metadata": {"x": {1}}}, TypeError, id="a set in metadata"),
        pytest.param({"metadata": {"x": float("inf")}}, ValueError, id="an infinity"),
        pytest.param({"metadata": {"x": "y" * 20_000}}, ValueError, id="long metadata"),
    ],
)
def test_a_grant_is_checked_when_built(given: dict[str, Any], error: type[Exception]) -> None:
    """
    A grant with a value that the registry would refuse raises when it is made.
    """
    (name,) = given
    with pytest.raises(error, match=f"^{name} "):
        Grant(**given)


def test_a_grant_is_a_value() -> None:
    """
    A grant is frozen, keeps a copy of the metadata, and does not print it.
    """
    metadata: dict[str, Any] = {"plan": ["free"]}
    grant = Grant(client_id="alice", metadata=metadata)
    metadata["plan"].append("paid")
    assert grant.metadata == {"plan": ["free"]}
    assert repr(grant) == "Grant(client_id='alice', ttl=LEFT_OUT)"
    assert grant == Grant(client_id="alice", metadata={"plan": ["free"]})
    assert len({grant, Grant(client_id="alice", metadata={"plan": ["free"]})}) == 1
    with pytest.raises(FrozenInstanceError):
        grant.client_id = "bob"  # type: ignore[misc]
    positional: Any = Grant
    with pytest.raises(TypeError):
        positional("alice")


@pytest.mark.parametrize(("face", "is_async"), KINDS)
def test_every_face_takes_a_grant(face: Any, is_async: bool) -> None:
    """
    The registry keeps the values of a grant, on every face.
    """
    registry = SessionRegistry.open("memory://")

    def authorize(request: SessionRequest) -> Grant:
        return Grant(client_id="alice", ttl=60, metadata={"plan": "free"})

    async def authorize_async(request: SessionRequest) -> Grant:
        return authorize(request)

    with face(registry, authorize=authorize_async if is_async else authorize) as ask:
        sent = {"session_id": "s1", "client_id": "bob", "metadata": {"plan": "paid"}, "ttl": 9_999}
        assert ask("POST", "/session/create", json=sent).status_code == 200
    record = registry.get("s1")
    assert (record.client_id, record.metadata) == ("alice", {"plan": "free"})
    assert record.expires_at == record.created_at + timedelta(seconds=60)


@pytest.mark.parametrize("action", OTHERS)
def test_a_grant_is_for_creates_only(action: Any, caplog: pytest.LogCaptureFixture) -> None:
    """
    For anything but a create a grant is no yes, and the log says so once.

    A function that grants whatever it is asked about would open all sessions to each user.
    """
    for _ in range(3):
        body = b"{}" if action in ("update", "input") else b""
        lines = JSON_LINES if body else {}
        calls, reply = put(
            handler(on_input=said).handle(action, "s1", lines, body), RECORD, Grant(client_id="c1")
        )
        assert (names(calls)[0], reply.status) == ("get", 403)
    (record,) = caplog.records
    assert f"to {action} a session with a Grant" in record.getMessage()
    assert "return True" in record.getMessage()


@pytest.mark.parametrize("left", [None, Grant(), Grant(client_id="c9", ttl=7, metadata={})])
def test_the_key_is_for_the_client_s_own_words(left: Grant | None) -> None:
    """
    Retries are compared by their bodies, however these are spelled and whatever the
    server grants this time.
    """
    spellings = (
        r'{"session_id": "s1", "metadata": {"a": [1, 2.5, {"x": null}], "b": "\u00e9"}, "ttl": 60}',
        '{"ttl":60.0,"metadata":{"b":"\u00e9","a":[1.0,2.5,{"x":null}]},"session_id":"s1"}',
        r"""{"client_id": null, "ttl": 6e1, "session_id": "s1",
             "metadata": {"a": [1, 25e-1, {"x": null}], "b": "\u00E9"}}""",
    )
    seen = {create_of(body.encode(), left).keywords["idempotency_key"] for body in spellings}
    assert len(seen) == 1
    assert seen.pop().key == "k"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {"client_id": "c"}, id="a client"),
        pytest.param({}, {"session_id": "c"}, id="an ID"),
        pytest.param({"ttl": 1}, {"ttl": 1.5}, id="a fraction"),
        pytest.param({"metadata": {"a": 1}}, {"metadata": {"a": True}}, id="1 and true"),
        pytest.param({"metadata": {"a": 1}}, {"metadata": {"a": "1"}}, id="1 and text"),
        pytest.param({"metadata": {"a": None}}, {"metadata": {}}, id="null and absent inside"),
        pytest.param(
            {"metadata": {"a": ""}}, {"metadata": {"a": None}}, id="empty and null inside"
        ),
        pytest.param(
            {"metadata": {"a": [1, 2]}}, {"metadata": {"a": [2, 1]}}, id="order in a list"
        ),
        pytest.param(
            {"metadata": {"a": 2**70}}, {"metadata": {"a": 2**70 + 1}}, id="large numbers"
        ),
        pytest.param({"metadata": {"a": "\u00e9"}}, {"metadata": {"a": "e\u0301"}}, id="accents"),
        pytest.param({"metadata": {"a": "A"}}, {"metadata": {"a": "a"}}, id="case"),
    ],
)
def test_other_requests_are_told_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    """
    Bodies that differ as JSON are different requests.
    """
    keys = [
        create_of(json.dumps(body).encode(), None).keywords["idempotency_key"]
        for body in (one, other)
    ]
    assert keys[0].request != keys[1].request


def create_of(body: bytes, grant: Grant | None) -> Any:
    """
    Return the create that the registry is asked for by a body with a key.
    """
    handling = handler().handle("create", None, JSON_LINES | {"idempotency-key": "k"}, body)
    calls, _ = put(handling, grant or True, RECORD)
    create: partial[Any] = calls[-1].function  # type: ignore[assignment]
    return create


@pytest.mark.parametrize("ttls", [(60, 30), (30, 60), (60, None), (None, 60)])
def test_a_retry_is_told_what_the_first_was_granted(
    ttls: tuple[float | None, float | None],
) -> None:
    """
    If the server grants another time to live to the retry, the reply is still
    the first one, byte for byte.
    """
    left = list(ttls)
    registry = SessionRegistry.open("memory://", ttl=500)

    def authorize(request: SessionRequest) -> Grant:
        return Grant(client_id="alice", ttl=left.pop(0), metadata={"left": len(left)})

    with FACES[0](registry, authorize=authorize) as ask:
        headers = {"Idempotency-Key": "k"}
        first, again = (
            ask("POST", "/session/create", json={"session_id": "s1"}, headers=headers)
            for _ in range(2)
        )
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert registry.get("s1").metadata == {"left": 1}


@pytest.mark.parametrize("depth", [9, 400, 900, 3_000])
def test_deep_metadata_with_a_key_is_refused(depth: int) -> None:
    """
    S29: what is nested deeply is 422 also where a key asks for it to be compared.
    """
    body = b'{"metadata": ' + b'{"x":' * depth + b"1" + b"}" * depth + b"}"
    for headers in ({}, {"idempotency-key": "k"}):
        calls, reply = put(handler().handle("create", None, JSON_LINES | headers, body))
        assert (calls, reply.status) == ([], 422)


def test_an_update_is_kept() -> None:
    """
    Metadata takes the place of what was there, and null leaves it.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("s1", client_id="c1", metadata={"a": 1}, ttl=60)
    with FACES[0](registry, authorize=EVERYONE) as ask:
        for sent, expected in (
            ({"metadata": {"b": 2}}, {"b": 2}),
            ({"metadata": None}, {"b": 2}),
            ({}, {"b": 2}),
            ({"metadata": {}}, {}),
        ):
            assert ask("PATCH", "/session/s1", json=sent).status_code == 200
            assert registry.get("s1").metadata == expected
        assert ask("PATCH", "/session/s1").status_code == 200
        assert registry.get("s1").client_id == "c1"


@pytest.mark.parametrize("action", ["update", "input"])
@pytest.mark.parametrize("face", FACES)
def test_a_successor_is_not_touched(face: Any, action: str) -> None:
    """
    A request that was allowed for one session does not touch its successor with the same ID.
    """
    registry = SessionRegistry.open("memory://", ttl=60)
    registry.create("s1", client_id="alice")

    def authorize(request: SessionRequest) -> bool:
        registry.end("s1")
        registry.create("s1", client_id="bob", metadata={"of": "bob"})
        return True

    with face(registry, on_input=said, authorize=authorize) as ask:
        if action == "update":
            answer = ask("PATCH", "/session/s1", json={"ttl": 9_999, "metadata": {}})
        else:
            answer = ask("POST", "/session/s1/input", json={})
    assert answer.status_code == 404
    record = registry.get("s1")
    assert record.metadata == {"of": "bob"}
    assert record.expires_at == record.created_at + timedelta(seconds=60)


@pytest.mark.parametrize("face", FACES)
def test_allow_names_every_method(face: Any) -> None:
    """
    A 405 names all methods of its path, also with no framework around.
    """
    with face(SessionRegistry.open("memory://"), on_input=said, authorize=EVERYONE) as ask:
        for target, posts in (("s1", []), ("create", ["POST"]), ("s1/input", ["POST"])):
            answer = ask("PUT", f"/session/{target}")
            allowed = sorted(answer.headers["allow"].split(", "))
            assert (answer.status_code, allowed) == (405, ["DELETE", "GET", "PATCH", *posts])


FAULT = RegistryMisconfigured("redis", "the password of redis.internal:6379 is wrong")


@pytest.mark.parametrize(("face", "awaited"), KINDS)
@pytest.mark.parametrize("where", ["authorize", "on_input"])
@pytest.mark.parametrize(
    ("error", "status"), [(RegistryUnavailable("redis"), 503), (FAULT, 500)], ids=["down", "fault"]
)
def test_a_registry_that_fails_the_application_fails_the_request(
    face: Any, where: str, awaited: bool, error: Exception, status: int
) -> None:
    """
    An outage inside authorize or on_input is the API's own 503, and a fault
    of configuration its own 500.
    """

    def fails(*arguments: object) -> Any:
        raise error

    async def fails_async(*arguments: object) -> Any:
        raise error

    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    failing: Any = fails_async if awaited else fails
    options: dict[str, Any] = {"on_input": said, "authorize": EVERYONE, where: failing}
    with face(registry, **options) as ask:
        targets = [("POST", "/session/s1/input")]
        if where == "authorize":
            targets += [("POST", "/session/create"), ("PATCH", "/session/s1")]
        for method, target in targets:
            answer = ask(method, target, json={}, raises=True)
            assert answer.status_code == status
            assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
            said_so = answer.json()
            assert said_so.keys() == {"error", "message", "timestamp"}
            assert said_so["error"] == "HTTPException"
            assert "redis" not in answer.text
            assert "password" not in answer.text


class Faulty:
    """
    A store that answers some kinds of questions with a fault; see ``Store``.
    """

    def __init__(self) -> None:
        self.faulty: set[type[Question[Any]]] = {Insert, Read, Extend, Delete}

    def ask(self, question: Question[Any]) -> None:
        """
        Raise the fault, or answer as an empty store would.
        """
        if type(question) in self.faulty:
            raise FAULT from PermissionError("redis.internal:6379 says no")

    def close(self) -> Any:
        """
        Close nothing.
        """


class AsyncFaulty(Faulty):
    """
    The same as an ``AsyncStore``.
    """

    async def ask(self, question: Question[Any]) -> None:  # type: ignore[override]
        """
        Raise the fault, or answer as an empty store would.
        """
        super().ask(question)

    async def close(self) -> Any:
        """
        Close nothing.
        """


@pytest.mark.parametrize(("face", "is_async"), KINDS)
def test_a_fault_is_told_to_the_log_and_nobody_else(
    face: Any, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A fault of configuration is a 500 that says nothing, and one line in the
    log that says everything, once until it works again.
    """
    store = AsyncFaulty() if is_async else Faulty()
    kind = AsyncSessionRegistry if is_async else SessionRegistry

    def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "idlanyard"]

    with face(registry_on(store, kind), on_input=said, authorize=EVERYONE) as ask:
        requests: list[tuple[str, str, Any]] = [
            ("POST", "/session/create", {"session_id": "s1"}),
            ("GET", "/session/s1", None),
            ("PATCH", "/session/s1", {}),
            ("DELETE", "/session/s1", None),
            ("POST", "/session/s1/input", {}),
        ]
        for method, target, body in requests * 2:
            answer = ask(method, target, json=body, raises=True)
            assert (answer.status_code, "retry-after" in answer.headers) == (500, False)
            assert answer.json().keys() == {"error", "message", "timestamp"}
            assert "redis" not in answer.text
            assert "password" not in answer.text
        (record,) = told()
        assert record.levelno == logging.ERROR
        assert "the password of redis.internal:6379 is wrong" in record.getMessage()
        assert "PermissionError: redis.internal:6379 says no" in caplog.text
        assert "Traceback" in caplog.text
        # Reads work, and say nothing of the writes.
        store.faulty = {Insert, Extend}
        assert ask("GET", "/session/s1").status_code == 404
        store.faulty |= {Read}
        assert ask("PATCH", "/session/s1", json={}).status_code == 500
        told_before = len(told())
        store.faulty = set()
        for method, target, body in requests:
            ask(method, target, json=body)
        assert len(told()) == told_before
        store.faulty = {Insert}
        ask("POST", "/session/create", json={"session_id": "s1"})
        assert len(told()) == told_before + 1


def test_two_faults_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """
    Another fault is not covered by one that is known.
    """
    decides = handler()
    other = RegistryMisconfigured("redis", "the server evicts sessions")
    for error in (FAULT, other, FAULT, other):
        _, reply = put(decides.handle("read", "s1", {}, b""), error)
        assert reply.status == 500
    assert len(caplog.records) == 2
    _, reply = put(decides.handle("read", "s1", {}, b""), SessionNotFound("s1"), False)
    assert reply.status == 403
    put(decides.handle("read", "s1", {}, b""), FAULT)
    assert len(caplog.records) == 3

"""
A signed user through the middlewares of both protocols.
"""

from __future__ import annotations

import logging
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive import PROXY, STRANGER, Line, ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    Policy,
    Provenance,
    asgi,
    get_session_context,
    subscribe,
    tenant_spec,
    user_spec,
    wsgi,
)
from idlanyard.signing import SignedHeader
from signing.forging import AUDIENCE, KEY, SIGNATURE, UNKNOWN, forge

NAME = "X-Signed-User-ID"
GUNICORN = "gunicorn/23.0.0"
SERVERS = [GUNICORN, "granian"]


class Seen(NamedTuple):
    """
    The user as an application sees it, its headers, and the reasons for which IDs were dropped.
    """

    user: str | None
    provenance: Provenance | None
    headers: dict[str, str]
    reasons: list[str | None]


def policy_of(**rules: Any) -> Policy:
    """
    Return a policy that believes signed users, and the proxy.
    """
    source = SignedHeader(NAME, field="user_id", keys=[KEY], audience=AUDIENCE)
    tenant = SignedHeader("X-Signed-Tenant-ID", field="tenant_id", keys=[KEY], audience=AUDIENCE)
    return Policy(
        user=user_spec(sources=[source], **rules),
        tenant=tenant_spec(sources=[tenant]),
        trusted_peers=[PROXY],
    )


POLICY = policy_of()


def answer_asgi(policy: Policy, lines: list[Line], peer: str, found: list[Any]) -> str:
    """
    Return the status of an ASGI application that notes what it sees.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append({n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]})
        found.append(get_session_context())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    scope = http_scope(lines, peer=peer)
    sent = ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), scope)
    return str(sent[0]["status"])


def answer_wsgi(
    policy: Policy, lines: list[Line], peer: str, found: list[Any], software: str = GUNICORN
) -> str:
    """
    Return the status of a WSGI application that notes what it sees.
    """

    def app(environ: Any, start_response: Any) -> list[bytes]:
        headers = {key: value for key, value in environ.items() if key.startswith("HTTP_")}
        found.append({key[5:].lower().replace("_", "-"): headers[key] for key in headers})
        found.append(get_session_context())
        start_response("200 OK", [])
        return []

    environ = environ_of(lines, peer=peer, SERVER_SOFTWARE=software)
    return ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ).status[:3]


@contextmanager
def rejections() -> Iterator[list[str | None]]:
    """
    Note the reasons for which IDs are dropped meanwhile.
    """
    reasons: list[str | None] = []
    undo = subscribe("reject", lambda event: reasons.append(event.reason))
    try:
        yield reasons
    finally:
        undo()


def serve(lines: list[Line], *, peer: str = STRANGER, policy: Policy = POLICY) -> Seen:
    """
    Return the same that applications of both protocols see.
    """
    both: list[Seen] = []
    for answer in (answer_asgi, answer_wsgi):
        found: list[Any] = []
        with rejections() as reasons:
            assert answer(policy, lines, peer, found) == "200"
        headers, context = found
        ids = {name: headers[name] for name in headers if name not in ("x-session-id", "host")}
        both.append(Seen(context.user_id, context.provenance("user_id"), ids, reasons))
    assert both[0] == both[1]
    return both[0]


@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["stranger", "trusted"])
def test_a_signed_user_is_believed_from_anyone(peer: str) -> None:
    """
    S1, S23: the signature decides, and the plain header shows the user that it names.
    """
    line = forge("alice")
    for lines in ([(NAME, line)], [("X-User-ID", "admin"), (NAME, line)]):
        seen = serve(lines, peer=peer)
        assert seen[:2] == ("alice", Provenance.SIGNED)
        assert seen.headers == {"x-user-id": "alice", NAME.lower(): line}


@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["stranger", "trusted"])
@pytest.mark.parametrize(
    "made",
    [
        pytest.param({"key": UNKNOWN}, id="an unknown key"),
        pytest.param({"field": "tenant_id"}, id="another field"),
        pytest.param({"audience": "https://orders.internal"}, id="another audience"),
        pytest.param({"age": 301}, id="replayed"),
        pytest.param("alice", id="unsigned"),
        pytest.param("", id="empty"),
        pytest.param("\x80\xff" * 10, id="beyond ASCII"),
        pytest.param("x" * 60_000, id="huge"),
    ],
)
def test_a_forged_user_is_absent_and_leaves_the_request(made: Any, peer: str) -> None:
    """
    S1, S23: neither the line nor the plain header beside it reaches the application.
    """
    line = made if isinstance(made, str) else forge(**made)
    seen = serve([(NAME, line), ("X-User-ID", "admin")], peer=peer)
    assert seen == Seen(None, None, {}, ["not verified"])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param([("Connection", f"close, {NAME}")], "named by Connection", id="S5"),
        pytest.param([("Connection", "x-user-id")], "named by Connection", id="S5, the plain one"),
        pytest.param([("X-Signed_User-ID", "x")], "an alias stands beside it", id="S3"),
        pytest.param([(NAME, "x")], "more than one value", id="S4"),
    ],
)
def test_a_signature_does_not_save_a_request_in_doubt(more: list[Line], reason: str) -> None:
    """
    S3, S4, S5: no weaker source takes the place of a line that is dropped, not even the proxy.
    """
    lines = [(NAME, forge()), *more]
    found: list[Any] = []
    with rejections() as reasons:
        answer_asgi(POLICY, lines, PROXY, found)
    headers, context = found
    assert (context.user_id, NAME.lower() in headers, "x-user-id" in headers) == (
        None,
        False,
        False,
    )
    assert reasons == [reason]


@pytest.mark.parametrize("software", SERVERS)
def test_a_signature_counts_on_servers_that_conflate(software: str) -> None:
    """
    S3: whichever of two spellings such a server keeps, a signature still proves the user.
    """
    found: list[Any] = []
    answer_wsgi(POLICY, [(NAME, forge())], STRANGER, found, software)
    assert found[1].user_id == "alice"


def test_two_lines_that_a_server_has_joined_are_none() -> None:
    """
    S4: with a comma between them, neither counts.
    """
    found: list[Any] = []
    answer_wsgi(POLICY, [(NAME, forge()), (NAME, forge())], STRANGER, found)
    assert found[1].user_id is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("a" * 256, "too long", id="too long"),
        pytest.param("a,b", "character not allowed", id="a comma"),
        pytest.param("-alice", "character not allowed", id="a character"),
    ],
)
def test_a_signed_value_passes_the_check_of_the_id(value: str, reason: str) -> None:
    """
    S6: a signature is no way around the rules of the ID.
    """
    seen = serve([(NAME, forge(value))])
    assert seen[::3] == (None, [reason])


def test_who_is_required_to_sign_and_does_not_is_refused() -> None:
    """
    R10: 401, as for any ID that needs proof.
    """
    policy = policy_of(required=True)
    for line, status in ((forge(), "200"), (forge(key=UNKNOWN), "401"), ("", "401")):
        for answer in (answer_asgi, answer_wsgi):
            assert answer(policy, [(NAME, line)], STRANGER, []) == status


def test_nothing_of_a_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """
    S8: a thousand forged lines are one warning, which names the header and no value.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    middleware = asgi.SessionContextMiddleware(app, POLICY)
    with caplog.at_level(logging.DEBUG):
        for number in range(500):
            for line in (forge(f"mallory-{number}", key=UNKNOWN), f"mallory-{number}"):
                ask_asgi_at_once(middleware, http_scope([(NAME, line)]))
    (record,) = caplog.records
    assert f"only {NAME} is believed" in record.getMessage()
    assert "mallory" not in caplog.text


@given(st.binary())
def test_no_bytes_fail_a_request(raw: bytes) -> None:
    """
    S23: whatever the bytes, the request is answered, and without a user.
    """
    line = raw.decode("latin-1")
    for answer in (answer_asgi, answer_wsgi):
        found: list[Any] = []
        assert answer(POLICY, [(NAME, line)], STRANGER, found) == "200"
        assert found[1].user_id is None


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("x" * 1_000_000, id="a megabyte"),
        pytest.param("0 " * 500_000, id="a megabyte of words"),
        pytest.param("a" * 1_335, id="as long as a line may be"),
        pytest.param("a 0 " + "0" * 1_300, id="digits"),
        pytest.param("a " + "0." * 600, id="dots"),
        pytest.param(f"a a 0.{'A' * SIGNATURE}", id="well formed"),
    ],
)
def test_no_line_takes_longer_than_a_good_one(line: str) -> None:
    """
    S23: a hostile line costs no more than the verification of a good one.
    """
    verify = SignedHeader(NAME, field="user_id", keys=[KEY], audience=AUDIENCE).verify
    hostile, good = (
        min(timeit.repeat(partial(verify, text), number=20, repeat=20)) for text in (line, forge())
    )
    assert hostile <= 3 * good

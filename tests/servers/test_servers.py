"""
What real servers hand over, and what comes back, over raw sockets.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.launch import LISTEN, SERVERS, Running, Server, running
from servers.mounts import SECRET
from servers.raw import ask, handshake


@pytest.fixture(scope="session", params=SERVERS, ids=lambda server: server.name)
def up(request: pytest.FixtureRequest) -> Iterator[Running]:
    """
    One server, started for real, once for all the tests that it serves.
    """
    with running(request.param) as started:
        yield started


GOOD = ("X-User-ID", "good")
EVIL = ("X_User_ID", "evil")
MINTED = 32


def test_a_session_is_minted_and_echoed_once(up: Running) -> None:
    """
    R15, S26: without IDs a session is minted, seen by the application, and echoed once.
    """
    answer = ask(up, "/closed/")
    (session,) = answer.all("x-session-id")
    assert answer.status == 200
    assert len(session) == MINTED
    assert answer.json()["ids"] == {"session_id": session}
    assert answer.json()["headers"]["x-session-id"] == session


def test_a_session_is_read_and_a_spoofed_user_is_gone(up: Running) -> None:
    """
    S1: from a peer that nobody trusts the session is read, the user absent and stripped.
    """
    answer = ask(up, "/closed/", [("X-Session-ID", "s1"), ("X-User-ID", "admin")])
    assert answer.json()["ids"] == {"session_id": "s1"}
    assert b"admin" not in answer.body
    assert (answer.all("x-session-id"), answer.all("x-user-id")) == (["s1"], [])


@pytest.mark.parametrize("lines", [[GOOD, EVIL], [EVIL, GOOD]], ids=["behind", "in front"])
def test_an_alias_is_never_believed(up: Running, lines: list[tuple[str, str]]) -> None:
    """
    S3: beside an alias the user is absent, or the real one where the server drops the alias.
    """
    answer = ask(up, "/trusting/", lines)
    assert answer.json()["ids"].get("user_id") in (None, "good")
    assert b"evil" not in answer.body


def test_a_trusted_peer_is_believed_where_the_server_can_be(up: Running) -> None:
    """
    S3, R6: the peer is believed, but not on a server that lets an alias replace a header.
    """
    conflates = up.server.conflates
    user = ask(up, "/trusting/", [GOOD]).json()["ids"].get("user_id")
    assert user == (None if conflates else "good")
    assert ask(up, "/careless/", [GOOD]).json()["ids"].get("user_id") == "good"
    secret = ask(up, "/secret/", [GOOD, ("X-Proxy-Secret", SECRET)])
    assert secret.json()["how"].get("user_id") == (None if conflates else "peer")
    assert SECRET.encode() not in secret.body
    assert ask(up, "/secret/", [GOOD]).json()["ids"].get("user_id") is None


def test_a_server_that_conflates_is_warned_about_once(up: Running) -> None:
    """
    S3, S8: on a server that may let an alias win there is one warning, naming the fix; else none.
    """
    for _ in range(3):
        ask(up, "/device/", [("X-Device-ID", "d1")])
    log = up.output.read_text(encoding="utf-8", errors="replace")
    warnings = [line for line in log.splitlines() if "device_id" in line and "idlanyard:" in line]
    assert ["unsafe_server_ok" in line for line in warnings] == [True] * up.server.conflates


def test_an_alias_alone_is_never_believed(up: Running) -> None:
    """
    S3: where only an alias of the header is there, the user is absent, with the secret too.
    """
    proof = ("X-Proxy-Secret", SECRET)
    for path in ("/trusting/", "/secret/"):
        answer = ask(up, path, [EVIL, proof])
        assert "user_id" not in answer.json()["ids"]
        assert b"evil" not in answer.body


@pytest.mark.parametrize(
    "values",
    [["a", "b"], ["a", "a"], ["a", ""], ["a,b"], ["a, b"]],
    ids=["two", "twice", "and empty", "joined", "joined with a space"],
)
def test_more_than_one_value_is_none(up: Running, values: list[str]) -> None:
    """
    S4: two lines of one name, or a joined one, are no value at all.
    """
    if up.server.last_wins and len(values) > 1:
        # The last line wins before we see any: for a session that is the client's own affair.
        return
    answer = ask(up, "/trusting/", [("X-Session-ID", value) for value in values])
    assert len(answer.json()["ids"]["session_id"]) == MINTED
    users = ask(up, "/trusting/", [("X-User-ID", value) for value in values])
    assert "user_id" not in users.json()["ids"]


@pytest.mark.parametrize("name", ["X-User-ID", "x-user-id"])
def test_a_header_that_connection_names_is_absent(up: Running, name: str) -> None:
    """
    S5: what Connection names is absent, though the server passes both on.
    """
    answer = ask(up, "/trusting/", [("Connection", f"close, {name}"), GOOD])
    assert "user_id" not in answer.json()["ids"]
    assert b"good" not in answer.body


BAD = [
    pytest.param(b"a b", id="space"),
    pytest.param(b"\x85abc", id="NEL"),
    pytest.param(b"\xc3\xa9", id="not ASCII"),
    pytest.param(b"a\x7f", id="DEL"),
    pytest.param(b"a\x1b[31m", id="escape"),
    pytest.param(b"a\tb", id="tab"),
    pytest.param(b"x" * 256, id="256"),
    pytest.param(b"x" * 5000, id="5,000"),
    pytest.param(b"-" * 60_000 + b"0" * 32, id="60 KB"),
    pytest.param(b"<script>", id="markup"),
    pytest.param(b"a;b", id="semicolon"),
    pytest.param(b'"a"', id="quotes"),
    pytest.param(b"a\x00b", id="NUL"),
    pytest.param(b"a\nSet-Cookie: s=evil", id="line feed"),
    pytest.param(b"a\rSet-Cookie: s=evil", id="carriage return"),
    pytest.param(b"a\r\n Set-Cookie: s=evil", id="folded"),
    pytest.param(b"\xff" * 100, id="bytes"),
]


@pytest.mark.parametrize("value", BAD)
def test_no_bytes_break_anything(up: Running, value: bytes) -> None:
    """
    S6, S7, S29: a bad value is refused by the server, or by us, who mint; it never comes back.
    """
    answer = ask(up, "/closed/", b"X-Session-ID: " + value + b"\r\n")
    assert answer.status in (0, 200, 400, 431)
    assert answer.all("set-cookie") == []
    if answer.status == 200:
        (session,) = answer.all("x-session-id")
        assert answer.json()["ids"]["session_id"] == session
        # A server may cut the line where it sees its end, or strip it: that may leave an ID.
        assert len(session) == MINTED or session in ("a", "abc")
        assert value not in answer.body


def test_the_longest_id_passes(up: Running) -> None:
    """
    S6: 255 characters are taken whole.
    """
    answer = ask(up, "/closed/", [("X-Session-ID", "x" * 255)])
    assert answer.all("x-session-id") == ["x" * 255]


def test_a_refusal_names_the_field_and_never_the_value(up: Running) -> None:
    """
    R8: an absent user is answered 401 as a problem, with the session on the response.
    """
    answer = ask(up, "/demanding/", [("X-Session-ID", "s1"), ("X-User-ID", "admin")])
    assert (answer.status, answer.all("x-session-id")) == (401, ["s1"])
    assert answer.all("content-type") == ["application/problem+json"]
    assert answer.json()["field"] == "user_id"
    assert b"admin" not in answer.body


def test_an_error_leaves_nothing_to_the_next_request(up: Running) -> None:
    """
    S28: after an unhandled error, and after any request, the next one has IDs of its own.
    """
    # uWSGI answers an error by closing the connection.
    answered = 0 if up.server.name == "uwsgi" else 500
    assert ask(up, "/trusting/boom", [("X-Session-ID", "broken")]).status == answered
    for number in range(8):
        answer = ask(up, "/closed/", [("X-Session-ID", f"s{number}")] if number % 2 else ())
        session = answer.json()["ids"]["session_id"]
        assert session == f"s{number}" if number % 2 else len(session) == MINTED


@pytest.fixture(scope="module", params=[s for s in SERVERS if s.websockets], ids=lambda s: s.name)
def socketed(request: pytest.FixtureRequest) -> Server:
    """
    A server that speaks WebSocket.
    """
    server: Server = request.param
    return server


def test_a_websocket_handshake_is_echoed_or_refused(socketed: Server) -> None:
    """
    Defects 4.5 and 4.6, R8: an accepted handshake has the echo; a refused one is never accepted.
    """
    with running(socketed) as up:
        accepted = handshake(up, "/trusting/", [("X-Session-ID", "s1"), GOOD])
        assert accepted.status == 101
        assert (accepted.all("x-session-id"), accepted.all("x-user-id")) == (["s1"], ["good"])
        refused = handshake(up, "/demanding/", [("X-Session-ID", "s1")])
        assert refused.status in (401, 403)
        bad = handshake(up, "/closed/", [("X-Session-ID", "two words")])
        assert (bad.status, [len(value) for value in bad.all("x-session-id")]) == (101, [MINTED])


@pytest.mark.parametrize(
    "server", [server for server in SERVERS if server.unix], ids=lambda server: server.name
)
def test_a_unix_socket_needs_its_word_and_evidence(server: Server) -> None:
    """
    S20: a unix socket is believed if "unix" is written, and there is evidence or assume_unix.
    """
    with running(server, unix=True) as up:
        believed = [
            policy
            for policy in ("trusting", "unix", "assumed")
            if ask(up, f"/{policy}/", [GOOD]).json()["ids"].get("user_id") == "good"
        ]
    assert believed == list(server.unix_trust)


def test_a_peer_that_the_server_rewrote_is_unknown() -> None:
    """
    S19: where uvicorn takes the peer from X-Forwarded-For, nobody is believed by it.
    """
    careless = Server(
        "uvicorn-forwarded",
        (
            "-m",
            "uvicorn",
            "servers.mounts:asgi",
            "--lifespan",
            "off",
            "--forwarded-allow-ips",
            "*",
            *LISTEN,
        ),
        "asgi",
    )
    with running(careless) as up:
        lines = [("X-Forwarded-For", "127.0.0.1"), GOOD]
        assert "user_id" not in ask(up, "/trusting/", lines).json()["ids"]
        assert ask(up, "/trusting/", [GOOD]).json()["ids"]["user_id"] == "good"
        log = up.output.read_text(encoding="utf-8", errors="replace")
    assert log.count("--no-proxy-headers") == 1

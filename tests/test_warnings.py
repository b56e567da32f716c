"""
What the log says of hostile and misrouted requests: each thing once, no value (R6, S8).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from drive import PROXY, STRANGER, Line, ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    EVERYONE,
    Header,
    Policy,
    asgi,
    get_session_context,
    session_context,
    session_spec,
    subscribe,
    user_spec,
    wsgi,
)
from idlanyard.testing import raise_failures

Ask = Callable[..., object]


def _by_asgi(policy: Policy) -> Ask:
    """
    Return a function that asks one ASGI middleware.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    wrapped = asgi.SessionContextMiddleware(app, policy)
    return lambda lines, peer, **_: ask_asgi_at_once(wrapped, http_scope(lines, peer=peer))


def _by_wsgi(policy: Policy) -> Ask:
    """
    Return a function that asks one WSGI middleware.
    """

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return []

    wrapped = wsgi.SessionContextMiddleware(app, policy)
    return lambda lines, peer, **more: ask_wsgi(wrapped, environ_of(lines, peer=peer, **more))


BOTH = pytest.mark.parametrize(
    "door", [pytest.param(_by_asgi, id="asgi"), pytest.param(_by_wsgi, id="wsgi")]
)
Door = Callable[[Policy], Ask]
MALLORY = ("X-User-ID", "mallory")
TRUSTING = Policy(trusted_peers=["10.0.0.0/8"])


@BOTH
@pytest.mark.parametrize(
    ("policy", "lines", "peer", "words"),
    [
        pytest.param(
            Policy(),
            [MALLORY],
            STRANGER,
            ["identity header dropped, nobody is trusted: set trusted_peers"],
            id="nobody is trusted",
        ),
        pytest.param(
            TRUSTING,
            [MALLORY, ("X-Forwarded-For", PROXY)],
            PROXY,
            ["also stands in X-Forwarded-For", "--no-proxy-headers", "that very machine"],
            id="the peer was rewritten",
        ),
    ],
)
def test_each_warning_comes_once(
    door: Door,
    policy: Policy,
    lines: list[Line],
    peer: str,
    words: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Both warnings name the peer and the fix, come once through our logger, and no value (R6).
    """
    ask = door(policy)
    with caplog.at_level(logging.INFO, "idlanyard"):
        for _ in range(3):
            ask(lines, peer)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("idlanyard", logging.WARNING)
    for word in [*words, peer]:
        assert word in record.getMessage()
    assert "mallory" not in record.getMessage()


@BOTH
def test_the_two_warnings_differ(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """
    A rewritten peer is told apart from a peer that is merely not trusted (R6, S19).
    """
    ask = door(TRUSTING)
    with caplog.at_level(logging.INFO, "idlanyard"):
        ask([MALLORY], STRANGER)
        ask([MALLORY, ("X-Real-IP", PROXY)], PROXY)
        ask([MALLORY], STRANGER)
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.WARNING]
    assert STRANGER in caplog.records[0].getMessage()


@BOTH
def test_an_unknown_peer_is_called_unknown(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """
    A peer without an address is named as unknown in the warning (R6, S20).
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        door(Policy())([MALLORY], None)
    assert "(unknown)" in caplog.text


@pytest.mark.parametrize("server", ["Cheroot/11.1", "Granian"])
def test_a_server_that_lets_an_alias_win_is_warned_of(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    On a server where the last spelling wins one warning names the fix (S3).
    """
    ask = _by_wsgi(TRUSTING)
    with caplog.at_level(logging.INFO, "idlanyard"):
        for _ in range(3):
            ask([MALLORY], PROXY, SERVER_SOFTWARE=server)
    [record] = caplog.records
    assert "unsafe_server_ok=True" in record.getMessage()


def test_everyone_is_warned_of_when_the_policy_is_built(caplog: pytest.LogCaptureFixture) -> None:
    """
    ``EVERYONE`` warns once, when the policy is built, and not per request (R6, S1).
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        policy = Policy(trusted_peers=EVERYONE)
        _by_asgi(policy)([MALLORY], STRANGER)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "EVERYONE" in record.getMessage()


def _unreadable(line: str) -> str:
    raise ValueError(line)


BAD: dict[str, tuple[Policy, list[Line]]] = {
    "invalid": (Policy(), [("X-Session-ID", "a\x1b[31mPAYLOAD")]),
    "too long": (Policy(), [("X-Session-ID", "PAYLOAD" * 100)]),
    "rejected": (
        Policy(session=session_spec(on_invalid="reject")),
        [("X-Session-ID", "PAYLOAD PAYLOAD")],
    ),
    "spoofed": (Policy(), [("X-User-ID", "PAYLOAD")]),
    "a stranger": (TRUSTING, [("X-User-ID", "PAYLOAD")]),
    "required": (Policy(user=user_spec(required=True)), [("X-User-ID", "PAYLOAD")]),
    "aliased": (TRUSTING, [("X-User-ID", "PAYLOAD"), ("X_User_ID", "PAYLOAD")]),
    "nominated": (TRUSTING, [("Connection", "X-User-ID, PAYLOAD")]),
}


@BOTH
@pytest.mark.parametrize(
    ("policy", "lines"), [pytest.param(*case, id=name) for name, case in BAD.items()]
)
def test_a_thousand_bad_requests_are_no_log_storm(
    door: Door, policy: Policy, lines: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    """
    1,000 bad requests make at most one record per reason, without a byte of theirs (S8).
    """
    ask = door(policy)
    with caplog.at_level(logging.DEBUG, "idlanyard"):
        for number in range(1000):
            ask([*lines, ("X-Other", str(number))], f"203.0.113.{number % 250}")
    ours = [record for record in caplog.records if record.name == "idlanyard"]
    assert len(ours) <= 1
    assert "PAYLOAD" not in "".join(record.getMessage() for record in ours)


@BOTH
def test_a_parse_that_fails_is_logged_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """
    A hook of the user's that fails per request is logged once and costs no request (R14, S8).
    """
    header = f"X-Raw-{door.__name__.strip('_').replace('_', '-')}"
    ask = door(Policy(session=session_spec(sources=[Header(header, parse=_unreadable)])))
    with caplog.at_level(logging.DEBUG, "idlanyard"):
        for _ in range(100):
            ask([(header, "x")], STRANGER)
    [record] = caplog.records
    assert header in record.getMessage()
    assert record.exc_info is not None


@BOTH
def test_subscribers_hear_of_every_rejection(door: Door) -> None:
    """
    What the log says once, ``reject`` events say each time, with field and reason alone (S8).
    """
    told: list[Any] = []
    undo = subscribe("reject", told.append)
    try:
        ask = door(Policy())
        for _ in range(3):
            ask([MALLORY, ("X-Session-ID", "a b")], STRANGER)
    finally:
        undo()
    assert sorted({(event.field, event.reason) for event in told}) == [
        ("session_id", "character not allowed"),
        ("user_id", "nobody is trusted"),
    ]
    assert len(told) == 6
    assert "mallory" not in repr(told)


@BOTH
def test_subscribers_hear_of_binding_and_minting(door: Door) -> None:
    """
    A request is announced by one ``bind``, and one ``mint`` per fresh ID (design 4).
    """
    told: list[Any] = []
    undos = [subscribe("bind", told.append), subscribe("mint", told.append)]
    try:
        ask = door(TRUSTING)
        ask([("X-Session-ID", "s1")], STRANGER)
        ask([MALLORY], PROXY)
    finally:
        for undo in undos:
            undo()
    assert [(event.name, event.field) for event in told] == [
        ("bind", None),
        ("bind", None),
        ("mint", "session_id"),
    ]
    assert told[1].context.user_id == "mallory"


def test_a_hook_that_raises_on_entry_leaves_nothing_bound() -> None:
    """
    Under test a failing ``bind`` hook raises out of the block, and nothing stays bound (R14, S28).
    """

    def fail(_: Any) -> None:
        raise LookupError("hook")

    undo = subscribe("bind", fail)
    try:
        with raise_failures(), pytest.raises(LookupError), session_context(session_id="s1"):
            pass
    finally:
        undo()
    assert get_session_context().is_empty()

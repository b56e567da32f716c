"""
The log's lines about hostile and misrouted requests: each once, without a value (R6, S8).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from drive import PROXY, STRANGER, Line, ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    EVERYONE,
    Header,
    IDSpec,
    Policy,
    Scope,
    asgi,
    get_session_context,
    session_context,
    session_spec,
    subscribe,
    user_spec,
    wsgi,
)
from idlanyard._decision.reporting import _log_once
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


SECRETIVE = Policy(shared_secret=("X-Proxy-Secret", "s" * 40))
EITHER = Policy(trusted_peers=["10.0.0.0/8"], shared_secret=("X-Proxy-Secret", "s" * 40))
WRONG = ("X-Proxy-Secret", "wrong")


@BOTH
@pytest.mark.parametrize(
    ("policy", "lines", "peer", "words"),
    [
        pytest.param(
            TRUSTING, [MALLORY], STRANGER, ["user_id", STRANGER, "trusted_peers"], id="a stranger"
        ),
        pytest.param(SECRETIVE, [MALLORY], PROXY, ["X-Proxy-Secret", "is missing"], id="no secret"),
        pytest.param(
            SECRETIVE, [MALLORY, WRONG], PROXY, ["X-Proxy-Secret", "does not hold"], id="another"
        ),
        pytest.param(
            SECRETIVE,
            [MALLORY, ("X-Proxy-Secret", "s" * 40), WRONG],
            PROXY,
            ["X-Proxy-Secret", "does not hold"],
            id="two secrets",
        ),
        pytest.param(EITHER, [MALLORY], STRANGER, [STRANGER, "trusted_peers"], id="neither proof"),
        pytest.param(
            EITHER, [MALLORY, WRONG], STRANGER, ["does not hold"], id="a wrong secret of a stranger"
        ),
        pytest.param(
            TRUSTING,
            [("X-User-ID", "o'brien@example.com")],
            PROXY,
            ["user_id", "a character is not allowed", "user_spec(charset='visible')"],
            id="a character",
        ),
        pytest.param(
            Policy(trusted_peers=[PROXY], user=user_spec(charset="visible")),
            [("X-User-ID", "two words")],
            PROXY,
            ["a character is not allowed", "charset says in user_spec"],
            id="a character beyond the widest charset",
        ),
        pytest.param(
            TRUSTING,
            [("X-User-ID", "x" * 256)],
            PROXY,
            ["over 255 characters", "user_spec(max_length=...)"],
            id="too long",
        ),
        pytest.param(
            TRUSTING,
            [("X-User-ID", "alice-1"), ("X-User-ID", "bob-2")],
            PROXY,
            ["value dropped", "user_id"],
            id="repeated",
        ),
        pytest.param(
            TRUSTING,
            [("X-User-ID", "alice-1"), ("Connection", "close, X-User-ID")],
            PROXY,
            ["Connection header names X-User-ID"],
            id="named by Connection",
        ),
        pytest.param(
            Policy(),
            [("X-Session-ID", "_V1StGXR8_Z5jdHi6B-myT")],
            STRANGER,
            ["session_id", "session_spec(charset='visible')"],
            id="a session of anyone's",
        ),
        pytest.param(
            Policy(extra=[IDSpec(name="device_id", header="X-Device-ID", accept="anyone")]),
            [("X-Device-ID", "a b")],
            STRANGER,
            ["device_id", "IDSpec(charset='visible')"],
            id="a further ID",
        ),
        pytest.param(
            Policy(session=session_spec(required=True, mint=None)),
            [],
            STRANGER,
            ["request refused", "send X-Session-ID"],
            id="a refusal: required",
        ),
        pytest.param(
            Policy(session=session_spec(must_match=lambda value, request: False)),
            [("X-Session-ID", "s1")],
            STRANGER,
            ["request refused", "must_match"],
            id="a refusal: no match",
        ),
        pytest.param(
            Policy(session=session_spec(sources=[Header.traceparent()])),
            [("traceparent", "nonsense")],
            STRANGER,
            ["session_id", "found no ID"],
            id="not understood",
        ),
    ],
)
def test_each_reason_is_the_true_one(
    door: Door,
    policy: Policy,
    lines: list[Line],
    peer: str,
    words: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R6: a dropped claim is one WARNING with field, true reason and fix, and never the value.
    """
    ask = door(policy)
    with caplog.at_level(logging.INFO, "idlanyard"):
        for _ in range(3):
            ask(lines, peer)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for word in words:
        assert word in record.getMessage()
    for _, value in lines:
        assert value not in record.getMessage()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param(
            [("X-User-ID", "a"), ("X_User_ID", "b")], "an alias such as X_User_ID", id="beside it"
        ),
        pytest.param([("X_User_ID", "b")], "spelled X_User_ID: write X-User-ID", id="alone"),
    ],
)
def test_an_alias_is_told_of(
    lines: list[Line], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6, S3: an alias of a trusted peer is dropped with a warning, beside the header and alone.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_asgi(TRUSTING)(lines, PROXY)
    [record] = caplog.records
    assert words in record.getMessage()


def test_a_peer_of_the_proxy_protocol_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6, S19: a peer that the server took from the PROXY protocol is named as the reason.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_wsgi(TRUSTING)([MALLORY], PROXY, PROXY_PROTOCOL="TCP4")
    [record] = caplog.records
    assert "PROXY protocol" in record.getMessage()


XFCC = "X-Forwarded-Client-Cert"
ELSEWHERE: dict[str, tuple[list[Any], list[Line], str]] = {
    "required": ([Header(XFCC, parse=str)], [], f"send what a function finds in {XFCC}"),
    "required, by name": ([Header("X-Caller")], [], "send X-Caller"),
    "required of the server": ([Scope("user.id")], [], "let the server set user.id in the ASGI"),
    "an alias alone": (
        [Header(XFCC, parse=str)],
        [("X_Forwarded_Client_Cert", "a")],
        f"spelled X_Forwarded_Client_Cert: write {XFCC}",
    ),
    "an alias beside": (
        [Header("X-A"), Header("X-B")],
        [("X-B", "a"), ("X_B", "a")],
        "an alias such as X_B stands beside X-B",
    ),
    "the one that Connection names": (
        [Header("X-A"), Header("X-B")],
        [("X-B", "a"), ("Connection", "X-B")],
        "Connection header names X-B",
    ),
    "its own, which Connection names": (
        [Header("X-A")],
        [("X-A", "a"), ("Connection", "X-User-ID")],
        "Connection header names X-User-ID",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_the_header_with_the_fault_is_named(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: a warning names the header that is read, and that one of several which has the fault.
    """
    sources, lines, words = ELSEWHERE[case]
    policy = Policy(user=user_spec(sources=sources, required=True), trusted_peers=[PROXY])
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_asgi(policy)(lines, PROXY)
    assert words in caplog.text


@BOTH
def test_each_id_has_a_warning_of_its_own(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: a session of anyone's that is refused does not use up the warning about users.
    """
    ask = door(TRUSTING)
    with caplog.at_level(logging.INFO, "idlanyard"):
        ask([("X-Session-ID", "a b")], STRANGER)
        ask([("X-User-ID", "a b")], PROXY)
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split(": ")[1] for text in texts] == ["session_id", "user_id"]


@BOTH
def test_a_refusal_that_a_drop_explains_is_told_once(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: a request refused since its user was dropped is one warning, with the first reason.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        door(Policy(user=user_spec(required=True)))([MALLORY], STRANGER)
    [record] = caplog.records
    assert "nobody is trusted" in record.getMessage()


@pytest.mark.parametrize("peer", ["\x1b[31mPWN", "testclient", "x" * 60_000, "user=admin"])
def test_a_peer_is_printed_only_if_it_is_an_address(
    peer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6, S8: a peer that a forwarding header has made up never reaches the log.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_asgi(TRUSTING)([MALLORY], peer)
        _by_wsgi(TRUSTING)([MALLORY], peer)
    assert len(caplog.records) == 2
    assert peer not in caplog.text
    assert caplog.text.count("(unknown)") == 2


def test_the_zone_of_a_peer_is_never_printed(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6, S8: an address is printed as it was read, since a zone is any text.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_asgi(TRUSTING)([MALLORY], "fe80::1%\x1b[31mPWN")
        _by_wsgi(TRUSTING)([MALLORY], "fe80::1%\x1b[31mPWN")
    assert caplog.text.count("the peer fe80::1 is not") == 2
    assert "PWN" not in caplog.text


def test_a_test_client_is_told_how_to_have_an_address(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: the peer of Starlette's test client has no address; the warning shows how to give it one.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_asgi(TRUSTING)([MALLORY], "testclient")
    assert "TestClient(app, client=('127.0.0.1', 50000))" in caplog.text


def test_a_unix_socket_is_called_so(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6, S20: the warning names the unix socket if the policy does not trust it.
    """
    with caplog.at_level(logging.INFO, "idlanyard"):
        _by_wsgi(TRUSTING)([MALLORY], "")
    assert "on the unix socket" in caplog.text


def _give_way(frame: FrameType, *_: object) -> Any:
    """
    Give way to another thread at each line that counts a reason.
    """
    if frame.f_code is not _log_once.__code__:
        return None
    os.sched_yield()
    return _give_way


@BOTH
def test_requests_at_once_are_warned_of_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: a reason that several threads meet at once is logged by one of them.
    """

    def meet(ask: Ask, gate: threading.Barrier) -> None:
        before = sys.gettrace()
        gate.wait()
        sys.settrace(_give_way)
        try:
            ask([MALLORY], STRANGER)
        finally:
            sys.settrace(before)

    with caplog.at_level(logging.INFO, "idlanyard"), ThreadPoolExecutor(4) as pool:
        for _ in range(50):
            ask, gate = door(TRUSTING), threading.Barrier(4)
            for asked in [pool.submit(meet, ask, gate) for _ in range(4)]:
                asked.result()
    assert len(caplog.records) == 50


@BOTH
def test_the_two_warnings_differ(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """
    R6, S19: a rewritten peer has another warning than a peer that is merely not trusted.
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
    S3: on a server on which the last spelling wins one warning names the fix.
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
    "named by Connection": (TRUSTING, [("Connection", "X-User-ID, PAYLOAD")]),
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
    S8: a reason that is logged once is a ``reject`` event each time, with field and reason alone.
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
    A request is announced by one ``bind``, and one ``mint`` per fresh ID.
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


def test_a_fork_while_a_warning_is_written_does_not_stop_the_child() -> None:
    """
    A lock that another thread holds at the fork is a new one in the child.
    """
    program = (
        "import os\n"
        "from idlanyard import _failures\n"
        "with _failures._writing:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        _failures.warn_once('x', 'said')\n"
        "        os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("7\n", "said\n")

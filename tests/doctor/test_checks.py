"""
Each check decides on observations alone: tables of what was seen, and the verdict.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from doctor.observing import judged
from idlanyard._doctor._checks._finding import NOT_APPLICABLE, NOT_TRIED, OK, RED
from idlanyard._doctor._observations import (
    IN_PROCESS,
    Application,
    Exchange,
    Lines,
    Observations,
    Probe,
    Rules,
    ServerFacts,
    dump_observations,
    load_observations,
)

OURS = "idlanyard.asgi.SessionContextMiddleware"
SESSION = ("X-Session-ID", "s1")
SPOOF = ("X-User-ID", "idlanyard-doctor-spoofed")
SERVER = ServerFacts(name="uvicorn")
TRUSTING = Rules(trusts_addresses=True)


def exchange(
    label: str = "read",
    status: int = 200,
    headers: Lines | None = None,
    *,
    lane: str = IN_PROCESS,
    path: str = "/idlanyard-doctor-1/read",
    method: str = "GET",
    **more: Any,
) -> Exchange:
    """
    Return an exchange, by default one that is echoed.
    """
    probe = Probe(label=label, path=path, method=method, headers=[SESSION], session="s1")
    found = [SESSION] if headers is None else headers
    return Exchange(lane=lane, probe=probe, status=status, headers=found, **more)


def seen(*exchanges: Exchange, kind: str = "asgi", **more: Any) -> Observations:
    """
    Return observations of an application that has ours outermost.
    """
    application = Application(kind=kind, framework=kind, layers=[OURS, "app.main"], place=0)
    found: dict[str, Any] = {"application": application, "is_installed": True}
    return Observations(**found | {"exchanges": [*exchanges]} | more)


def of_application(**changes: Any) -> Observations:
    """
    Return observations of an application with these facts.
    """
    return replace(seen(), application=replace(seen().application, **changes))


FILE = [("ETag", '"1"')]
PUBLIC = [("Cache-Control", "public")]
DATED = [("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")]
PRIVATE = [SESSION, ("Cache-Control", "private")]
ALLOWED = ("Access-Control-Allow-Origin", "https://shop.example")


@pytest.mark.parametrize(
    ("check", "observations", "verdict"),
    [
        pytest.param("order", seen(), OK, id="ours is outermost"),
        pytest.param(
            "order", of_application(place=1, layers=["a.Flask", OURS]), OK, id="inside Flask itself"
        ),
        pytest.param(
            "order", of_application(place=1, layers=["a.Gzip", OURS]), RED, id="inside another"
        ),
        pytest.param("order", of_application(place=None), NOT_APPLICABLE, id="hidden"),
        pytest.param(
            "order", of_application(faults=[("too late", "move it")]), RED, id="a system check"
        ),
        pytest.param("policy", seen(rules=Rules(believes_anybody=True)), RED, id="anybody"),
        pytest.param("mint", seen(exchange("mint", headers=[])), RED, id="no ID on the response"),
        pytest.param("mint", seen(exchange("mint")), OK, id="an ID on the response"),
        pytest.param("mint", seen(rules=Rules(is_minted=False)), NOT_APPLICABLE, id="never minted"),
        pytest.param("mint", seen(rules=Rules(is_echoed=False)), NOT_APPLICABLE, id="no mint seen"),
        pytest.param("read", seen(exchange(headers=[("x-session-id", "s2")])), RED, id="another"),
        pytest.param("read", seen(exchange(headers=[])), RED, id="none came back"),
        pytest.param("read", seen(rules=Rules(is_read=False)), NOT_APPLICABLE, id="never read"),
        pytest.param("read", seen(rules=Rules(is_echoed=False)), NOT_APPLICABLE, id="no read seen"),
        pytest.param("echo-200", seen(exchange()), OK, id="echoed"),
        pytest.param("echo-200", seen(exchange(headers=[])), RED, id="not echoed"),
        pytest.param("echo-200", seen(exchange(status=404)), NOT_TRIED, id="no 200"),
        pytest.param(
            "echo-200",
            seen(exchange(), rules=Rules(is_echoed=False)),
            NOT_APPLICABLE,
            id="the policy echoes nothing",
        ),
        pytest.param("echo-200", seen(exchange(headers=PUBLIC)), NOT_APPLICABLE, id="public"),
        pytest.param("echo-200", seen(exchange(headers=FILE)), NOT_APPLICABLE, id="a file"),
        pytest.param("echo-200", seen(exchange(headers=DATED)), NOT_APPLICABLE, id="a date"),
        pytest.param(
            "echo-200",
            seen(exchange(headers=PUBLIC, method="POST"), exchange(headers=[])),
            RED,
            id="one is spared and another is not",
        ),
        pytest.param(
            "echo-200",
            seen(exchange(headers=[], path="/health?x=1"), rules=Rules(excluded=["/health"])),
            NOT_APPLICABLE,
            id="excluded",
        ),
        pytest.param("echo-500", seen(exchange(status=500, headers=[])), RED, id="500, not echoed"),
        pytest.param(
            "echo-500",
            seen(exchange(status=0, headers=[], fault="LookupError")),
            NOT_APPLICABLE,
            id="500 of the server",
        ),
        pytest.param(
            "echo-500",
            seen(exchange(status=500, headers=FILE), rules=Rules(is_signed=True)),
            NOT_APPLICABLE,
            id="a stored 500 under signed sessions",
        ),
        pytest.param("echo-stream", seen(exchange(parts=2)), OK, id="a stream"),
        pytest.param("echo-stream", seen(exchange(parts=1)), NOT_TRIED, id="no stream"),
        pytest.param("echo-websocket", seen(kind="wsgi"), NOT_APPLICABLE, id="no WebSockets"),
        pytest.param("echo-websocket", seen(), NOT_TRIED, id="none accepted"),
        pytest.param(
            "echo-websocket", seen(exchange("websocket", 101, [])), RED, id="WebSocket, not echoed"
        ),
        pytest.param("doubled", seen(exchange(headers=[SESSION, SESSION])), RED, id="twice"),
        pytest.param("doubled", seen(exchange()), OK, id="once"),
        pytest.param("doubled", seen(exchange(headers=[])), NOT_APPLICABLE, id="never"),
        pytest.param(
            "duplicates", seen(exchange("duplicate", received=[SESSION])), RED, id="taken"
        ),
        pytest.param(
            "exposure", seen(exchange("cors", headers=[ALLOWED])), RED, id="scripts may not read"
        ),
        pytest.param("exposure", seen(exchange("cors")), NOT_APPLICABLE, id="no CORS"),
        pytest.param(
            "preflight",
            seen(exchange("preflight", headers=[ALLOWED]), rules=Rules(is_read=False)),
            NOT_APPLICABLE,
            id="no script sends it",
        ),
        pytest.param(
            "preflight",
            seen(
                exchange(
                    "preflight",
                    headers=[ALLOWED, ("Access-Control-Allow-Headers", "a, x-session-id")],
                )
            ),
            OK,
            id="scripts may send it",
        ),
        pytest.param("caches", seen(exchange(headers=PRIVATE)), OK, id="private"),
        pytest.param("caches", seen(exchange()), RED, id="silent"),
        pytest.param("caches", seen(exchange(status=500)), OK, id="a silent 500"),
        pytest.param(
            "caches",
            seen(exchange(status=500), rules=Rules(is_signed=True)),
            RED,
            id="a silent 500 under signed sessions",
        ),
        pytest.param("caches", seen(exchange(status=101)), OK, id="no cache keeps a WebSocket"),
        pytest.param("caches", seen(exchange(method="POST")), OK, id="no cache keeps a POST"),
        pytest.param(
            "caches", seen(exchange(headers=[("X-Mine", "id=s1"), *PUBLIC])), RED, id="of others"
        ),
        pytest.param(
            "spoofed-user", seen(exchange("spoof", received=[SPOOF])), RED, id="a spoof arrives"
        ),
        pytest.param(
            "spoofed-user",
            seen(exchange("spoof", bound={"user_id": (SPOOF[1], "peer")})),
            RED,
            id="a spoof is believed",
        ),
        pytest.param(
            "spoofed-user", seen(rules=Rules(identities=[])), NOT_APPLICABLE, id="nothing to claim"
        ),
        pytest.param(
            "aliases",
            seen(exchange("alias", received=[("x_user_id", SPOOF[1])])),
            RED,
            id="an alias arrives",
        ),
        pytest.param(
            "trailers", seen(exchange("trailer", received=[SPOOF])), RED, id="a trailer arrives"
        ),
        pytest.param(
            "trailers",
            seen(is_installed=False, server=replace(SERVER, merges_trailers=True)),
            RED,
            id="the server merges trailers",
        ),
        pytest.param(
            "trailers", seen(is_installed=False, server=SERVER), OK, id="the server drops trailers"
        ),
        pytest.param("trailers", seen(is_installed=False), NOT_TRIED, id="no server for trailers"),
        pytest.param("peer", seen(server=SERVER), OK, id="the peer stays"),
        pytest.param(
            "peer",
            seen(server=replace(SERVER, rewrites_peer=True)),
            OK,
            id="a rewritten peer that nobody asks for",
        ),
        pytest.param(
            "peer",
            seen(server=replace(SERVER, rewrites_peer=True), rules=TRUSTING),
            RED,
            id="a rewritten peer",
        ),
        pytest.param(
            "peer",
            seen(
                server=replace(SERVER, rewrites_peer=True), rules=replace(TRUSTING, has_secret=True)
            ),
            OK,
            id="a rewritten peer beside a secret",
        ),
        pytest.param("conflation", seen(server=SERVER), OK, id="names are kept apart"),
        pytest.param(
            "conflation",
            seen(server=replace(SERVER, conflates=True)),
            OK,
            id="conflated, and nobody is believed",
        ),
        pytest.param(
            "conflation",
            seen(server=replace(SERVER, conflates=True), rules=TRUSTING),
            RED,
            id="conflated, and somebody is believed",
        ),
        pytest.param(
            "conflation",
            seen(server=replace(SERVER, conflates=True), is_installed=False),
            RED,
            id="conflated without ours",
        ),
        pytest.param("context", seen(exchange(left=["idlanyard"])), RED, id="left in process"),
        pytest.param(
            "context",
            seen(server=replace(SERVER, left=["idlanyard"])),
            RED,
            id="left over a server",
        ),
        pytest.param("outgoing", of_application(everyone=["x"]), RED, id="to every host"),
        pytest.param("outgoing", of_application(outgoing=["https://a"]), OK, id="to listed hosts"),
        pytest.param("outgoing", seen(), NOT_APPLICABLE, id="no client"),
    ],
)
def test_verdicts(check: str, observations: Observations, verdict: str) -> None:
    """
    The verdict follows from what was seen, and only a red one needs something to be written.
    """
    finding = judged(check, observations)
    assert finding.verdict == verdict
    assert bool(finding.write) == (verdict in (RED, NOT_TRIED))


PATH = "/idlanyard-doctor-1/read"
BOOM = exchange("given", 500, lane="uvicorn", path="/boom")
READ = exchange(lane="uvicorn")
TRACEBACK = [
    "ERROR: Exception in ASGI application",
    "Traceback (most recent call last):",
    f'  raise LookupError("GET {PATH}")',
    "LookupError: as asked",
]


@pytest.mark.parametrize(
    ("check", "lines", "verdict"),
    [
        pytest.param("access-lines", [f'"GET {PATH} HTTP/1.1" 404'], RED, id="access, without"),
        pytest.param("access-lines", [f's1 "GET {PATH} HTTP/1.1" 404'], OK, id="access, with"),
        pytest.param("access-lines", ['"GET /other HTTP/1.1" 404'], NOT_APPLICABLE, id="of others"),
        pytest.param(
            "access-lines", [f'"GET {PATH}s HTTP/1.1" 404'], NOT_APPLICABLE, id="a longer path"
        ),
        pytest.param("framework-lines", [f"Not Found: {PATH}"], RED, id="framework, without"),
        pytest.param("framework-lines", [f"s1 Not Found: {PATH}"], OK, id="framework, with"),
        pytest.param("framework-lines", TRACEBACK, NOT_APPLICABLE, id="lines of a traceback"),
        pytest.param("error-lines", TRACEBACK, RED, id="error, without"),
        pytest.param("error-lines", ["s1 " + TRACEBACK[0], *TRACEBACK[1:]], OK, id="error, with"),
        pytest.param(
            "error-lines",
            ["INFO - uvicorn.error Started server process [7]", "s1 " + TRACEBACK[0]],
            OK,
            id="error, with, by a logger of that name",
        ),
        pytest.param(
            "error-lines", ['"GET /boom" 500 Internal Server Error'], NOT_APPLICABLE, id="no error"
        ),
    ],
)
def test_lines(check: str, lines: list[str], verdict: str) -> None:
    """
    A line about a request that lacks its session ID is red.
    """
    server = replace(SERVER, output=lines)
    assert judged(check, seen(READ, BOOM, server=server)).verdict == verdict
    hashed = judged(check, seen(READ, BOOM, server=server, rules=Rules(is_logged=False)))
    assert hashed.verdict == NOT_APPLICABLE


def test_a_line_has_a_signed_session_without_its_signature() -> None:
    """
    A session that is minted as ``ID.signature`` is in a line that has its ID.
    """
    server = replace(SERVER, output=[f's2 "GET {PATH} HTTP/1.1" 404'])
    signed = exchange(lane="uvicorn", headers=[("X-Session-ID", f"s2.{'0a' * 16}")])
    assert judged("access-lines", seen(signed, server=server)).verdict == OK


def test_lines_have_a_signed_id_without_its_signature() -> None:
    """
    The ID that a line has to show is that of the response, without the signature.
    """
    minted = exchange(headers=[("X-Session-ID", f"fresh.{'a' * 32}")], lane="uvicorn")
    server = replace(SERVER, output=[f'fresh "GET {PATH} HTTP/1.1" 404'])
    assert judged("access-lines", seen(minted, server=server)).verdict == OK


def test_lines_need_a_server_and_an_error() -> None:
    """
    Without a server no line is judged, and without a failed request no line about an error.
    """
    assert judged("access-lines", seen(BOOM)).verdict == NOT_TRIED
    assert judged("error-lines", seen(BOOM)).verdict == NOT_TRIED
    assert judged("error-lines", seen(READ, server=SERVER)).verdict == NOT_TRIED


def test_without_ours_the_lines_need_it_first() -> None:
    """
    The remedy of a line without IDs begins with the middleware where that is missing.
    """
    server = replace(SERVER, output=[f'"GET {PATH} HTTP/1.1" 200'])
    finding = judged("access-lines", seen(READ, server=server, is_installed=False))
    assert finding.write.startswith("install the middleware")


def test_observations_survive_the_way_between_processes() -> None:
    """
    Observations become JSON and back, as they were.
    """
    more = exchange("spoof", received=[SPOOF], bound={"user_id": ("u", "peer")}, left=["x"])
    found = replace(
        seen(more), application=Application(kind="asgi", framework="django", faults=[("a", "b")])
    )
    assert load_observations(dump_observations(found)) == found

"""
Attacks over raw sockets that no other file makes, against a server of either protocol.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from assertions.minting import claims, ed_key, sign
from attacks.apps import ISSUERS_KEY
from attacks.garbage import random_request
from servers.launch import LISTEN, Running, Server, running
from servers.mounts import SECRET
from servers.raw import Line, ask, send_bytes

SERVERS = [
    Server(
        "uvicorn",
        ("-m", "uvicorn", "attacks.apps:asgi", "--no-proxy-headers", "--lifespan", "off", *LISTEN),
        "asgi",
    ),
    Server(
        "gunicorn",
        (
            *("-m", "gunicorn", "attacks.apps:wsgi", "--no-control-socket"),
            *("-k", "gthread", "--threads", "4", "-b", "127.0.0.1:{port}"),
        ),
        "wsgi",
    ),
]
USER = ("X-User-ID", "alice")
PROOF = ("X-Proxy-Secret", SECRET)
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}")
ALLOWED = {0, 200, 400, 401, 403, 404, 405, 411, 413, 414, 417, 426, 431, 501, 505}


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.protocol)
def up(request: pytest.FixtureRequest) -> Iterator[Running]:
    """
    One server, for all the tests of this file.
    """
    with running(request.param) as started:
        yield started


def user_of(up: Running, path: str, *lines: Line) -> str | None:
    """
    Return the user that the application finds, having checked that it finds no other anywhere.
    """
    answer = ask(up, path, lines)
    assert answer.status == 200, answer.body
    seen = answer.json()
    user: str | None = seen["ids"].get("user_id")
    assert seen["headers"].get("x-user-id") == user
    assert answer.all("x-user-id") == ([] if user is None else [user])
    return user


@pytest.mark.parametrize("policy", ["closed", "nobody", "elsewhere", "exposing"])
def test_a_claim_of_a_stranger_is_taken_out(up: Running, policy: str) -> None:
    """
    S1: without a proof there is no user, in the IDs, the header or the echo.
    """
    assert user_of(up, f"/{policy}/", USER) is None


@pytest.mark.parametrize("value", ["", " ", "\t"], ids=["empty", "a space", "a tab"])
def test_an_empty_header_of_the_proxy_is_no_user(up: Running, value: str) -> None:
    """
    S2: what the proxy sends for somebody who is not logged in is nobody, also after somebody, and
    no other header takes its place; who is asked for is missing.
    """
    assert user_of(up, "/trusting/", USER) == "alice"
    assert user_of(up, "/trusting/", ("X-User-ID", value)) is None
    lines = [("X-User-ID", value), ("X-Auth-Request-User", "mallory")]
    assert user_of(up, "/trusting/", *lines) is None
    assert ask(up, "/demanding/", [PROOF, USER]).status == 200
    refused = ask(up, "/demanding/", [PROOF, ("X-User-ID", value)])
    assert (refused.status, refused.json()["field"]) == (401, "user_id")
    assert SECRET.encode() not in refused.body


def test_what_connection_names_has_no_substitute(up: Running) -> None:
    """
    S5: the next source of the ID is not asked, whoever may write that one.
    """
    lines = [USER, ("X-Auth-Request-User", "mallory")]
    assert user_of(up, "/fallback/", *lines) == "alice"
    for named in ("close, X-User-ID", "X-USER-ID , close", "close,x_user_id"):
        assert user_of(up, "/fallback/", ("Connection", named), *lines) is None


def test_an_ipv4_address_in_ipv6_is_the_same(up: Running) -> None:
    """
    S21: a list that writes the proxy's address as one of IPv6 means that proxy.
    """
    assert user_of(up, "/mapped/", USER) == "alice"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"])
def test_no_header_says_who_the_sender_is(up: Running, name: str) -> None:
    """
    S22: whoever writes the address of a trusted proxy is still a stranger.
    """
    for value in ("10.0.0.5", "10.0.0.5, 127.0.0.1", "for=10.0.0.5", 'for="[::ffff:10.0.0.5]"'):
        assert user_of(up, "/elsewhere/", (name, value), USER) is None


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param([("X-Login-Tenant", "acme"), ("X-Tenant-ID", "acme")], 200, id="its own"),
        pytest.param([("X-Login-Tenant", "acme"), ("X-Tenant-ID", "evil")], 403, id="another"),
        pytest.param([("X-Tenant-ID", "evil")], 403, id="no login"),
        pytest.param([("X-Login-Tenant", "acme"), ("X-Tenant-ID", "ACME")], 403, id="in capitals"),
        pytest.param([("X-Login-Tenant", "acme"), ("X-Tenant-ID", "")], 200, id="no tenant"),
    ],
)
def test_a_tenant_has_to_be_the_one_of_the_login(
    up: Running, lines: list[Line], status: int
) -> None:
    """
    S18: with ``must_match`` the header never wins over the login.
    """
    answer = ask(up, "/matching/", lines)
    assert answer.status == status
    assert b"evil" not in answer.body


def test_only_the_path_is_excluded(up: Running) -> None:
    """
    S24: neither Host nor a query makes another path the excluded one, which is cleaned as well.
    """
    assert user_of(up, "/excluding/health", USER) is None
    for path in ("/excluding/?/excluding/health", "/excluding/health/..", "/excluding//health"):
        assert user_of(up, path, USER) == "alice"
    request = b"GET /excluding/admin HTTP/1.1\r\nHost: x/excluding/health?\r\n"
    answer = send_bytes(up, request + b"X-User-ID: alice\r\nConnection: close\r\n\r\n")
    assert answer.status in (200, 400)
    assert answer.status == 400 or answer.json()["ids"]["user_id"] == "alice"


def test_cors_headers_are_not_ours_to_write(up: Running) -> None:
    """
    S12: without an origin that the application has allowed, nothing is exposed, whoever asks.
    """
    answer = ask(up, "/exposing/", [("Origin", "https://evil.example"), ("X-Session-ID", "s1")])
    assert answer.all("x-session-id") == ["s1"]
    assert not [name for name, _ in answer.lines if name.startswith("access-control")]


def bearer(token: str, scheme: str = "Bearer") -> bytes:
    """
    Return the line of a token.
    """
    return f"Authorization: {scheme} {token}\r\n".encode("latin-1")


TOKEN = sign(ISSUERS_KEY, claims())
OTHERS = sign(ed_key("somebody else's"), claims(sub="mallory"))
LATE = sign(ISSUERS_KEY, claims(sub="mallory", exp=1))


@pytest.mark.parametrize(
    ("lines", "user"),
    [
        pytest.param(bearer(TOKEN), "alice", id="good"),
        pytest.param(bearer(TOKEN, "bEARER"), "alice", id="in any case"),
        pytest.param(bearer(OTHERS), None, id="of another key"),
        pytest.param(bearer(LATE), None, id="expired"),
        pytest.param(bearer(TOKEN) + bearer(TOKEN), None, id="twice"),
        pytest.param(bearer(OTHERS) + bearer(TOKEN), None, id="behind another"),
        pytest.param(bearer(TOKEN) + bearer(OTHERS), None, id="in front of another"),
        pytest.param(bearer(f"{TOKEN}, Bearer {OTHERS}"), None, id="joined with another"),
        pytest.param(bearer(f"{TOKEN}\xff"), None, id="malformed UTF-8 behind it"),
        pytest.param(bearer(f"{TOKEN}\x85"), None, id="NEL behind it"),
        pytest.param(bearer(TOKEN, "Basic"), None, id="of another scheme"),
        pytest.param(bearer(TOKEN) + b"Connection: close, Authorization\r\n", None, id="named"),
        pytest.param(bearer("x." * 3900), None, id="8 KB of dots"),
        pytest.param(bearer(TOKEN) + b"X-User-ID: mallory\r\n", "alice", id="beside a claim"),
    ],
)
def test_a_token_counts_alone_and_whole(up: Running, lines: bytes, user: str | None) -> None:
    """
    S23, S4, S5: one line with one token of the issuer is the user, and anything else is nobody;
    neither a response nor the log has a token in it.
    """
    answer = ask(up, "/bearing/", lines)
    # A server may refuse a line that is no header, or too long.
    assert answer.status in ((200,) if user else (200, 400, 431))
    if answer.status == 200:
        ids = answer.json()["ids"]
        assert ids.get("user_id") == user
        assert answer.json()["how"].get("user_id") == ("signed" if user else None)
    log = up.output.read_text(encoding="utf-8", errors="replace")
    for token in (TOKEN, OTHERS, LATE):
        assert token.encode() not in answer.body
        assert token not in log


def check_random_requests(up: Running, chance: random.Random, number: int) -> int:
    """
    Send random requests, check each answer and what was logged, and return how many they were.
    """
    for _ in range(number):
        request = random_request(chance)
        answer = send_bytes(up, request)
        assert answer.status in ALLOWED, (request, answer)
        assert not answer.all("set-cookie"), (request, answer)
        # Servers repeat a line that they cannot read in a page of their own.
        if answer.all("content-type") == ["application/problem+json"]:
            assert b"mallory" not in answer.body, (request, answer)
        elif answer.status == 200 and answer.body and not request.startswith(b"HEAD"):
            assert all(map(ID.fullmatch, answer.json()["ids"].values())), (request, answer)
    assert user_of(up, "/trusting/", USER) == "alice"
    text = up.output.read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in text, text[-5000:]
    assert not [line for line in text.splitlines() if "idlanyard" in line and "mallory" in line]
    return number


def test_random_requests_are_answered_or_refused(up: Running) -> None:
    """
    S29: whatever bytes are sent, no status is a failure, and the server answers the next request.
    """
    assert check_random_requests(up, random.Random(29), 150) == 150

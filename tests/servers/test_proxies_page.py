"""
What docs/proxies.md says to write is run with the real proxies and servers: users are
believed from the proxy, and nothing that a client has written is (S1 to S3, S19, S20).
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from servers.launch import Running
from servers.proxies import (
    ALICE,
    PAGE,
    PROXIES,
    Seen,
    blocks,
    proxy,
    service,
    starts,
    variables,
)
from servers.raw import Line, ask

BY_SECRET, BY_ADDRESS, BY_SOCKET = (
    "with a shared secret",
    "by the proxy's address",
    "on a unix socket",
)
LOGIN = ("Authorization", f"Basic {ALICE}")
SPOOFS: dict[str, list[Line]] = {
    "nothing": [],
    "header": [("X-User-ID", "mallory"), ("X-Tenant-ID", "evil")],
    "alias": [("X_User_ID", "mallory"), ("X_Tenant_ID", "evil")],
    "other alias": [("X-User_ID", "mallory"), ("X_User-ID", "mallory")],
    "lower case": [("x-user-id", "mallory"), ("x_user_id", "mallory")],
    "twice": [("X-User-ID", "alice"), ("X-User-ID", "mallory")],
    "secret": [("X-Proxy-Secret", "guessed"), ("X-User-ID", "mallory")],
}


def _named(title: str, line: str) -> str:
    words = line.split()
    worker = words[words.index("-k") + 1].partition(".")[0] if "-k" in words else ""
    kind = {BY_SECRET: "secret", BY_ADDRESS: "address", BY_SOCKET: "unix"}[title]
    return "-".join(filter(None, [kind, words[0], worker]))


(SOCKETS,) = blocks("text", f"Start the server: {BY_SOCKET}")


def proxies_for(title: str, start: str) -> list[str]:
    """
    Return the proxies that are tried with a line: all with one line of each proof, else the usual.
    """
    line = starts(title)[0 if title == BY_SECRET else -1]
    return [
        name
        for name, program in PROXIES.items()
        if program.everywhere or (start == line and (title != BY_SOCKET or name in SOCKETS))
    ]


CASES = [(title, line) for title in (BY_SECRET, BY_ADDRESS, BY_SOCKET) for line in starts(title)]


def _seen(up: Seen, lines: list[Line]) -> tuple[str | None, str | None, list[str]]:
    """
    Return who the user is: by the IDs, by the header that the application finds, and by the echo.
    """
    answer = ask(up, "/", lines)
    assert answer.status == 200, answer.body
    seen = answer.json()
    assert answer.all("x-session-id") == [seen["ids"]["session_id"]]
    assert seen["ids"].get("tenant_id") == ("acme" if "user_id" in seen["ids"] else None)
    return seen["ids"].get("user_id"), seen["header"] or None, answer.all("x-user-id")


def _judge(up: Seen, client: str | None) -> None:
    """
    Log in as alice, send what spoofs her, and send that without a login.
    """
    nobody = {spoof: _seen(up, lines) for spoof, lines in SPOOFS.items()}
    assert nobody == dict.fromkeys(SPOOFS, (None, None, []))
    users = {spoof: _seen(up, [LOGIN, *lines]) for spoof, lines in SPOOFS.items()}
    assert users == dict.fromkeys(SPOOFS, ("alice", "alice", ["alice"]))
    if client is not None:
        assert ask(up, "/", [LOGIN]).json()["client"] == client


@pytest.mark.parametrize(
    ("title", "start"), [pytest.param(*case, id=_named(*case)) for case in CASES]
)
def test_users_are_whom_the_proxy_names(title: str, start: str, tmp_path: Path) -> None:
    """
    Behind each proxy, who logs in there is the user, in the IDs, the header and the echo; whoever
    else sends a user's name, in any spelling, is nobody, and his header gone. With the secret
    uvicorn may go by forwarding headers, so the client's address is right.
    """
    client = "127.0.0.2" if title == BY_SECRET else "127.0.0.1"
    with service(start, variables(title), tmp_path) as behind:
        for name in proxies_for(title, start):
            with proxy(name, behind, tmp_path) as up:
                seen = Seen(up.server, up.address, up.output)
                _judge(seen, client if "uvicorn" in start and title != BY_SOCKET else None)
        assert "idlanyard: " not in behind.output.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["nginx", "caddy", "haproxy"])
def test_on_one_machine_it_takes_another_address_or_the_secret(name: str, tmp_path: Path) -> None:
    """
    S19: a request from the proxy's own address has no user, and the log says why; from another
    address, or with the secret, it has.
    """
    lines = [LOGIN, ("X-Session-ID", "s1")]
    for title, users in ((BY_ADDRESS, (None, "alice")), (BY_SECRET, ("alice", "alice"))):
        start = next(line for line in starts(title) if "wsgi_service" in line)
        folder = tmp_path / title.replace(" ", "-")
        folder.mkdir()
        with (
            service(start, variables(title), folder) as behind,
            proxy(name, behind, folder) as up,
        ):
            for source, user in zip(("127.0.0.1", "127.0.0.2"), users, strict=True):
                seen = Seen(up.server, up.address, up.output, source)
                assert ask(seen, "/", lines).json()["ids"].get("user_id") == user
            assert json.loads(_call(up))["ids"].get("user_id") == "alice"
            said = behind.output.read_text(encoding="utf-8")
            assert ("also stands in X-Forwarded-For" in said) == (None in users)
            assert "also stands in X-Forwarded-For" in PAGE


def _call(up: Running) -> str:
    """
    Return what the page's line of curl prints for a proxy.
    """
    assert isinstance(up.address, tuple)
    (line,) = [block for block in blocks("bash") if block.startswith("curl --interface ")]
    words = shlex.split(line.replace("127.0.0.1/", f"127.0.0.1:{up.address[1]}/"))
    done = subprocess.run([*words, "-s"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


PRICES = re.findall(r"^\| `(\S[^`]*)` \| the (\w+) \| `(https?)` \| (yes|no)", PAGE, re.MULTILINE)
BINDS = {
    "uvicorn": "--host 10.0.0.7 --port 8000",
    "gunicorn": "-b 10.0.0.7:8000",
    "hypercorn": "-b 10.0.0.7:8000",
    "granian": "--host 10.0.0.7 --port 8000",
    "waitress-serve": "--listen=10.0.0.7:8000",
}


@pytest.mark.parametrize(
    ("start", "client", "scheme", "believed"), [pytest.param(*row, id=row[0]) for row in PRICES]
)
def test_each_server_costs_what_the_page_says(
    start: str, client: str, scheme: str, believed: str, tmp_path: Path
) -> None:
    """
    S19: by the proxy's address, each start has the client, the scheme and the proof of its row.
    """
    program, _, options = start.partition(" ")
    # gunicorn takes the scheme from 127.0.0.1 by default, so the proxy is at another address.
    line = f"{program} {BINDS[program]} {options}".replace("10.0.0.5", "127.0.0.2")
    lines = [("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-Proto", "https")]
    with service(line, {"IDLANYARD_TRUSTED_PEERS": "127.0.0.2"}, tmp_path) as up:
        proxy_there = Seen(up.server, up.address, up.output)
        seen = ask(proxy_there, "/", [*lines, ("X-User-ID", "alice")]).json()
    assert seen["client"] == {"proxy": "127.0.0.2", "client": "198.51.100.7"}[client]
    assert seen["scheme"] == scheme
    assert ("user_id" in seen["ids"]) == (believed == "yes")


def test_a_socket_is_no_proof_once_the_peer_is_rewritten(tmp_path: Path) -> None:
    """
    S19, S20: where uvicorn takes the client from X-Forwarded-For, a unix socket is none.
    """
    start = next(line for line in starts(BY_SOCKET) if line.startswith("uvicorn"))
    lines = [("X-Forwarded-For", "198.51.100.7"), ("X-User-ID", "alice")]
    for option, user in (("", "alice"), (" --forwarded-allow-ips '*'", None)):
        folder = tmp_path / f"as-{user}"
        folder.mkdir()
        with service(f"{start}{option}", variables(BY_SOCKET), folder) as up:
            assert ask(up, "/", lines).json()["ids"].get("user_id") == user


def test_every_server_of_the_page_has_its_price() -> None:
    """
    The table has a row for each program that the page starts.
    """
    named = {line.split()[0] for title in (BY_SECRET, BY_ADDRESS) for line in starts(title)}
    assert {row[0].split()[0] for row in PRICES} == named

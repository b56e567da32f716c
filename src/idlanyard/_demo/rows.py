"""
The rows of the demo: what is sent, what must be seen, what must come back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from idlanyard._demo.apps import PARTS
from idlanyard._demo.asking import Answer, ask, ask_websocket
from idlanyard._demo.servers import Tracebacks

AT_ONCE: Final = 200
_MINTED: Final = re.compile("[0-9a-f]{32}")
MINT: Final = "<minted>"

Ask = Callable[[int, str, Mapping[str, str]], Answer]


@dataclass(frozen=True)
class Case:
    """
    One request and what must become of it.

    Attributes:
        what: in words.
        path: where it goes.
        headers: what it carries.
        saw: what the application must see, as ``name: (value, provenance)``.
        status: the status that must come back.
        ask: how it is sent.
    """

    what: str
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    saw: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    status: int = 200
    ask: Ask = ask


class Row(NamedTuple):
    """
    One line of the table.
    """

    server: str
    what: str
    sent: str
    saw: str
    back: str
    right: bool


SESSION: Final = {"X-Session-ID": "chat-42"}
IDENTITY: Final = SESSION | {"X-User-ID": "alice", "X-Tenant-ID": "acme"}
CHAT: Final = {"session_id": ("chat-42", "client")}
FRESH: Final = {"session_id": (MINT, "minted")}
PROVEN: Final = CHAT | {"user_id": ("alice", "peer"), "tenant_id": ("acme", "peer")}

CASES: Final = (
    Case("no IDs", saw=FRESH),
    Case("a session", headers=SESSION, saw=CHAT),
    Case("user and tenant from a trusted proxy", "/trusting/", IDENTITY, PROVEN),
    Case("a spoofed user", headers=SESSION | {"X-User-ID": "admin"}, saw=CHAT),
    Case("an invalid session", headers={"X-Session-ID": "two words"}, saw=FRESH),
    Case("a path that does not exist", "/missing", SESSION, CHAT, 404),
    Case("a user identified half-way", "/late", SESSION, CHAT | {"user_id": ("found-out", "code")}),
)
WEBSOCKETS: Final = (
    Case("a WebSocket without IDs", saw=FRESH, status=101, ask=ask_websocket),
    Case(
        "a WebSocket from a trusted proxy",
        "/trusting/",
        IDENTITY,
        PROVEN,
        status=101,
        ask=ask_websocket,
    ),
)


def rows(server: str, port: int, tracebacks: Tracebacks) -> Iterator[Row]:
    """
    Send every request to one server and judge what comes back.
    """
    for case in (*CASES, *(WEBSOCKETS if server == "ASGI" else ())):
        yield judged(server, case, case.ask(port, case.path, case.headers))
    yield streamed(server, ask(port, "/stream", SESSION))
    answer = ask(port, "/boom", {"X-Session-ID": f"broken-{server}"})
    yield failed(server, answer, tracebacks.sessions())
    yield at_once(server, port)


def judged(server: str, case: Case, answer: Answer) -> Row:
    """
    Compare what one request became with what it had to become.
    """
    saw = answer.saw()
    wanted = {name: [_filled(value, saw, name), how] for name, (value, how) in case.saw.items()}
    echo = {f"x-{name.replace('_', '-')}": str(value) for name, (value, _) in wanted.items()}
    user = wanted.get("user_id", [None])[0]
    # A user found out on the way was in no header; one that is spoofed must be gone from it.
    raw = None if user == "found-out" or case.status == 101 else user
    right = (answer.status, answer.echo, saw, answer.raw()) == (case.status, echo, wanted, raw)
    shown = "\n".join(f"{name}: {value} ({how})" for name, (value, how) in saw.items())
    return Row(server, case.what, _lines(case.headers), shown, _back(answer), right)


def streamed(server: str, answer: Answer) -> Row:
    """
    Judge a stream: every part must have been made with the session.
    """
    parts = answer.body.split()
    right = parts == ["chat-42"] * PARTS and answer.echo == {"x-session-id": "chat-42"}
    saw = f"{parts.count('chat-42')} of {PARTS} parts: chat-42"
    return Row(server, "a stream", _lines(SESSION), saw, _back(answer), right)


def failed(server: str, answer: Answer, logged: list[str | None]) -> Row:
    """
    Judge an unhandled error: only the server can write its 500, and its log line has the ID.
    """
    session = f"broken-{server}"
    right = answer.status == 500 and logged.count(session) == 1
    saw = f"the traceback that the server logs carries {session}" if right else f"logged: {logged}"
    sent = _lines({"X-Session-ID": session})
    return Row(server, "an unhandled error", sent, saw, _back(answer), right)


def at_once(server: str, port: int) -> Row:
    """
    Send many requests with different sessions at once, and count the mix-ups.
    """

    def mixed_up(number: int) -> bool:
        session = f"s-{number}"
        answer = ask(port, "/", {"X-Session-ID": session})
        return answer.echo != {"x-session-id": session} or answer.saw() != {
            "session_id": [session, "client"]
        }

    with ThreadPoolExecutor(32) as pool:
        wrong = sum(pool.map(mixed_up, range(AT_ONCE)))
    what = f"{AT_ONCE} requests at once"
    sent = f"X-Session-ID: s-0 ... s-{AT_ONCE - 1}"
    saw = f"{AT_ONCE - wrong} saw their own, {wrong} another's"
    return Row(server, what, sent, saw, f"{AT_ONCE - wrong} x 200, own echo", wrong == 0)


def _filled(value: str, saw: Mapping[str, list[str]], name: str) -> str:
    """
    Put the ID that was minted where the case only says that one is.
    """
    minted = saw.get(name, [""])[0]
    return minted if value == MINT and _MINTED.fullmatch(minted) else value


def _lines(headers: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items()) or "-"


def _back(answer: Answer) -> str:
    return "\n".join([str(answer.status), *(f"{n}: {v}" for n, v in answer.echo.items())])

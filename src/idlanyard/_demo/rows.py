"""
The rows of the demo: requests, and the IDs, statuses and headers that are right for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from idlanyard._demo.apps import PARTS
from idlanyard._demo.asking import DemoResponse, ask, ask_websocket
from idlanyard._demo.servers import Tracebacks

AT_ONCE: Final = 200
_MINTED: Final = re.compile("[0-9a-f]{32}")
MINT: Final = "<minted>"

Ask = Callable[[int, str, Mapping[str, str]], DemoResponse]


@dataclass(frozen=True)
class DemoRequest:
    """
    One request and its right outcome.

    Attributes:
        what: the request in words.
        path: the path.
        headers: the headers.
        saw: the IDs that the application must see, as ``name: (value, provenance)``.
        status: the status of the response.
        ask: the function that sends it.
    """

    what: str
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    saw: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    status: int = 200
    ask: Ask = ask


class DemoRow(NamedTuple):
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

REQUESTS: Final = (
    DemoRequest("no IDs", saw=FRESH),
    DemoRequest("a session", headers=SESSION, saw=CHAT),
    DemoRequest("user and tenant from a trusted proxy", "/trusting/", IDENTITY, PROVEN),
    DemoRequest("a spoofed user", headers=SESSION | {"X-User-ID": "admin"}, saw=CHAT),
    DemoRequest("an invalid session", headers={"X-Session-ID": "two words"}, saw=FRESH),
    DemoRequest("a path that does not exist", "/missing", SESSION, CHAT, 404),
    DemoRequest(
        "a user identified half-way", "/late", SESSION, CHAT | {"user_id": ("found-out", "code")}
    ),
)
WEBSOCKETS: Final = (
    DemoRequest("a WebSocket without IDs", saw=FRESH, status=101, ask=ask_websocket),
    DemoRequest(
        "a WebSocket from a trusted proxy",
        "/trusting/",
        IDENTITY,
        PROVEN,
        status=101,
        ask=ask_websocket,
    ),
)


def judge_server(server: str, port: int, tracebacks: Tracebacks) -> Iterator[DemoRow]:
    """
    Send every request to one server and judge each outcome.
    """
    for case in (*REQUESTS, *(WEBSOCKETS if server == "ASGI" else ())):
        yield judge_request(server, case, case.ask(port, case.path, case.headers))
    yield judge_stream(server, ask(port, "/stream", SESSION))
    answer = ask(port, "/boom", {"X-Session-ID": f"broken-{server}"})
    yield judge_error(server, answer, tracebacks.sessions())
    yield judge_concurrency(server, port)


def judge_request(server: str, case: DemoRequest, answer: DemoResponse) -> DemoRow:
    """
    Compare the outcome of a request with the right one.
    """
    saw = answer.ids_seen()
    wanted = {
        name: [_fill_minted(value, saw, name), how] for name, (value, how) in case.saw.items()
    }
    echo = {f"x-{name.replace('_', '-')}": str(value) for name, (value, _) in wanted.items()}
    user = wanted.get("user_id", [None])[0]
    # A user identified half-way came in no header, and a spoofed user header must be gone.
    raw = None if user == "found-out" or case.status == 101 else user
    right = (answer.status, answer.echo, saw, answer.user_header()) == (
        case.status,
        echo,
        wanted,
        raw,
    )
    shown = "\n".join(f"{name}: {value} ({how})" for name, (value, how) in saw.items())
    return DemoRow(
        server, case.what, _show_headers(case.headers), shown, _show_response(answer), right
    )


def judge_stream(server: str, answer: DemoResponse) -> DemoRow:
    """
    Judge a stream: every part must have been made with the session.
    """
    parts = answer.body.split()
    right = parts == ["chat-42"] * PARTS and answer.echo == {"x-session-id": "chat-42"}
    saw = f"{parts.count('chat-42')} of {PARTS} parts: chat-42"
    return DemoRow(server, "a stream", _show_headers(SESSION), saw, _show_response(answer), right)


def judge_error(server: str, answer: DemoResponse, logged: list[str | None]) -> DemoRow:
    """
    Judge an unhandled error, for which the server writes the 500 and logs a line with the ID.
    """
    session = f"broken-{server}"
    right = answer.status == 500 and logged.count(session) == 1
    saw = f"the traceback that the server logs carries {session}" if right else f"logged: {logged}"
    sent = _show_headers({"X-Session-ID": session})
    return DemoRow(server, "an unhandled error", sent, saw, _show_response(answer), right)


def judge_concurrency(server: str, port: int) -> DemoRow:
    """
    Send many requests with different sessions at once, and count the mix-ups.
    """

    def mixed_up(number: int) -> bool:
        session = f"s-{number}"
        answer = ask(port, "/", {"X-Session-ID": session})
        return answer.echo != {"x-session-id": session} or answer.ids_seen() != {
            "session_id": [session, "client"]
        }

    with ThreadPoolExecutor(32) as pool:
        wrong = sum(pool.map(mixed_up, range(AT_ONCE)))
    what = f"{AT_ONCE} requests at once"
    sent = f"X-Session-ID: s-0 ... s-{AT_ONCE - 1}"
    saw = f"{AT_ONCE - wrong} saw their own, {wrong} another's"
    return DemoRow(server, what, sent, saw, f"{AT_ONCE - wrong} x 200, own echo", wrong == 0)


def _fill_minted(value: str, saw: Mapping[str, list[str]], name: str) -> str:
    """
    Return the ID that was minted in place of ``MINT``.
    """
    minted = saw.get(name, [""])[0]
    return minted if value == MINT and _MINTED.fullmatch(minted) else value


def _show_headers(headers: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items()) or "-"


def _show_response(answer: DemoResponse) -> str:
    return "\n".join([str(answer.status), *(f"{n}: {v}" for n, v in answer.echo.items())])

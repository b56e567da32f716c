"""
How a candidate is measured: whole slices of fresh requests, interleaved.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

ORDINARY = (
    ("host", "example"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
    ("accept", "text/html,application/xhtml+xml"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.7"),
    ("cache-control", "no-cache"),
    ("cookie", "theme=dark; seen=1"),
    ("referer", "http://example/"),
    ("origin", "http://example"),
    ("content-type", "text/plain"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-origin"),
    ("dnt", "1"),
)
# UUIDs, which the peers' validators accept too.
SESSION = ("x-session-id", "3f2a9c04-6d1e-4b7a-8c55-0e9d2f61a7b3")
IDS: dict[str, tuple[tuple[str, str], ...]] = {
    "mint": (),
    "session": (SESSION,),
    "trusted": (
        SESSION,
        ("x-user-id", "9b1c7e52-0f3d-4a86-b2e4-5d7f8a90c1e6"),
        ("x-tenant-id", "c4d8e6f0-1a2b-4c3d-9e5f-6a7b8c9d0e1f"),
    ),
}
IDS["refused"] = IDS["trusted"]
PEERS = {"refused": "203.0.113.9"}
SLICE = 100

Drive = Callable[[Any, int, str, int, int], float]


def lines(path: str, headers: int) -> list[tuple[str, str]]:
    """
    Return the header lines of one request: *headers* foreign ones, and the path's IDs.
    """
    foreign = [ORDINARY[i] if i < len(ORDINARY) else (f"x-other-{i}", "v") for i in range(headers)]
    return [*foreign, *IDS[path]]


async def nowhere(message: Any) -> None: ...


def asgi_scopes(count: int, path: str, headers: int, chunks: int) -> list[dict[str, Any]]:
    """
    Return *count* scopes of one kind of request, made of new objects.

    Bytes that are used again would hide the time of hashing them.
    """
    client = (PEERS.get(path, "10.0.0.5"), 50000)
    return [
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"",
            "headers": [(n.encode(), v.encode()) for n, v in lines(path, headers)],
            "client": client,
            "server": ("127.0.0.1", 80),
            "chunks": chunks,
        }
        for _ in range(count)
    ]


def drive_asgi(app: Any, count: int, path: str, headers: int, chunks: int) -> float:
    """
    Return the nanoseconds of one request, over *count* of them.
    """
    scopes = asgi_scopes(count, path, headers, chunks)

    def run() -> float:
        started = time.perf_counter_ns()
        for scope in scopes:
            coroutine = app(scope, None, nowhere)
            try:
                coroutine.send(None)
            except StopIteration:
                continue
        return (time.perf_counter_ns() - started) / count

    return contextvars.Context().run(run)


def drive_loop(app: Any, count: int, path: str, headers: int, chunks: int) -> float:
    """
    The same on an event loop, for candidates that need one.
    """

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def run() -> float:
        scopes = asgi_scopes(count, path, headers, chunks)
        started = time.perf_counter_ns()
        for scope in scopes:
            await app(scope, receive, nowhere)
        return (time.perf_counter_ns() - started) / count

    return asyncio.run(run())


def drive_wsgi(app: Any, count: int, path: str, headers: int, chunks: int) -> float:
    """
    Return the nanoseconds of one WSGI request; no chunks mean a list body.
    """
    address = PEERS.get(path, "10.0.0.5")

    def environ() -> dict[str, Any]:
        keys = {
            "HTTP_" + name.upper().replace("-", "_"): value for name, value in lines(path, headers)
        }
        return keys | {"REMOTE_ADDR": address, "PATH_INFO": "/", "chunks": chunks}

    environs = [environ() for _ in range(count)]

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None: ...

    def run() -> float:
        started = time.perf_counter_ns()
        for one in environs:
            for _ in app(one, start_response):
                pass
        return (time.perf_counter_ns() - started) / count

    return contextvars.Context().run(run)


def added(
    candidates: dict[str, Any],
    drive: Drive,
    path: str,
    *,
    rounds: int,
    headers: int = 14,
    chunks: int = 1,
) -> dict[str, float]:
    """
    Return what each candidate adds to the bare application, in nanoseconds a request.

    The candidates take turns, slice by slice, so that they share whatever
    else the machine does; the median of the rounds counts.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    count = max(4, SLICE // max(1, chunks // 10))
    gc.collect()
    for _ in range(rounds):
        for name, app in candidates.items():
            times[name].append(drive(app, count, path, headers, chunks))
    bare = statistics.median(times["bare"])
    return {name: statistics.median(values) - bare for name, values in times.items()}

"""
The bare applications, and the loops that send them requests.

Each lane of a benchmark loads a copy of this file of its own (see ``lanes.py``).
"""

from __future__ import annotations

import asyncio
from itertools import count
from time import perf_counter_ns
from typing import Any

# The response's header lines, as ASGI and as WSGI write them: set between slices.
RESPONSE: list[Any] = [(), ()]
# Headers of which most responses have other values than the last one.
NAMES = ("Content-Length", "ETag", "Expires", "Last-Modified", "Set-Cookie")
VARYING = frozenset([*NAMES, *(name.lower().encode() for name in NAMES)])
NUMBERS = count(100_000)
# How many chunks a body has that is streamed.
CHUNKS = 1


async def send(message: Any) -> None:
    pass


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(name + b"", value + b"") for name, value in RESPONSE[0]]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def asgi_varying(scope: Any, receive: Any, send: Any) -> None:
    number = b"%d" % next(NUMBERS)
    headers = [
        (name[:1] + name[1:], value + number if name in VARYING else value[:1] + value[1:])
        for name, value in RESPONSE[0]
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


async def asgi_stream(scope: Any, receive: Any, send: Any) -> None:
    headers = [(name + b"", value + b"") for name, value in RESPONSE[0]]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def drive_asgi(app: Any, scopes: list[Any]) -> int:
    """
    Return the nanoseconds of all these requests.
    """
    started = perf_counter_ns()
    for scope in scopes:
        coroutine = app(scope, None, send)
        try:
            coroutine.send(None)
        except StopIteration:
            pass
    return perf_counter_ns() - started


def drive_loop(app: Any, scopes: list[Any]) -> int:
    """
    Return the nanoseconds of all these requests on an event loop, which some peers need.
    """

    async def run() -> int:
        started = perf_counter_ns()
        for scope in scopes:
            await app(scope, receive, send)
        return perf_counter_ns() - started

    return asyncio.run(run())


def start_response(status: Any, headers: Any, exc_info: Any = None) -> None:
    return None


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", list(RESPONSE[1]))
    return [b"Hello, world!"]


def wsgi_varying(environ: Any, start_response: Any) -> list[bytes]:
    number = str(next(NUMBERS))
    headers = [
        (name, value + number if name in VARYING else value[:1] + value[1:])
        for name, value in RESPONSE[1]
    ]
    start_response("200 OK", headers)
    return [b"Hello, world!"]


def wsgi_stream(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", list(RESPONSE[1]))
    return (b"x" for _ in range(CHUNKS))


def drive_wsgi(app: Any, environs: list[Any]) -> int:
    """
    Return the nanoseconds of all these requests.
    """
    started = perf_counter_ns()
    for environ in environs:
        for _ in app(environ, start_response):
            pass
    return perf_counter_ns() - started

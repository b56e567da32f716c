"""
What importing costs, and what an open connection holds.

    python benchmarks/footprint.py
"""

from __future__ import annotations

import argparse
import contextvars
import gc
import os
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from lanes import TRUSTING, environ_of, scope_of
from profiles import BUILT_IN, Request, load_profiles

from idlanyard import identify
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

Figures = dict[str, float]
Serve = Callable[[int, Request], None]

TARGETS = {
    "bytes held per WebSocket": 1700,
    "import, milliseconds": 60,
    "import over asyncio, milliseconds": 15,
}
BLOCKS = 10
WARM_UP = 100_000


def cpu_seconds(code: str) -> float:
    """
    Return the processor time of a fresh interpreter that runs some code.
    """
    # Without the compiled files, which an installed package has, compiling would be measured.
    environment = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def importing(repeat: int) -> Figures:
    """
    What importing the ASGI middleware costs in a fresh interpreter, in milliseconds.
    """
    loaded = "import asyncio, dataclasses"
    programs = ("pass", "import idlanyard.asgi", loaded, f"{loaded}, idlanyard.asgi")
    times: dict[str, list[float]] = {code: [] for code in programs}
    for _ in range(repeat):
        for code in programs:
            times[code].append(1000 * cpu_seconds(code))
    bare, ours, bare_loaded, ours_loaded = (min(values) for values in times.values())
    return {
        "import, milliseconds": ours - bare,
        "import over asyncio, milliseconds": ours_loaded - bare_loaded,
    }


@types.coroutine
def forever() -> Any:
    yield


async def waiting_app(scope: Any, receive: Any, send: Any) -> None:
    await forever()


async def nowhere(message: Any) -> None: ...


def held_by_websockets(number: int) -> float:
    """
    The bytes that each of *number* open WebSockets holds above the bare application's.
    """
    held = []
    for app in (waiting_app, ASGIMiddleware(waiting_app, TRUSTING)):
        open_ones = []
        tracemalloc.start()
        for _ in range(number):
            scope = {"type": "websocket", "headers": [], "client": ("10.0.0.5", 1)}
            coroutine: Any = app(scope, None, nowhere)
            contextvars.Context().run(coroutine.send, None)
            open_ones.append((scope, coroutine))
        held.append(tracemalloc.get_traced_memory()[0] / number)
        tracemalloc.stop()
        for _, coroutine in open_ones:
            coroutine.close()
    return held[1] - held[0]


def mixed_requests() -> Iterator[tuple[int, Request]]:
    """
    Yield the built-in requests for ever, each time with other IDs and from another client.
    """
    built_in = load_profiles(BUILT_IN).requests
    for number in count():
        request = built_in[number % len(built_in)]
        first = request.client.partition(".")[0]
        client = f"{first}.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"
        headers = (
            (name, f"v{number}") if name.lower().endswith(("-id", "-for")) else (name, value)
            for name, value in request.headers
        )
        yield number, request._replace(client=client, headers=tuple(headers))


def memory_of_requests(total: int, warm_up: int = WARM_UP) -> list[tuple[int, int]]:
    """
    The bytes resident and the blocks allocated after each tenth of so many mixed requests.

    Nothing may be kept of them: each has IDs, a client, forwarding and response
    headers of its own. The requests of the warm-up fill what is bounded.
    """
    serve = (serve_asgi(), serve_wsgi())
    requests = mixed_requests()
    found = []
    # What was there before is none of the requests', and takes long to look through.
    gc.freeze()
    for size in (warm_up, *[total // BLOCKS] * BLOCKS):
        for number, request in islice(requests, size):
            serve[number % 2](number, request)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        found.append((pages * os.sysconf("SC_PAGE_SIZE"), sys.getallocatedblocks()))
    gc.unfreeze()
    return found[1:]


def lines_of(number: int) -> list[tuple[str, str]]:
    """
    Return a response's header lines, of which some were never seen before.
    """
    return [
        ("Content-Type", "text/plain"),
        ("Cache-Control", ("no-store", f"max-age={number}", "private")[number % 3]),
        ("ETag", f'"{number}"'),
        (f"X-Made-Up-{number}", "1"),
    ]


def serve_asgi() -> Serve:
    """
    Return a function that serves one request over ASGI.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identify(user_id=f"user-{scope['number']}")
        headers = [(n.lower().encode(), v.encode()) for n, v in lines_of(scope["number"])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    middleware = ASGIMiddleware(app, TRUSTING)

    def serve(number: int, request: Request) -> None:
        coroutine: Any = middleware(scope_of(request) | {"number": number}, nowhere, nowhere)
        try:
            coroutine.send(None)
        except StopIteration:
            pass

    return serve


def serve_wsgi() -> Serve:
    """
    Return a function that serves one request over WSGI, with a body that is a generator.
    """

    def app(environ: Any, start_response: Any) -> Any:
        identify(user_id=f"user-{environ['number']}")
        start_response("200 OK", lines_of(environ["number"]))
        return (part for part in (b"",))

    middleware = WSGIMiddleware(app, TRUSTING)

    def serve(number: int, request: Request) -> None:
        environ = environ_of(request) | {"number": number}
        for _ in middleware(environ, lambda *_: None):  # type: ignore[arg-type]
            pass

    return serve


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9, help="how often each import is timed")
    repeat = parser.parse_args().repeat
    print("| figure | target | measured | met |\n|---|---|--:|---|")
    held = {"bytes held per WebSocket": held_by_websockets(2_000)}
    for name, value in (held | importing(repeat)).items():
        met = "yes" if value <= TARGETS[name] else "no"
        print(f"| {name} | <= {TARGETS[name]:,} | {value:,.0f} | {met} |")


if __name__ == "__main__":
    main()

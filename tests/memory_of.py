"""
Prints the bytes in use after each of ten blocks of requests.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

from idlanyard import Policy, identify
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

WARM_UP = 10_000
# Counting every allocation is slow, and exact: fewer requests show as small a leak.
BLOCKS = {"tracemalloc": 2_000, "rss": 10_000}
POLICY = Policy(trusted_peers=["10.0.0.0/8"])


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    identify(user_id="somebody")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nowhere(message: Any) -> None: ...


def serve_asgi() -> Callable[[int], None]:
    app = ASGIMiddleware(asgi_app, POLICY)

    def serve(number: int) -> None:
        # Another peer, user and session each time: nothing may be kept of them.
        peer = f"10.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"
        scope: dict[str, Any] = {
            "type": "http",
            "client": (peer, 1),
            "headers": [(b"x-user-id", f"u{number}".encode()), (b"x_user-id", b"x")][: number % 3],
        }
        coroutine = app(scope, None, nowhere)
        try:
            coroutine.send(None)
        except StopIteration:
            pass

    return serve


def serve_wsgi() -> Callable[[int], None]:
    def wsgi_app(environ: Any, start_response: Any) -> Any:
        identify(user_id="somebody")
        start_response("200 OK", [(f"X-{environ['REMOTE_ADDR']}", "made up")])
        return iter([b"x"])

    app = WSGIMiddleware(wsgi_app, POLICY)

    def serve(number: int) -> None:
        peer = f"10.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"
        environ = {"REMOTE_ADDR": peer, "HTTP_X_USER_ID": f"u{number}"}
        for _ in app(environ, lambda *_: None):  # type: ignore[arg-type]
            pass

    return serve


def in_use(meter: str) -> int:
    gc.collect()
    if meter == "tracemalloc":
        return tracemalloc.get_traced_memory()[0]
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(protocol: str, meter: str) -> None:
    serve = serve_asgi() if protocol == "asgi" else serve_wsgi()
    size = BLOCKS[meter]
    if meter == "tracemalloc":
        tracemalloc.start()
    # The first requests fill the bounded caches.
    numbers = count()
    for number in islice(numbers, WARM_UP):
        serve(number)
    for _ in range(10):
        for number in islice(numbers, size):
            serve(number)
        print(in_use(meter))


if __name__ == "__main__":
    main(*sys.argv[1:])

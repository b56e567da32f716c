"""
How the time of a request grows with its header lines, of every kind there is.

    python benchmarks/growth.py

Linear is an exponent of 1 at most; 20,000 lines are to take at most 60 ms on a
machine on which one such line costs a microsecond.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from candidates import TRUSTING

from idlanyard import Baggage, Cookie, Header, IDSpec, Policy, session_spec
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

SIZES = (1_250, 5_000, 20_000)
ROUNDS = 5
PEER = "10.0.0.5"

Lines = Callable[[int], list[tuple[bytes, bytes]]]

KINDS: dict[str, Lines] = {
    "foreign": lambda n: [(b"x-other", b"1")] * n,
    "own, repeated": lambda n: [(b"x-session-id", b"s1")] * n,
    "own, empty": lambda n: [(b"x-user-id", b"")] * n,
    "aliases": lambda n: [(b"x_user_id", b"a"), (b"x-user_id", b"b")] * (n // 2),
    "aliases behind foreign": lambda n: (
        [(b"a", b"")] * (n // 2) + [(b"x_session_id", b"")] * (n // 2)
    ),
    "forwarding, short": lambda n: [(b"x-forwarded-for", b"")] * n,
    "forwarding": lambda n: [(b"x-forwarded-for", b"198.51.100.1")] * n,
    "Forwarded": lambda n: [(b"forwarded", b"for=[;")] * n,
    "Connection": lambda n: [(b"connection", b"close")] * n,
    "named by Connection": lambda n: (
        [(b"connection", b"x-user-id"), (b"x-user-id", b"a")] * (n // 2)
    ),
    "cookies": lambda n: [(b"cookie", b"sid=s1; a=b")] * n,
    "baggage": lambda n: [(b"baggage", b"session.id=s1")] * n,
    "traceparent": lambda n: [(b"traceparent", b"00-x-y-01")] * n,
    "the secret": lambda n: [(b"x-proxy-secret", b"wrong")] * n,
}
POLICIES = {
    "default": Policy(),
    "trusting": TRUSTING,
    "every source": Policy(
        trusted_peers=[PEER],
        shared_secret=("X-Proxy-Secret", "s" * 40),
        exclude=["/health"],
        session=session_spec(sources=["X-Session-ID", Cookie("sid"), Baggage("session.id")]),
        extra=[
            IDSpec(
                name="trace_id",
                header="X-Trace",
                sources=["X-Trace", Header.traceparent()],
                accept="anyone",
            )
        ],
    ),
}


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """
    Pass over the header lines once, as any application does.
    """
    for _ in scope["headers"]:
        pass


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


def time_asgi(policy: Policy, lines: Lines, count: int) -> float:
    """
    Return the seconds of one request with *count* lines over ASGI, the best of some rounds.
    """
    middleware = ASGIMiddleware(asgi_app, policy)

    async def once() -> float:
        scope = {"type": "http", "path": "/", "headers": lines(count), "client": (PEER, 1)}
        begun = time.perf_counter()
        await middleware(scope, None, None)
        return time.perf_counter() - begun

    return min(asyncio.run(once()) for _ in range(ROUNDS))


def time_wsgi(policy: Policy, lines: Lines, count: int) -> float:
    """
    Return the same over WSGI, where the server has joined the lines.
    """
    middleware = WSGIMiddleware(wsgi_app, policy)
    joined: dict[str, list[str]] = {}
    for name, value in lines(count):
        joined.setdefault("HTTP_" + name.decode().upper().replace("-", "_"), []).append(
            value.decode()
        )
    headers = {name: ",".join(values) for name, values in joined.items()}

    def once() -> float:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": PEER, **headers}
        begun = time.perf_counter()
        middleware(environ, lambda *_: None)  # type: ignore[arg-type]
        return time.perf_counter() - begun

    return min(once() for _ in range(ROUNDS))


def exponent(times: list[float], sizes: tuple[int, ...]) -> float:
    """
    Return by which power of the number of lines the time grows, from the first size to the last.
    """
    return math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0])


def measured(sizes: tuple[int, ...] = SIZES) -> dict[str, tuple[float, float]]:
    """
    Return for each protocol, policy and kind of line the exponent and the last time in ms.
    """
    found: dict[str, tuple[float, float]] = {}
    for protocol, measure in (("ASGI", time_asgi), ("WSGI", time_wsgi)):
        for name, policy in POLICIES.items():
            for kind, lines in KINDS.items():
                times = [measure(policy, lines, count) for count in sizes]
                row = f"{protocol}, {name}, {kind}"
                found[row] = exponent(times, sizes), 1000 * times[-1]
    return found


def main() -> None:
    logging.disable()
    # As timeit does: the collector's passes belong to no request.
    gc.disable()
    print(f"| P15: {SIZES[-1]:,} lines | exponent | ms | met |\n|---|--:|--:|---|")
    for row, (power, milliseconds) in measured().items():
        met = "yes" if milliseconds <= 60 else "no"
        print(f"| {row} | {power:.2f} | {milliseconds:.1f} | {met} |")


if __name__ == "__main__":
    main()

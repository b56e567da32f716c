"""
How the cost of a request grows: with its header lines, IDs, chunks, with all that can be many.

    python benchmarks/growth.py [--detail] [--requests 1000000]

Growth in time is an exponent: 1 is linear, 0 constant. 20,000 header lines of any kind are
to take at most 60 ms on a machine on which one such line costs a microsecond, and at most
three times as long as uvicorn or gunicorn takes to parse them. With ``--requests`` the memory
after each tenth of so many mixed requests is measured instead.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any, NamedTuple

from footprint import held_by_websockets, memory_of_requests
from gunicorn.config import Config
from gunicorn.http import RequestParser
from httptools import HttpRequestParser
from lanes import TRUSTING
from logging_records import crowded, factories, in_request, record_cost

from idlanyard import Baggage, Cookie, Header, IDSpec, Policy, session_spec
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

SIZES = (1_250, 5_000, 20_000)
ROUNDS = 5
# A busy machine interrupts what takes long, and makes its growth look steeper than it is.
CLOCK = time.thread_time
# What no longer fits into the processor's caches costs more each; a square would be 2.
LINEAR = 1.25
PEER = "10.0.0.5"
HELD = 1_700
WEBSOCKETS = (100, 1_000, 10_000)

Lines = Callable[[int], list[tuple[bytes, bytes]]]

KINDS: dict[str, Lines] = {
    "foreign": lambda n: [(b"x-other", b"1")] * n,
    "foreign, of many names": lambda n: [(b"x-other-%d" % i, b"1") for i in range(n)],
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
        begun = CLOCK()
        await middleware(scope, None, None)
        return CLOCK() - begun

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
        begun = CLOCK()
        middleware(environ, lambda *_: None)  # type: ignore[arg-type]
        return CLOCK() - begun

    return min(once() for _ in range(ROUNDS))


class Parsed:
    """
    Collects header lines as uvicorn does, which parses by httptools.
    """

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.expects = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expects = True
        self.headers.append((name, value))


def parse_asgi(raw: bytes) -> None:
    """
    Parse a request as uvicorn does.
    """
    parser: Any = HttpRequestParser(Parsed())
    parser.feed_data(raw)


def parse_wsgi(raw: bytes) -> None:
    """
    Parse a request as gunicorn does.
    """
    config = Config()
    config.set("limit_request_fields", 32_768)
    next(RequestParser(config, iter([raw]), (PEER, 1)))


def time_parsing(parse: Callable[[bytes], None], lines: Lines, count: int) -> float:
    """
    Return the seconds in which a server parses a request with *count* lines.
    """
    joined = b"".join(b"%b: %b\r\n" % line for line in lines(count))
    raw = b"GET / HTTP/1.1\r\n" + joined + b"\r\n"

    def once() -> float:
        begun = CLOCK()
        parse(raw)
        return CLOCK() - begun

    return min(once() for _ in range(ROUNDS))


def exponent(times: list[float], sizes: tuple[int, ...]) -> float:
    """
    Return by which power of the size the time grows, from the first size to the last.
    """
    return math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0])


class Lasting(NamedTuple):
    """
    How the time of a request with many lines grows.

    Attributes:
        exponent: from the fewest lines to the most.
        milliseconds: with the most lines.
        parsings: the same over the time in which the server parses them.
    """

    exponent: float
    milliseconds: float
    parsings: float

    @property
    def met(self) -> bool:
        """
        Whether this is within ``LONGEST``.
        """
        return all(one <= most for one, most in zip(self, LONGEST, strict=True))


PROTOCOLS = (("ASGI", time_asgi, parse_asgi), ("WSGI", time_wsgi, parse_wsgi))
LONGEST = Lasting(LINEAR, 60, 3)


def measured(sizes: tuple[int, ...] = SIZES) -> dict[tuple[str, str, str], Lasting]:
    """
    Return how the time grows, by kind of line, protocol and policy.
    """
    found = {}
    for kind, lines in KINDS.items():
        for protocol, measure, parse in PROTOCOLS:
            parsing = time_parsing(parse, lines, sizes[-1])
            for name, policy in POLICIES.items():
                times = [measure(policy, lines, count) for count in sizes]
                lasting = Lasting(exponent(times, sizes), 1000 * times[-1], times[-1] / parsing)
                found[kind, protocol, name] = lasting
    return found


def lines_table(sizes: tuple[int, ...], *, detail: bool) -> Iterator[str]:
    """
    Yield the lines of the table of header lines: by kind the worst of all policies, or each.
    """
    most = "{:g}; {:g}; {:g}".format(*LONGEST)
    yield f"| {sizes[-1]:,} header lines | exponent | ms | / parsing | at most | met |"
    yield "|---|--:|--:|--:|---|---|"
    rows: dict[str, list[Lasting]] = {}
    for (kind, protocol, policy), lasting in measured(sizes).items():
        name = f"{kind}, {protocol}, {policy}" if detail else f"{kind}, {protocol}"
        rows.setdefault(name, []).append(lasting)
    for name, several in rows.items():
        worst = Lasting(*map(max, zip(*several, strict=True)))
        cells = name, *"{:.2f} {:.1f} {:.2f}".format(*worst).split(), most
        yield f"| {' | '.join(cells)} | {'yes' if worst.met else 'no'} |"


def time_requests(app: Any, scope: dict[str, Any], number: int = 20) -> float:
    """
    Return the seconds of one request, the best of some rounds.
    """

    async def send(message: Any) -> None: ...

    def once() -> float:
        begun = CLOCK()
        for _ in range(number):
            try:
                app({**scope}, None, send).send(None)
            except StopIteration:
                continue
        return (CLOCK() - begun) / number

    return min(Context().run(once) for _ in range(ROUNDS))


def extra_ids(count: int) -> tuple[Policy, list[tuple[bytes, bytes]]]:
    """
    Return a policy with *count* further IDs, and a header line with each.
    """
    extra = [IDSpec(name=f"id_{number}", header=f"X-ID-{number}") for number in range(count)]
    lines = [(f"x-id-{number}".encode(), b"v1") for number in range(count)]
    return Policy(trusted_peers=[PEER], extra=extra), lines


def time_ids(count: int, *, present: bool) -> float:
    policy, lines = extra_ids(count)
    scope = {"type": "http", "headers": lines if present else [], "client": (PEER, 1)}
    return time_requests(ASGIMiddleware(asgi_app, policy), scope)


def time_chunks(count: int) -> float:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(count):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    return time_requests(ASGIMiddleware(app, TRUSTING), {"type": "http", "headers": []}, 4)


def time_response(count: int, name: str, value: bytes) -> float:
    """
    Return the seconds of a request to which the response has *count* header lines.
    """
    headers = [(name.format(number).encode(), value) for number in range(count)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    return time_requests(ASGIMiddleware(app, TRUSTING), {"type": "http", "headers": []}, 4)


def time_nested(depth: int) -> float:
    app: Any = asgi_app
    for _ in range(depth):
        app = ASGIMiddleware(app, TRUSTING)
    scope = {"type": "http", "headers": [(b"x-session-id", b"s1")], "client": (PEER, 1)}
    return time_requests(app, scope)


def time_record(foreign: int) -> float:
    """
    Return the seconds of one log record beside so many foreign ContextVars.
    """
    context = crowded(in_request(), foreign)
    ours = factories()["idlanyard"]
    return min(context.run(record_cost, ours, 200) for _ in range(ROUNDS)) / 1e9


class Dimension(NamedTuple):
    """
    Something that there can be many of, and the time that so many cost.
    """

    name: str
    sizes: tuple[int, ...]
    time: Callable[[int], float]
    limit: float = LINEAR


DIMENSIONS = (
    Dimension(
        "IDs declared, absent from the request", (4, 16, 64), lambda n: time_ids(n, present=False)
    ),
    Dimension("IDs declared and present", (4, 16, 64), lambda n: time_ids(n, present=True)),
    Dimension("body chunks", (100, 1_000, 10_000), time_chunks),
    # Few of them would be remembered from one request to the next.
    Dimension(
        "response headers, of many names",
        (2_500, 10_000, 40_000),
        lambda n: time_response(n, "x-other-{}", b"1"),
    ),
    Dimension(
        "response headers, Cache-Control",
        (2_500, 10_000, 40_000),
        lambda n: time_response(n, "cache-control", b"no-cache"),
    ),
    Dimension("nesting depth of the middleware", (2, 8, 32), time_nested),
    Dimension("foreign ContextVars on a log line", (1, 100, 10_000), time_record, 0.05),
)


def others_table(dimensions: tuple[Dimension, ...]) -> Iterator[str]:
    """
    Yield the lines of the table of everything else, in time.
    """
    yield "| of these | how many | exponent | one more costs, ns | target | met |"
    yield "|---|---|--:|--:|--:|---|"
    for name, sizes, measure, limit in dimensions:
        times = [measure(count) for count in sizes]
        power = exponent(times, sizes)
        further = 1e9 * (times[-1] - times[0]) / (sizes[-1] - sizes[0])
        counts = " / ".join(f"{count:,}" for count in sizes)
        met = "yes" if power <= limit else "no"
        yield f"| {name} | {counts} | {power:.2f} | {further:,.0f} | <= {limit:g} | {met} |"


def websockets_table(counts: tuple[int, ...]) -> Iterator[str]:
    """
    Yield the lines of the table of open WebSockets.
    """
    yield "| open WebSockets | bytes each, above bare | target | met |"
    yield "|--:|--:|--:|---|"
    for count in counts:
        held = held_by_websockets(count)
        met = "yes" if held <= HELD else "no"
        yield f"| {count:,} | {held:,.0f} | <= {HELD:,} | {met} |"


def requests_table(total: int) -> Iterator[str]:
    """
    Yield the lines of the table of memory over many mixed requests.
    """
    yield "| requests | MiB resident | grown by | objects allocated | grown by |"
    yield "|--:|--:|--:|--:|--:|"
    tenths = memory_of_requests(total)
    for number, (resident, blocks) in enumerate(tenths, 1):
        more = [
            100 * (now / first - 1)
            for now, first in zip((resident, blocks), tenths[0], strict=True)
        ]
        cells = (
            f"{number * total // len(tenths):,}",
            f"{resident / 2**20:.1f}",
            f"{more[0]:+.2f} %",
            f"{blocks:,}",
            f"{more[1]:+.2f} %",
        )
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--detail", action="store_true", help="header lines by policy too")
    parser.add_argument("--quick", action="store_true", help="few of everything")
    parser.add_argument("--requests", type=int, help="measure memory over so many requests")
    options = parser.parse_args()
    logging.disable()
    if options.requests:
        print("\n".join(requests_table(options.requests)))
        return
    # As timeit does: the collector's passes belong to no request.
    gc.disable()
    sizes = (20, 40) if options.quick else SIZES
    print("\n".join(lines_table(sizes, detail=options.detail)))
    dimensions = tuple(
        one._replace(sizes=one.sizes[:2]) if options.quick else one for one in DIMENSIONS
    )
    print("\n".join(["", *others_table(dimensions)]))
    print("\n".join(["", *websockets_table((10,) if options.quick else WEBSOCKETS)]))


if __name__ == "__main__":
    main()

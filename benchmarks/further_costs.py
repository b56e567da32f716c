"""
What one more costs: a body chunk, a header, an ID, a read; and the peers on an event loop.

    python benchmarks/further_costs.py [--quick] [--processes 3]

Every ratio compares candidates of one interleaved run; the median over
several processes counts. Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import gc
import logging
import timeit
from functools import partial
from os import urandom
from typing import Any

from floor import HELD
from lanes import (
    CANDIDATES,
    FLOOR,
    OURS,
    PEER,
    TRUSTED,
    TRUSTING,
    Added,
    Lane,
    Make,
    measure_lanes,
)
from processes import run_in_processes
from profiles import BUILT_IN, Profiles, Request, Response, load_profiles

from idlanyard import IDSpec, Policy, get_session_id, request_spec
from idlanyard._binding.state import bound
from idlanyard.asgi import SessionContextMiddleware

Ratios = dict[str, float]

# More chunks would take longer than a busy machine leaves alone.
CHUNKS, FOREIGN, IDS = 100, 100, 20
RESPONSE = Response("plain", (("Content-Type", "text/plain"), ("Content-Length", "2")))
PLAIN = load_profiles(BUILT_IN).requests[0]._replace(name="plain")
TARGETS: dict[str, tuple[str, float]] = {
    "further chunk / floor": ("<=", 1.2),
    "further chunk / asgi-correlation-id": ("<=", 0.5),
    "further foreign header / floor": ("<=", 1.1),
    "WSGI, chunk of a body that is no list / floor's mint": ("<=", 0.2),
    "get_session_id / ContextVar.get": ("<=", 4),
    "declared and absent, nanoseconds": ("<=", 10),
    "second minted ID, nanoseconds": ("<=", 700),
}


def added(
    candidates: dict[str, Make],
    requests: tuple[Request, ...] = (PLAIN,),
    *,
    protocol: str = "ASGI",
    rounds: int,
    chunks: int = 0,
    loop: bool = False,
) -> dict[str, Added]:
    """
    Return by request the nanoseconds that each candidate adds.
    """
    lanes = {
        name: (
            Lane(protocol, chunks=chunks, loop=loop),
            Lane(protocol, make, chunks=chunks, loop=loop),
        )
        for name, make in candidates.items()
    }
    found = measure_lanes(lanes, Profiles(requests, (RESPONSE,)), protocol, rounds)
    return {pair.request: times for pair, times in found.items()}


def chunk_costs(candidates: dict[str, Make], protocol: str, rounds: int) -> Added:
    """
    Return the nanoseconds that each candidate adds to a chunk that follows the first.
    """
    one, many = (
        added(candidates, protocol=protocol, rounds=2 * rounds, chunks=chunks)["plain"]
        for chunks in (1, CHUNKS)
    )
    return {name: (many[name] - one[name]) / (CHUNKS - 1) for name in candidates}


def further_chunks(rounds: int) -> Ratios:
    """
    A body chunk that follows the first.
    """
    chunk = chunk_costs(CANDIDATES["ASGI"], "ASGI", rounds)
    wsgi = CANDIDATES["WSGI"]
    floor = added({FLOOR: wsgi[FLOOR]}, protocol="WSGI", rounds=rounds)["plain"][FLOOR]
    streamed = chunk_costs({OURS: wsgi[OURS]}, "WSGI", rounds)
    return {
        "further chunk / floor": chunk[OURS] / chunk[FLOOR],
        "further chunk / asgi-correlation-id": chunk[OURS] / chunk[PEER],
        "WSGI, chunk of a body that is no list / floor's mint": streamed[OURS] / floor,
    }


def further_headers(rounds: int) -> Ratios:
    """
    A header line that is none of ours.
    """
    candidates = {name: CANDIDATES["ASGI"][name] for name in (OURS, FLOOR)}
    # With a hundred lines a collection falls into each slice of one candidate, and would
    # double what a line seems to cost.
    gc.disable()
    try:
        costs = added(candidates, (PLAIN, crowd(FOREIGN)), rounds=2 * rounds)
    finally:
        gc.enable()
    header = {name: costs["crowded"][name] - costs["plain"][name] for name in candidates}
    return {"further foreign header / floor": header[OURS] / header[FLOOR]}


def crowd(foreign: int) -> Request:
    """
    Return the plain request with so many foreign header lines more.
    """
    lines = ((f"x-other-{number}", "v") for number in range(foreign))
    return PLAIN._replace(name="crowded", headers=(*PLAIN.headers, *lines))


def further_ids(rounds: int) -> Ratios:
    """
    What one more declared ID costs, absent and minted.
    """
    # Of one ID alone, the noise would be more than the time.
    absent = [IDSpec(name=f"id_{number}", header=f"X-ID-{number}") for number in range(IDS)]
    policies = {
        "three": TRUSTING,
        "absent": Policy(trusted_peers=[TRUSTED], extra=absent),
        "minted": Policy(trusted_peers=[TRUSTED], extra=[request_spec()]),
    }
    candidates: dict[str, Make] = {
        name: partial(SessionContextMiddleware, policy=policy) for name, policy in policies.items()
    }
    costs = added(candidates, rounds=2 * rounds)["plain"]
    return {
        "declared and absent, nanoseconds": (costs["absent"] - costs["three"]) / IDS,
        "second minted ID, nanoseconds": costs["minted"] - costs["three"],
    }


def reading() -> Ratios:
    """
    Reading the session inside a request.
    """
    ratios: Ratios = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bare = min(timeit.repeat(bound.get, number=10_000, repeat=50))
        ours = min(timeit.repeat(get_session_id, number=10_000, repeat=50))
        ratios["get_session_id / ContextVar.get"] = ours / bare

    coroutine = SessionContextMiddleware(app, TRUSTING)({"type": "http", "headers": []}, None, None)
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    return ratios


def starlette_context(app: Any) -> Any:
    """
    starlette-context's raw middleware with one plugin.
    """
    from starlette_context.middleware import RawContextMiddleware
    from starlette_context.plugins import RequestIdPlugin

    return RawContextMiddleware(app, plugins=(RequestIdPlugin(),))


def base_http(app: Any) -> Any:
    """
    The recipe on Starlette's BaseHTTPMiddleware.
    """
    from starlette.middleware.base import BaseHTTPMiddleware

    async def dispatch(request: Any, call_next: Any) -> Any:
        session = request.headers.get("x-session-id") or urandom(16).hex()
        token = HELD.set(session)
        try:
            response = await call_next(request)
        finally:
            HELD.reset(token)
        response.headers["x-session-id"] = session
        return response

    return BaseHTTPMiddleware(app, dispatch)


def peers(rounds: int) -> Ratios:
    """
    The peers that need an event loop, for the record.
    """
    others: dict[str, Make] = {
        "starlette-context": starlette_context,
        "BaseHTTPMiddleware": base_http,
    }
    candidates = {OURS: CANDIDATES["ASGI"][OURS], **others}
    costs = added(candidates, rounds=max(4, rounds // 4), loop=True)["plain"]
    return {f"mint / {name}": costs[OURS] / costs[name] for name in others}


def measured(rounds: int) -> Ratios:
    """
    Return every figure of one process.
    """
    return (
        further_chunks(rounds)
        | further_headers(rounds)
        | reading()
        | further_ids(rounds)
        | peers(rounds)
    )


def main() -> None:
    # The peers log what they refuse; the time of writing lines is not measured.
    logging.disable()
    run_in_processes(__file__, __doc__.splitlines()[1], measured, TARGETS, rounds=120)


if __name__ == "__main__":
    main()

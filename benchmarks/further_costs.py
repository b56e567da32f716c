"""
What one more costs: a body chunk, a header, an ID, a read; and the peers on an event loop.

    python benchmarks/further_costs.py [--quick] [--processes 3]

Every ratio compares candidates of one interleaved run; the median over
several processes counts. Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import logging
import timeit
from typing import Any

from candidates import ASGI, ASGI_PEERS, WSGI, asgi_app, copied, wsgi_app
from driving import added, drive_asgi, drive_loop, drive_wsgi
from lanes import TRUSTED, TRUSTING
from processes import run_in_processes

from idlanyard import IDSpec, Policy, get_session_id, request_spec
from idlanyard._binding.state import bound
from idlanyard.asgi import SessionContextMiddleware

Ratios = dict[str, float]

FURTHER = 20

TARGETS: dict[str, tuple[str, float]] = {
    "P5 further chunk / floor": ("<=", 1.2),
    "P5 further chunk / asgi-correlation-id": ("<=", 0.5),
    "P6 further foreign header / floor": ("<=", 1.1),
    "P7 WSGI, chunk of a body that is no list / floor's mint": ("<=", 0.2),
    "P12 get_session_id / ContextVar.get": ("<=", 4),
    "P14 declared and absent, nanoseconds": ("<=", 10),
    "P14 second minted ID, nanoseconds": ("<=", 700),
}


def built(candidates: dict[str, Any], app: Any) -> dict[str, Any]:
    """
    Return each candidate around its own copy of *app*.
    """
    return {name: make(copied(app)) for name, make in candidates.items()}


def further_chunks(rounds: int) -> Ratios:
    """
    P5 and P7: a body chunk that follows the first.
    """
    name = "asgi-correlation-id"
    candidates = built(ASGI | {name: ASGI_PEERS[name]}, asgi_app)
    one = added(candidates, drive_asgi, "mint", rounds=rounds // 2)
    many = added(candidates, drive_asgi, "mint", rounds=rounds // 2, chunks=1000)
    chunk = {name: many[name] - one[name] for name in candidates}
    ratios = {
        f"P5 further chunk / {other}": chunk["idlanyard"] / chunk[other]
        for other in ("floor", name)
    }
    wsgi = built(WSGI, wsgi_app)
    floor = added(wsgi, drive_wsgi, "mint", rounds=rounds, chunks=0)["floor"]
    one = added(wsgi, drive_wsgi, "mint", rounds=rounds // 2, chunks=1)
    many = added(wsgi, drive_wsgi, "mint", rounds=rounds // 2, chunks=1000)
    ours = (many["idlanyard"] - one["idlanyard"]) / 999
    ratios["P7 WSGI, chunk of a body that is no list / floor's mint"] = ours / floor
    return ratios


def further_headers(rounds: int) -> Ratios:
    """
    P6: a header line that is none of ours.
    """
    candidates = built(ASGI, asgi_app)
    few = added(candidates, drive_asgi, "mint", rounds=rounds, headers=5)
    full = added(candidates, drive_asgi, "mint", rounds=rounds, headers=100)
    header = {name: full[name] - few[name] for name in candidates}
    return {"P6 further foreign header / floor": header["idlanyard"] / header["floor"]}


def further_ids(rounds: int) -> Ratios:
    """
    P14: what one more declared ID costs, absent and minted.
    """
    # Of one ID alone, the noise would be more than the time.
    extra = [IDSpec(name=f"id_{number}", header=f"X-ID-{number}") for number in range(FURTHER)]
    candidates = {
        "bare": copied(asgi_app),
        "three": SessionContextMiddleware(copied(asgi_app), TRUSTING),
        "absent": SessionContextMiddleware(
            copied(asgi_app), Policy(trusted_peers=[TRUSTED], extra=extra)
        ),
        "minted": SessionContextMiddleware(
            copied(asgi_app), Policy(trusted_peers=[TRUSTED], extra=[request_spec()])
        ),
    }
    costs = added(candidates, drive_asgi, "mint", rounds=2 * rounds)
    return {
        "P14 declared and absent, nanoseconds": (costs["absent"] - costs["three"]) / FURTHER,
        "P14 second minted ID, nanoseconds": costs["minted"] - costs["three"],
    }


def reading() -> Ratios:
    """
    P12: reading the session inside a request.
    """
    ratios: Ratios = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bare = min(timeit.repeat(bound.get, number=200_000, repeat=9))
        ours = min(timeit.repeat(get_session_id, number=200_000, repeat=9))
        ratios["P12 get_session_id / ContextVar.get"] = ours / bare

    coroutine = SessionContextMiddleware(app, TRUSTING)({"type": "http", "headers": []}, None, None)
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    return ratios


def peers(rounds: int) -> Ratios:
    """
    The peers that need an event loop, for the record.
    """
    names = ("starlette-context", "BaseHTTPMiddleware")
    candidates = built(ASGI | {name: ASGI_PEERS[name] for name in names}, asgi_app)
    costs = added(candidates, drive_loop, "mint", rounds=max(4, rounds // 8))
    return {f"mint / {name}": costs["idlanyard"] / costs[name] for name in names}


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

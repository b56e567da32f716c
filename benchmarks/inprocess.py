"""
What a request costs more with the middleware, in process, as ratios.

    python benchmarks/inprocess.py [--quick] [--processes 3]

Every ratio compares candidates of one interleaved run; the median over
several processes counts. Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import logging
import timeit
from typing import Any

from candidates import ASGI, ASGI_PEERS, TRUSTING, WSGI, asgi_app, copied, wsgi_app
from driving import added, drive_asgi, drive_loop, drive_wsgi
from processes import run_in_processes

from idlanyard import IDSpec, Policy, get_session_id, request_spec
from idlanyard._binding.state import bound
from idlanyard.asgi import SessionContextMiddleware

Ratios = dict[str, float]

TARGETS: dict[str, tuple[str, float]] = {
    "P1 mint / floor": ("<=", 1.45),
    "P1 mint / asgi-correlation-id": ("<=", 0.45),
    "P2 session / floor": ("<=", 1.65),
    "P2 session / asgi-correlation-id": ("<=", 0.60),
    "P3 trusted / floor": ("<=", 2.2),
    "P3 trusted / asgi-correlation-id x 3": ("<=", 0.55),
    "P4 refused / floor": ("<=", 1.8),
    "P5 further chunk / floor": ("<=", 1.2),
    "P5 further chunk / asgi-correlation-id": ("<=", 0.5),
    "P6 further foreign header / floor": ("<=", 1.1),
    "P7 WSGI mint / floor": ("<=", 1.75),
    "P7 WSGI session / floor": ("<=", 2.3),
    "P7 WSGI trusted / floor": ("<=", 3.0),
    "P7 WSGI generator / floor": ("<=", 3.0),
    "P7 WSGI nanoseconds a chunk": ("<=", 240),
    "P12 get_session_id / ContextVar.get": ("<=", 4),
    "P14 declared and absent, nanoseconds": ("<=", 10),
    "P14 second minted ID, nanoseconds": ("<=", 700),
}


def built(candidates: dict[str, Any], app: Any) -> dict[str, Any]:
    """
    Return each candidate around its own copy of *app*.
    """
    return {name: make(copied(app)) for name, make in candidates.items()}


def asgi_ratios(rounds: int) -> Ratios:
    """
    P1 to P6.
    """
    peers = {name: ASGI_PEERS[name] for name in list(ASGI_PEERS)[:2]}
    candidates = built(ASGI | peers, asgi_app)
    ratios: Ratios = {}
    for path, target in (("mint", "P1"), ("session", "P2"), ("trusted", "P3"), ("refused", "P4")):
        costs = added(candidates, drive_asgi, path, rounds=rounds)
        ours = costs["idlanyard"]
        ratios[f"{target} {path} / floor"] = ours / costs["floor"]
        if path in ("mint", "session"):
            ratios[f"{target} {path} / asgi-correlation-id"] = ours / costs["asgi-correlation-id"]
        if path == "trusted":
            stacked = costs["asgi-correlation-id x 3"]
            ratios[f"{target} {path} / asgi-correlation-id x 3"] = ours / stacked
    one = added(candidates, drive_asgi, "mint", rounds=rounds // 2)
    many = added(candidates, drive_asgi, "mint", rounds=rounds // 2, chunks=1000)
    chunk = {name: many[name] - one[name] for name in candidates}
    for other in ("floor", "asgi-correlation-id"):
        ratios[f"P5 further chunk / {other}"] = chunk["idlanyard"] / chunk[other]
    few = added(candidates, drive_asgi, "mint", rounds=rounds, headers=5)
    full = added(candidates, drive_asgi, "mint", rounds=rounds, headers=100)
    header = {name: full[name] - few[name] for name in candidates}
    ratios["P6 further foreign header / floor"] = header["idlanyard"] / header["floor"]
    return ratios


def wsgi_ratios(rounds: int) -> Ratios:
    """
    P7.
    """
    candidates = built(WSGI, wsgi_app)
    ratios: Ratios = {}
    for path in ("mint", "session", "trusted"):
        costs = added(candidates, drive_wsgi, path, rounds=rounds, chunks=0)
        ratios[f"P7 WSGI {path} / floor"] = costs["idlanyard"] / costs["floor"]
    one = added(candidates, drive_wsgi, "mint", rounds=rounds, chunks=1)
    ratios["P7 WSGI generator / floor"] = one["idlanyard"] / one["floor"]
    many = added(candidates, drive_wsgi, "mint", rounds=rounds // 2, chunks=1000)
    ratios["P7 WSGI nanoseconds a chunk"] = (many["idlanyard"] - one["idlanyard"]) / 999
    return ratios


def further_ids(rounds: int) -> Ratios:
    """
    P14: what one more declared ID costs, absent and minted.
    """
    device = IDSpec(name="device_id", header="X-Device-ID")
    candidates = {
        "bare": copied(asgi_app),
        "three": SessionContextMiddleware(copied(asgi_app), TRUSTING),
        "absent": SessionContextMiddleware(
            copied(asgi_app), Policy(trusted_peers=["10.0.0.0/8"], extra=[device])
        ),
        "minted": SessionContextMiddleware(
            copied(asgi_app), Policy(trusted_peers=["10.0.0.0/8"], extra=[request_spec()])
        ),
    }
    costs = added(candidates, drive_asgi, "mint", rounds=2 * rounds)
    return {
        "P14 declared and absent, nanoseconds": costs["absent"] - costs["three"],
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
        asgi_ratios(rounds) | wsgi_ratios(rounds) | reading() | further_ids(rounds) | peers(rounds)
    )


def main() -> None:
    # The peers log what they refuse; the time of writing lines is not measured.
    logging.disable()
    run_in_processes(__file__, __doc__.splitlines()[1], measured, TARGETS, rounds=120)


if __name__ == "__main__":
    main()

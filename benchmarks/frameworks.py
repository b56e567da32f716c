"""
What a request costs more inside Django and Flask, in process, as ratios.

    python benchmarks/frameworks.py [--quick] [--processes 3]

Every ratio compares candidates of one interleaved run; the median over
several processes counts. Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import contextvars
import logging
import statistics
import time
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.core.signals import request_finished
from driving import Drive, added, lines
from framework_candidates import DjangoHandler, django_handlers, flask_handlers
from processes import run_in_processes

Ratios = dict[str, float]

BLOCK = 10
PATHS = ("mint", "session")
TARGETS = {
    f"P8 {framework} {path} / {peer}": ("<=", target)
    for framework, peer, target in (
        ("Django", "django-guid", 0.15),
        ("Django", "django-log-request-id", 0.6),
        ("Flask", "hooks recipe", 0.5),
    )
    for path in PATHS
}


def environ(path: str, headers: int) -> dict[str, Any]:
    """
    Return what a server hands over for one request, every header name a new object.
    """
    made: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.5", "SERVER_PROTOCOL": "HTTP/1.1"}
    for name, value in lines(path, headers):
        key = name.upper().replace("-", "_")
        made[key if key == "CONTENT_TYPE" else "HTTP_" + key] = value
    setup_testing_defaults(made)
    return made


def drive(app: Any, count: int, path: str, headers: int, chunks: int) -> float:
    """
    Return the nanoseconds of one request, over *count*, each body read and closed.
    """
    environs = [environ(path, headers) for _ in range(count)]

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None: ...

    def run() -> float:
        started = time.perf_counter_ns()
        while environs:
            # Let go as by a server: what a request holds ends with it.
            body = app(environs.pop(), start_response)
            for _ in body:
                pass
            body.close()
        return (time.perf_counter_ns() - started) / count

    return contextvars.Context().run(run)


def drive_django(app: DjangoHandler, count: int, path: str, headers: int, chunks: int) -> float:
    """
    The same for Django, with what the candidate itself does when a request has finished.
    """
    if app.clearing is None:
        return drive(app, count, path, headers, chunks)
    request_finished.connect(app.clearing)
    try:
        return drive(app, count, path, headers, chunks)
    finally:
        request_finished.disconnect(app.clearing)


def costs(handlers: dict[str, Any], driver: Drive, path: str, rounds: int) -> dict[str, float]:
    """
    Return what each candidate adds, as the median of short blocks.

    A framework's own time is far longer than what is added to it: where the
    machine changes its pace between blocks, nothing is compared across the change.
    """
    blocks = [added(handlers, driver, path, rounds=BLOCK) for _ in range(max(1, rounds // BLOCK))]
    return {name: statistics.median(block[name] for block in blocks) for name in handlers}


def measured(rounds: int) -> Ratios:
    """
    Return every figure of one process.
    """
    ratios: Ratios = {}
    frameworks = {
        "Django": (django_handlers(), drive_django),
        "Flask": (flask_handlers(), drive),
    }
    for framework, (handlers, driver) in frameworks.items():
        for path in PATHS:
            taken = costs(handlers, driver, path, rounds)
            for name in handlers:
                if name not in ("bare", "idlanyard"):
                    ratio = taken["idlanyard"] / taken[name]
                    ratios[f"P8 {framework} {path} / {name}"] = ratio
    return ratios


def main() -> None:
    # The peers log every request; the time of writing lines is not measured.
    logging.disable()
    run_in_processes(__file__, __doc__.splitlines()[1], measured, TARGETS, rounds=200)


if __name__ == "__main__":
    main()

"""
What a request costs more inside Django and Flask, in process, as ratios.

    python benchmarks/frameworks.py [--quick] [--processes 3]

Every ratio compares candidates of one interleaved run; the median over
several processes counts. Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import argparse
import contextvars
import json
import logging
import statistics
import subprocess
import sys
import time
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.core.signals import request_finished
from driving import Drive, added, lines
from framework_candidates import DjangoHandler, django_handlers, flask_handlers

Ratios = dict[str, float]

BLOCK = 10
PATHS = ("mint", "session")
TARGETS = {
    f"P8 {framework} {path} / {peer}": target
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


def table(runs: list[Ratios]) -> list[str]:
    """
    Return the medians of several processes as lines of a Markdown table.
    """
    rows = ["| figure | target | measured | met |", "|---|---|--:|---|"]
    for name in runs[0]:
        value = statistics.median(run[name] for run in runs)
        target = TARGETS.get(name)
        limit = "" if target is None else f"<= {target:g}"
        met = "" if target is None else "yes" if value <= target else "no"
        rows.append(f"| {name} | {limit} | {value:.2f} | {met} |")
    return rows


def main() -> None:
    # The peers log every request; writing that out is not what is measured.
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--quick", action="store_true", help="few rounds, one process")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one process, figures only")
    options = parser.parse_args()
    rounds = 12 if options.quick else options.rounds
    if options.json or options.quick:
        runs = [measured(rounds)]
    else:
        command = [sys.executable, __file__, "--json", "--rounds", str(rounds)]
        outputs = [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for _ in range(options.processes)
        ]
        runs = [json.loads(output) for output in outputs]
    print(json.dumps(runs[0]) if options.json else "\n".join(table(runs)))


if __name__ == "__main__":
    main()

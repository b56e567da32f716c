"""
What a request costs more inside Django and Flask, in process, as ratios.

    python benchmarks/frameworks.py [--quick] [--processes 3]

Requests are those of a browser and of scripts as nginx passes them on; responses
have the headers that the framework writes, and in Django the middlewares that a
new project has. Every ratio compares candidates of one interleaved run: the
geometric mean over the responses, and the worst of them. The median over several
processes counts. Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import gc
import logging
import random
import statistics
import time
from contextvars import Context
from itertools import product
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.core.signals import request_finished
from framework_candidates import DJANGO_PAGES, FLASK_PAGES, django_handlers, flask_handlers
from lanes import environ_of
from processes import run_in_processes
from profiles import BUILT_IN, load_profiles

Ratios = dict[str, float]

REQUESTS = {
    "mint": "browser by nginx",
    "session": "fetch by nginx",
    "trusted": "fetch by nginx, all IDs",
}
PROFILES = {request.name: request for request in load_profiles(BUILT_IN).requests}
# Requests of one slice, the first of which warms up.
SLICE = 11
TARGETS = {
    f"{framework} {path} / {peer}{which}": ("<=", target)
    for framework, peer, target in (
        ("Django", "django-guid", 0.2),
        ("Django", "django-log-request-id", 0.8),
        ("Flask", "hooks recipe", 0.5),
    )
    for path in REQUESTS
    for which in ("", ", worst response")
}


def environ(path: str, page: str) -> dict[str, Any]:
    """
    Return what a server passes on for one request, of new objects.
    """
    made = environ_of(PROFILES[REQUESTS[path]]) | {"PATH_INFO": f"/{page}"}
    setup_testing_defaults(made)
    return made


def drive(app: Any, environs: list[dict[str, Any]]) -> int:
    """
    Return the nanoseconds of these requests, each body read and closed.
    """

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None: ...

    # The time of this thread, since that of others is not ours.
    started = time.thread_time_ns()
    while environs:
        # Let go as by a server: what a request holds ends with it.
        body = app(environs.pop(), start_response)
        for _ in body:
            pass
        body.close()
    return time.thread_time_ns() - started


def time_slice(app: Any, path: str, page: str) -> float:
    """
    Return the nanoseconds of one request of a slice, in a Context of its own.

    Where a candidate clears up when a request has finished, it does.
    """
    environs = [environ(path, page) for _ in range(SLICE)]
    clearing = getattr(app, "clearing", None)
    if clearing is not None:
        request_finished.connect(clearing)
    try:
        context = Context()
        context.run(drive, app, [environs.pop()])
        return context.run(drive, app, environs) / (SLICE - 1)
    finally:
        if clearing is not None:
            request_finished.disconnect(clearing)


def costs(handlers: dict[str, Any], path: str, page: str, rounds: int) -> dict[str, float]:
    """
    Return what each candidate adds to the bare application, their slices interleaved.

    The fastest fifth of a candidate's slices ends where nothing has disturbed it: a
    framework's own time is far longer than what is added to it.
    """
    times: dict[str, list[float]] = {name: [] for name in handlers}
    for _ in range(rounds):
        for name in random.sample(list(handlers), len(handlers)):
            times[name].append(time_slice(handlers[name], path, page))
    fast = {name: sorted(values)[rounds // 5] for name, values in times.items()}
    return {name: max(1.0, value - fast["bare"]) for name, value in fast.items()}


def measured(rounds: int) -> Ratios:
    """
    Return every figure of one process.
    """
    ratios: Ratios = {}
    frameworks = {
        "Django": (django_handlers(), DJANGO_PAGES),
        "Flask": (flask_handlers(), FLASK_PAGES),
    }
    gc.collect()
    gc.freeze()
    for (framework, (handlers, pages)), path in product(frameworks.items(), REQUESTS):
        taken = [costs(handlers, path, page, rounds) for page in pages]
        for name in handlers:
            if name in ("bare", "idlanyard"):
                continue
            found = [added["idlanyard"] / added[name] for added in taken]
            figure = f"{framework} {path} / {name}"
            ratios[figure] = statistics.geometric_mean(found)
            if name != "floor":
                ratios[f"{figure}, worst response"] = max(found)
    return ratios


def main() -> None:
    # The peers log every request; the time of writing lines is not measured.
    logging.disable()
    run_in_processes(__file__, __doc__.splitlines()[1], measured, TARGETS, rounds=60)


if __name__ == "__main__":
    main()

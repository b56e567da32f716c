"""
The work that the middleware does for a request, counted in the interpreter's instructions.

    python benchmarks/instructions.py [--write]

Times need a quiet machine, and this does not: the same code on the same minor
version of Python always executes the same number of instructions, so a
difference is a change of the code. Twelve requests as real clients and proxies
send them, each with a response as real frameworks write it, pass the ASGI and
the WSGI middleware; what the bare application executes is subtracted. Calls
of functions that are written in C are counted beside the instructions, each
of which may be such a call. Both are counted for a request like those before,
and for the first one of a middleware, which has nothing to remember. The counts
must be within 2 % of those in ``instructions.json``, which ``--write`` writes
anew. Needs CPython 3.12 or newer.
"""

from __future__ import annotations

import argparse
import contextvars
import gc
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from lanes import CANDIDATES, OURS, Lane, environ_of, lines_of, scope_of
from profiles import BUILT_IN, load_profiles

if TYPE_CHECKING:
    from lanes import Make
    from profiles import Request, Response

FILE = Path(__file__).with_suffix(".json")
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
COMMAND = "tox run -e instructions -- --write"
TOLERANCE = 0.02
KINDS = (
    "instructions",
    "calls of C functions",
    "instructions for the first such request",
    "calls of C functions for the first such request",
)
PAIRS = (
    ("curl direct", "JSON"),
    ("browser by nginx", "Django page"),
    ("nginx default (HTTP/1.0)", "static file"),
    ("httpx direct", "private, ETag"),
    ("fetch by nginx", "JSON, no-store"),
    ("fetch by AWS ALB", "CORS answer"),
    ("service by nginx", "JSON, no-store"),
    ("fetch by nginx, all IDs", "Django never_cache"),
    ("httpx by HAProxy", "JSON"),
    ("fetch by Caddy", "event stream"),
    ("spoof direct", "JSON, no-store"),
    ("spoof by a stranger's proxy", "Django page"),
)

Counts = dict[str, list[int]]
# Typed as on the oldest Python, which has none.
monitoring: Any = getattr(sys, "monitoring", None)


def make_request(
    protocol: str, make: Make | None, request: Request, response: Response
) -> Callable[[], None]:
    """
    Return a function that passes one request through an application.

    Args:
        protocol: ``"ASGI"`` or ``"WSGI"``.
        make: puts the middleware around the bare application, unless that is counted.
        request: the request.
        response: the response of the bare application.
    """
    lane, fresh = Lane(protocol, make), scope_of if protocol == "ASGI" else environ_of
    lane.response[:] = lines_of(response)

    def serve() -> None:
        lane.drive(lane.app, [fresh(request)])

    return serve


def count_work(call: Callable[[], object]) -> list[int]:
    """
    Return the instructions that a call executes, and its calls of C functions.
    """
    counts = [0, 0]
    # The events of every thread come, and others may run meanwhile.
    own = get_ident()

    def add_instruction(code: Any, offset: int) -> None:
        if get_ident() == own:
            counts[0] += 1

    def add_call(code: Any, offset: int, function: Any, argument: Any) -> None:
        if get_ident() == own:
            counts[1] += 1

    events, tool = monitoring.events, monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "idlanyard instructions")
    monitoring.register_callback(tool, events.INSTRUCTION, add_instruction)
    monitoring.register_callback(tool, events.C_RETURN, add_call)
    monitoring.register_callback(tool, events.C_RAISE, add_call)
    # A collection in between would run the finalizers of others.
    gc.disable()
    try:
        # The events of C functions come only with those of every call.
        monitoring.set_events(tool, events.INSTRUCTION | events.CALL)
        call()
    finally:
        monitoring.set_events(tool, events.NO_EVENTS)
        monitoring.free_tool_id(tool)
        gc.enable()
    return counts


def count_added(protocol: str, make: Make, request: Request, response: Response) -> list[int]:
    """
    Return the work that the middleware adds to a request of a pair, in the order of ``KINDS``.
    """
    ours = count_requests(lambda: make_request(protocol, make, request, response))
    bare = count_requests(lambda: make_request(protocol, None, request, response))
    return [with_it - without for with_it, without in zip(ours, bare, strict=True)]


def count_requests(make: Callable[[], Callable[[], None]]) -> list[int]:
    """
    Return the work for a request like those before, then that for an application's first.

    Args:
        make: makes the application, and returns a function that passes it the request.
    """
    context = contextvars.Context()
    serve = make()
    # After these, every module is imported, and every expression compiled.
    for _ in range(3):
        context.run(serve)
    counts = [
        context.run(count_work, serve) + context.run(count_work, first)
        for first in (make(), make())
    ]
    if counts[0] != counts[1]:
        raise SystemExit(f"the same request was counted as {counts[0]}, and then as {counts[1]}")
    return counts[0]


def count_pairs() -> Counts:
    """
    Return the work that is added to each request, by its protocol and its pair.
    """
    if monitoring is None:
        raise SystemExit(f"this needs Python 3.12 or newer, and runs on {MINOR}")
    profiles = load_profiles(BUILT_IN)
    requests = {request.name: request for request in profiles.requests}
    responses = {response.name: response for response in profiles.responses}
    return {
        f"{protocol}, {requests[request].path}: {request} x {response}": count_added(
            protocol, candidates[OURS], requests[request], responses[response]
        )
        for protocol, candidates in CANDIDATES.items()
        for request, response in PAIRS
    }


def compare_counts(before: Counts, after: Counts) -> list[str]:
    """
    Return a line for every count that differs by more than 2 %, in either direction.
    """
    lines = [f"{pair}: not counted any more" for pair in before if pair not in after]
    for pair, counts in after.items():
        if pair not in before:
            lines.append(f"{pair}: not counted before")
            continue
        for kind, then, now in zip(KINDS, before[pair], counts, strict=True):
            if abs(now - then) > TOLERANCE * then:
                change = f" ({now / then - 1:+.1%})" if then else ""
                lines.append(f"{pair}: {then} {kind} before, {now} now{change}")
    return lines


def write_counts(counts: Counts, file: Path = FILE) -> None:
    """
    Write the counts of this Python into the file, beside those of others.
    """
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows = {
        minor: ",\n".join(f"    {json.dumps(pair)}: {row}" for pair, row in section.items())
        for minor, section in sorted({**kept, MINOR: counts}.items())
    }
    sections = ",\n".join(f'  "{minor}": {{\n{row}\n  }}' for minor, row in rows.items())
    file.write_text(f"{{\n{sections}\n}}\n", encoding="utf-8")


def check_counts(counts: Counts, file: Path = FILE) -> None:
    """
    Raise SystemExit that names each count that is not the committed one.
    """
    committed = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if MINOR not in committed:
        known = ", ".join(committed) or "no Python"
        raise SystemExit(
            f"{file.name} has the counts of {known}, not of {MINOR}, which "
            f"`python benchmarks/instructions.py --write` adds"
        )
    if lines := compare_counts(committed[MINOR], counts):
        raise SystemExit(
            "\n".join(lines) + f"\n\nThe work for a request has changed. If that is meant, faster "
            f"or slower, write it down and commit {file.name}:\n\n    {COMMAND}"
        )


def fix_hash_seed() -> None:
    """
    Start this program anew without hash randomization, which changes the order of sets.
    """
    if sys.flags.hash_randomization:
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--write", action="store_true", help="write the committed file anew")
    options = parser.parse_args()
    fix_hash_seed()
    # The lines about refused IDs are written once, before anything is counted.
    logging.disable()
    counts = count_pairs()
    print("| request x response | instructions | C calls | first such request | C calls |")
    print("|---|--:|--:|--:|--:|")
    for pair, row in counts.items():
        print(f"| {pair} | {' | '.join(map(str, row))} |")
    if options.write:
        write_counts(counts)
    else:
        check_counts(counts)


if __name__ == "__main__":
    main()

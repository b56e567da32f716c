"""
What the middlewares add to real requests and responses, as ratios of interleaved runs.

    python benchmarks/real_requests.py [--processes 3] [--rounds 30] [--profiles mine.json]

Every request of ``real_requests.json`` (header lines as seen behind real proxies) meets every
response in it (header lines as frameworks write them). A request's ``path`` says which target
it belongs to: mint, session, trusted, refused. The geometric mean over all pairs and the worst
pair count, against the floor (the least code that is right: scan, check, mint, bind, echo; no
trust rules) and against asgi-correlation-id: one ID for mint and session, three of it stacked
for trusted and refused, since that is what carries the same IDs.

Needs the ``bench`` dependency group.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from lanes import FLOOR, OURS, PEER, PEERS, TRUSTED, Added, Pair, find_path, measure
from plots import THEMES, Bar, Panel, Row, draw
from profiles import BUILT_IN, ProfileError, Profiles, load_profiles

PROTOCOLS = ("ASGI", "WSGI")
NOTES = {
    "mint": "no ID on the request",
    "session": "a session ID on it",
    "trusted": "three IDs, trusted proxy",
    "refused": "three IDs, no trust",
}
TITLE = "Time added to a request (floor = 1, less is better)"
LEGEND = (
    "Floor: the least code that is right. Bars: geometric mean of all pairs. "
    "Thin lines: best to worst pair. Ticks: targets."
)
HEADER = (
    "| path | pairs | / floor | worst pair | / asgi-correlation-id | worst pair | target | met |",
    "|---|--:|--:|---|--:|---|---|---|",
)

Run = dict[Pair, Added]


class Target(NamedTuple):
    """
    The geometric mean and the worst pair that a ratio may reach.
    """

    mean: float
    worst: float


TARGETS: dict[tuple[str, str], dict[str, Target]] = {
    ("ASGI", "mint"): {FLOOR: Target(1.7, 2.2), PEER: Target(0.5, 0.65)},
    ("ASGI", "session"): {FLOOR: Target(1.9, 2.4), PEER: Target(0.8, 0.95)},
    ("ASGI", "trusted"): {FLOOR: Target(2.4, 3.1), PEERS: Target(0.35, 0.45)},
    ("ASGI", "refused"): {FLOOR: Target(2.3, 3.0), PEERS: Target(0.35, 0.45)},
    ("WSGI", "mint"): {FLOOR: Target(2.0, 2.6)},
    ("WSGI", "session"): {FLOOR: Target(2.4, 3.0)},
    ("WSGI", "trusted"): {FLOOR: Target(2.8, 3.6)},
    ("WSGI", "refused"): {FLOOR: Target(2.8, 3.6)},
}


class Summary(NamedTuple):
    """
    A ratio over all pairs of a path.

    Attributes:
        mean: the geometric mean.
        best: the lowest ratio.
        worst: the highest ratio.
        worst_pair: the request and response that have it.
    """

    mean: float
    best: float
    worst: float
    worst_pair: str


def chosen(runs: list[Run], protocol: str, path: str) -> list[Run]:
    """
    Return the runs with nothing but the pairs of one protocol and path.
    """
    return [
        {pair: added for pair, added in run.items() if pair[:2] == (protocol, path)} for run in runs
    ]


def ratios_of(runs: list[Run], over: str, under: str) -> dict[Pair, float]:
    """
    Return by pair the median over all processes of one candidate's time over another's.
    """
    return {
        pair: statistics.median(run[pair][over] / run[pair][under] for run in runs)
        for pair in runs[0]
    }


def summarise(runs: list[Run], over: str, under: str) -> Summary:
    """
    Return the geometric mean of one candidate's time over another's, and the worst pair.
    """
    ratios = ratios_of(runs, over, under)
    mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
    worst = max(ratios, key=ratios.__getitem__)
    name = f"{worst.request} x {worst.response}"
    return Summary(mean, min(ratios.values()), ratios[worst], name)


def is_met(summary: Summary, target: Target) -> bool:
    """
    Return whether a ratio, as it is printed, is within its target.
    """
    return round(summary.mean, 2) <= target.mean and round(summary.worst, 2) <= target.worst


def summaries(runs: list[Run]) -> dict[tuple[str, str], dict[str, Summary]]:
    """
    Return by protocol and path ours over each candidate that there is a target against.
    """
    found = {}
    for (protocol, path), targets in TARGETS.items():
        mine = chosen(runs, protocol, path)
        if mine[0]:
            found[protocol, path] = {name: summarise(mine, OURS, name) for name in targets}
    return found


def table(runs: list[Run]) -> Iterator[str]:
    """
    Yield the lines of a Markdown table.
    """
    yield from HEADER
    for (protocol, path), by_name in summaries(runs).items():
        targets = TARGETS[protocol, path]
        cells = [f"{protocol} {path}", str(len(chosen(runs, protocol, path)[0]))]
        for summary in by_name.values():
            cells += [f"{summary.mean:.2f}", f"{summary.worst:.2f} {summary.worst_pair}"]
        cells += ["", ""] * (2 - len(by_name))
        cells.append(
            "; ".join(f"{target.mean:g} ({target.worst:g})" for target in targets.values())
        )
        met = all(is_met(by_name[name], target) for name, target in targets.items())
        cells.append("yes" if met else "no")
        yield f"| {' | '.join(cells)} |"


def detail(runs: list[Run]) -> Iterator[str]:
    """
    Yield a Markdown table of all pairs.
    """
    yield "| path | request | response | / floor | / asgi-correlation-id |"
    yield "|---|---|---|--:|--:|"
    for (protocol, path), targets in TARGETS.items():
        mine = chosen(runs, protocol, path)
        columns = [ratios_of(mine, OURS, name) for name in targets]
        for pair in sorted(mine[0]):
            ratios = [f"{column[pair]:.2f}" for column in columns] + [""] * (2 - len(columns))
            cells = f"{protocol} {path}", pair.request, pair.response, *ratios
            yield f"| {' | '.join(cells)} |"


def record(runs: list[Run], options: argparse.Namespace) -> dict[str, Any]:
    """
    Return everything that was measured, to be written as JSON.
    """
    return {
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "processes": options.processes,
        "rounds": options.rounds,
        "varying": options.varying,
        "profiles": options.profiles.name,
        "summary": [
            {
                "protocol": protocol,
                "path": path,
                "over": name,
                **summary._asdict(),
                "target": TARGETS[protocol, path][name]._asdict(),
                "met": is_met(summary, TARGETS[protocol, path][name]),
            }
            for (protocol, path), by_name in summaries(runs).items()
            for name, summary in by_name.items()
        ],
        "pairs": [{**pair._asdict(), "added_ns": [run[pair] for run in runs]} for pair in runs[0]],
    }


def panels(runs: list[Run]) -> Iterator[Panel]:
    """
    Yield the plot's panels: by protocol and path, ours and the peer over the floor.
    """
    for protocol in PROTOCOLS:
        rows = []
        for path, note in NOTES.items():
            mine = chosen(runs, protocol, path)
            if not mine[0]:
                continue
            bars = []
            targets = TARGETS[protocol, path]
            for name in (OURS, *(name for name in targets if name != FLOOR)):
                mean, best, worst, _ = summarise(mine, name, FLOOR)
                target = targets[FLOOR].mean if name == OURS else None
                bars.append(Bar(name.replace(" x ", " \u00d7 "), mean, best, worst, target))
            rows.append(Row(path, note, bars))
        if rows:
            yield Panel(protocol, rows)


def plot(runs: list[Run], folder: Path) -> None:
    """
    Write the plot into a folder, once for light pages and once for dark ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, theme in THEMES.items():
        text = draw(TITLE, LEGEND, list(panels(runs)), theme)
        folder.joinpath(f"real_requests_{name}.svg").write_text(text, encoding="utf-8")


def measure_all(
    profiles: Profiles, protocols: tuple[str, ...], rounds: int, *, varying: bool
) -> Run:
    """
    Return the times of one process.
    """
    logging.disable()
    run: Run = {}
    for protocol in protocols:
        run |= measure(profiles, protocol, rounds, varying=varying)
    return run


def run_processes(profiles: Profiles, options: argparse.Namespace) -> list[Run]:
    """
    Return the times of each process.

    Each has its own hash seed and memory layout: where ContextVars collide in the hash
    tables of their Context, one process can mislead by 8 %.
    """
    protocols = PROTOCOLS if options.protocol == "both" else (options.protocol.upper(),)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = [
            pool.submit(measure_all, profiles, protocols, options.rounds, varying=options.varying)
            for _ in range(options.processes)
        ]
        return [future.result() for future in waiting]


def checked_profiles(file: Path) -> Profiles:
    """
    Return the lists of a file, each request of which takes the path that it says.

    Raises:
        ProfileError: the file is malformed, or the middleware takes another path.
    """
    profiles = load_profiles(file)
    for request, protocol in product(profiles.requests, PROTOCOLS):
        path = find_path(request, protocol)
        if path != request.path:
            raise ProfileError(
                f'{file}: "{request.name}" takes the path "{path}" in {protocol}, not'
                f' "{request.path}": write that, or change its headers or its client'
                f" (trusted is {TRUSTED})"
            )
    return profiles


def parse_options() -> argparse.Namespace:
    """
    Return the options of the command line.
    """
    summary, _, explained = (__doc__ or "").strip().partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=explained, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--processes", type=positive, default=3, help="fresh processes, of which the median counts")
    add("--rounds", type=positive, default=30, help="rounds of each process")
    add("--profiles", type=Path, default=BUILT_IN, help="requests and responses of your own")
    add("--protocol", choices=("asgi", "wsgi", "both"), default="both")
    add(
        "--varying", action="store_true", help="other values in each response: ETag, Set-Cookie ..."
    )
    add("--detail", action="store_true", help="print each pair too")
    add("--json", type=Path, metavar="FILE", help="write all that was measured")
    add("--plot", type=Path, metavar="FOLDER", help="draw the ratios, as SVG")
    return parser.parse_args()


def positive(text: str) -> int:
    """
    Return a number that is at least 1.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> None:
    options = parse_options()
    # Refusals are logged; the time of writing lines is not measured.
    logging.disable()
    try:
        profiles = checked_profiles(options.profiles)
    except ProfileError as error:
        raise SystemExit(f"error: {error}") from None
    runs = run_processes(profiles, options)
    print("\n".join(table(runs)))
    if options.detail:
        print("\n".join(["", *detail(runs)]))
    if options.json:
        options.json.write_text(json.dumps(record(runs, options), indent=1) + "\n")
    if options.plot:
        plot(runs, options.plot)


if __name__ == "__main__":
    main()

"""
What the session registry costs, and what races and kills leave of its sessions.

    python benchmarks/session_registry.py [--quick] [--sections cost sizes paging race kill]

Costs are against the same statement by hand, through the same library and in
the same run: blocks of creates in turns, medians of their ratios. Servers are
started for it: this needs PostgreSQL's programs, and the dependency groups
``test`` and ``stores``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from registry_faces import faces
from registry_measures import creates, growth, paging
from registry_safety import KILLS, RACE, kills, races, table
from registry_stores import STORES, started

SECTIONS = ("cost", "sizes", "paging", "race", "kill")
MEASURED = SECTIONS[:3]
MEBIBYTE = 2**20


class Figure(NamedTuple):
    """
    A measurement, and its limit.
    """

    name: str
    value: float
    target: float | None = None


def cost(store: str, options: argparse.Namespace) -> Iterator[Figure]:
    """
    Yield what creating costs.
    """
    with started(store) as place, faces() as both:
        for face in both:
            ours, hand = creates(face, place, options.rounds)
            where = f"{store} {face.name}"
            # Who keeps a dictionary by hand does without what a registry is for.
            target = None if store == "memory" else 1.15
            yield Figure(f"{where}: create / by hand", ours.to(hand), target)
            yield Figure(f"{where}: p99 of create / by hand", ours.p99 / hand.p99, target)
            yield Figure(f"{where}: creates per second", ours.per_second)
            yield Figure(f"{where}: creates per second by hand", hand.per_second)
            yield Figure(f"{where}: p99 of create, milliseconds", ours.p99)
            yield Figure(f"{where}: p99 of create by hand, milliseconds", hand.p99)


def sizes(store: str, options: argparse.Namespace) -> Iterator[Figure]:
    """
    Yield what many sessions make dearer.
    """
    few, many = options.sizes
    with started(store) as place, faces() as both:
        for face in both:
            for verb, ratio in growth(face, place, (few, many), options.rounds).items():
                name = f"{store} {face.name}: {verb} with {many:,} sessions / {few:,}"
                yield Figure(name, ratio, 1.5)


def pages(store: str, options: argparse.Namespace) -> Iterator[Figure]:
    """
    Yield what paging holds.
    """
    few, many = options.pages
    with started(store) as place, faces() as both:
        for face in both:
            first, last = (paging(face, place, size) for size in (few, many))
            name = f"{store} {face.name}: peak memory of paging {many:,} sessions"
            yield Figure(f"{name} / {few:,}", last.peak / first.peak, 1.5)
            yield Figure(f"{name}, growth in MiB", last.resident / MEBIBYTE, 4.0)


def measured(section: str, options: argparse.Namespace) -> Iterator[Figure]:
    """
    Yield the figures of one section, each store's out of processes of its own.
    """
    # The median of many blocks is one run's; only small differences need more runs.
    times = options.processes if section == "cost" else 1
    for store in options.stores:
        command = [sys.executable, __file__, "--json", "--sections", section, "--stores", store]
        command += ["--rounds", str(options.rounds)]
        command += ["--sizes", *map(str, options.sizes), "--pages", *map(str, options.pages)]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(times)]
        for figures in zip(*runs, strict=True):
            name, _, target = figures[0]
            yield Figure(name, statistics.median(value for _, value, _ in figures), target)


def row_of(figure: Figure) -> str:
    """
    Return a figure as a line of a Markdown table.
    """
    name, value, target = figure
    limit = "" if target is None else f"<= {target:g}"
    met = "" if target is None else "yes" if value <= target else "no"
    shown = f"{value:,.0f}" if value > 100 else f"{value:.2f}"
    return f"| {name} | {limit} | {shown} | {met} |"


def report(options: argparse.Namespace) -> Iterator[str]:
    """
    Yield the lines of the report.
    """
    wanted = [section for section in MEASURED if section in options.sections]
    if wanted:
        yield from ("| figure | target | measured | met |", "|---|---|--:|---|")
    for section in wanted:
        yield from map(row_of, measured(section, options))
    if "race" in options.sections:
        yield ""
        yield from table(RACE, races(options.stores, options.ids, options.ids // 5))
    if "kill" in options.sections:
        yield ""
        yield from table(KILLS, kills(options.stores, options.kills))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--quick", action="store_true", help="few rounds of little, one process")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--sizes", nargs=2, type=int, default=(1_000, 1_000_000))
    parser.add_argument("--pages", nargs=2, type=int, default=(1_000, 100_000))
    parser.add_argument("--ids", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one section's figures, one process")
    options = parser.parse_args()
    if options.quick:
        quick = {"processes": 1, "rounds": 2, "sizes": (100, 1_000), "pages": (200, 400)}
        vars(options).update(quick, ids=250, kills=2)
    if options.json:
        section = {"cost": cost, "sizes": sizes, "paging": pages}[options.sections[0]]
        print(json.dumps([one for store in options.stores for one in section(store, options)]))
        return
    for line in report(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()

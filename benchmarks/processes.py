"""
The command line of benchmarks that measure rounds in several processes, and their table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping

QUICK = 12


def run_in_processes(
    script: str,
    description: str,
    measure: Callable[[int], dict[str, float]],
    targets: Mapping[str, tuple[str, float]],
    *,
    rounds: int,
) -> None:
    """
    Print the medians of several processes as a Markdown table.

    Each process has its own memory layout and hash seed, which move a figure
    by more than the rounds of one process show.

    Args:
        script: the file of the benchmark.
        description: what ``--help`` says.
        measure: takes how many rounds to run, and returns its figures by name.
        targets: by the name of a figure a sign, as in ``"<="``, and the most it may be.
        rounds: how many rounds a process runs unless the command line says so.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few rounds, one process")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", action="store_true", help="one process, figures only")
    options = parser.parse_args()
    rounds = QUICK if options.quick else options.rounds
    if options.json:
        print(json.dumps(measure(rounds)))
        return
    if options.quick:
        runs = [measure(rounds)]
    else:
        command = [sys.executable, script, "--json", "--rounds", str(rounds)]
        outputs = [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for _ in range(options.processes)
        ]
        runs = [json.loads(output) for output in outputs]
    print("\n".join(format_table(runs, targets)))


def format_table(
    runs: list[dict[str, float]], targets: Mapping[str, tuple[str, float]]
) -> list[str]:
    """
    Return the medians of several processes as lines of a Markdown table.
    """
    rows = ["| figure | target | measured | met |", "|---|---|--:|---|"]
    for name in runs[0]:
        value = statistics.median(run[name] for run in runs)
        sign, target = targets.get(name, ("", value))
        wanted = f"{sign} {target:g}" if sign else ""
        met = "" if not sign else "yes" if value <= target else "no"
        rows.append(f"| {name} | {wanted} | {value:.2f} | {met} |")
    return rows

"""
The benchmark of real servers runs behind nginx, and tells what its figures mean for the targets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import end_to_end
from end_to_end import Load, Share

CANDIDATES = ["floor", "idlanyard", "asgi-correlation-id", "starlette-context", "recipe"]
PROGRAM = end_to_end.__file__
WRK = """
  Latency Distribution
     50%    6.26ms
     99%    {p99}
  {count} requests in 2.02s, 1.16MB read
{failures}Requests/sec:   2429.50
"""


def run(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """
    Return the benchmark's output.
    """
    return subprocess.run(
        [sys.executable, PROGRAM, *options],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_quick_run_prints_its_tables() -> None:
    """
    One round under uvicorn has a row for each candidate but the bare one, and both targets.
    """
    done = run("--quick", "--server", "uvicorn", "--path", "session")
    assert not done.returncode, done.stderr
    shares, targets = done.stdout.split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")] for line in shares.splitlines()[2:]]
    assert [row[1:4] for row in rows] == [["uvicorn", "session", name] for name in CANDIDATES]
    assert all(float(row[4]) > 0 and row[4] == row[5] and float(row[6]) > 0 for row in rows)
    assert targets.count("| uvicorn session: ") == 2


def test_a_quick_run_writes_json() -> None:
    """
    One round under gunicorn has the same figures as JSON, and no target of its own.
    """
    done = run("--quick", "--server", "gunicorn", "--path", "trusted", "--json")
    assert not done.returncode, done.stderr
    figures = json.loads(done.stdout)
    found = {share["candidate"]: share for share in figures["shares"]}
    assert [*found] == ["floor", "idlanyard", "recipe"]
    assert all(share["pairs"] == [share["of_bare"]] for share in found.values())
    assert all(share["spent"] > 0 and share["p99_of_bare"] > 0 for share in found.values())
    assert figures["targets"] == []


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """
    Without wrk the benchmark says how to install it, before it starts anything.
    """
    done = run("--quick", PATH=str(tmp_path))
    assert done.returncode
    assert done.stderr == "this needs wrk: apt-get install wrk\n"


@pytest.mark.parametrize(("p99", "wanted"), [("850.00us", 0.85), ("6.30ms", 6.3), ("1.42s ", 1420)])
def test_the_output_of_wrk_is_read(p99: str, wanted: float) -> None:
    """
    The rate, the 99th percentile in milliseconds, and the processor time for a request.
    """
    output = WRK.format(p99=p99, count=400, failures="")
    load = end_to_end.read_wrk(output, 2.0)
    assert (load.rate, load.spent) == (2429.5, 0.005)
    assert load.p99 == pytest.approx(wanted)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"count": 9, "failures": "  Non-2xx or 3xx responses: 3\n"}, id="refused"),
        pytest.param({"count": 0, "failures": ""}, id="none answered"),
    ],
)
def test_failed_requests_are_no_figures(broken: dict[str, Any]) -> None:
    """
    A run in which requests fail, or none is answered, ends the benchmark.
    """
    with pytest.raises(SystemExit, match="wrk reports failures"):
        end_to_end.read_wrk(WRK.format(p99="1.00ms", **broken), 1.0)


def test_the_seconds_of_a_round_are_added_up() -> None:
    """
    A second in which less is served counts less for the processor time of a request.
    """
    assert end_to_end.add_up([Load(300, 1, 1.0), Load(100, 9, 3.0), Load(200, 2, 3.0)]) == Load(
        200, 2, 2.0
    )


def test_a_share_is_the_median_of_pairs() -> None:
    """
    Each round's run is compared with the bare one of the same round.
    """
    bare = [Load(100, 2, 0.01), Load(200, 4, 0.02), Load(50, 2, 0.01)]
    ours = [Load(90, 3, 0.02), Load(160, 4, 0.04), Load(50, 2, 0.02)]
    share = end_to_end.compare("uvicorn", "mint", "idlanyard", ours, bare)
    assert share == Share("uvicorn", "mint", "idlanyard", 0.9, [0.9, 0.8, 1.0], 0.5, 1.0)


@pytest.mark.parametrize(
    ("ours", "peer", "met"),
    [
        pytest.param([0.84, 0.9, 0.8], [0.8, 0.8, 0.7], [True, True], id="both"),
        pytest.param([0.836, 0.9, 0.8], [0.8, 0.8, 0.7], [True, True], id="as it is printed"),
        pytest.param([0.83, 0.9, 0.8], [0.8, 0.8, 0.7], [False, True], id="too slow"),
        pytest.param([0.9, 0.9, 0.8], [0.8, 0.8, 0.81], [True, False], id="one pair below"),
    ],
)
@pytest.mark.parametrize(
    ("path", "rival"),
    [("mint", "asgi-correlation-id"), ("trusted", "asgi-correlation-id x 3")],
)
def test_targets_are_judged(
    ours: list[float], peer: list[float], met: list[bool], path: str, rival: str
) -> None:
    """
    0.84 of bare in the median, and above what carries the same IDs in every pair.
    """
    shares = [
        Share("uvicorn", path, name, sorted(pairs)[1], pairs, 1.0, 1.0)
        for name, pairs in (("idlanyard", ours), (rival, peer))
    ]
    targets = end_to_end.judge(shares)
    assert [target.met for target in targets] == met
    rows = end_to_end.format_tables(shares, targets)
    assert rows[-2].endswith(f"| {'yes' if met[0] else 'no'} |")

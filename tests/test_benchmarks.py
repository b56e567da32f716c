"""
The benchmarks run, and every candidate does the work that it is measured for.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import footprint
import further_costs
import growth
import lanes
import refresh_page

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> list[list[str]]:
    """
    Return the rows of the tables that a benchmark prints.
    """
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line]
    return [row for row in rows if not row[0].startswith("--")]


@pytest.mark.parametrize("protocol", ["ASGI", "WSGI"])
@pytest.mark.parametrize("chunks", [0, 3])
def test_a_lane_serves_the_chunks_that_it_says(protocol: str, chunks: int) -> None:
    """
    A body is sent as a whole, or in chunks of which a last one may be empty.
    """
    lane = lanes.Lane(protocol, lanes.CANDIDATES[protocol][lanes.OURS], chunks=chunks)
    found = []
    if protocol == "ASGI":

        async def send(message: Any) -> None:
            found.append(message["type"])

        with pytest.raises(StopIteration):
            lane.app(lanes.scope_of(further_costs.PLAIN), None, send).send(None)
        found = found[1:]
    else:
        found = list(lane.app(lanes.environ_of(further_costs.PLAIN), lambda *_: None))
    assert len([*filter(None, found)]) == (max(1, chunks) + (protocol == "ASGI" and chunks > 0))


def test_the_other_peers_do_their_work() -> None:
    """
    The peers that are measured on an event loop echo an ID, and the lane drives them.
    """
    for make in (further_costs.starlette_context, further_costs.base_http):
        lane = lanes.Lane("ASGI", make, loop=True)
        assert lane.time_slice([lanes.scope_of(further_costs.PLAIN) for _ in range(5)]) > 0


def test_one_more_of_everything_is_measured() -> None:
    """
    Each figure that has a target is measured, and the peers beside them.
    """
    rows = json.loads(run("further_costs.py", "--json", "--rounds", "2")[0][0])
    assert rows.keys() - further_costs.TARGETS.keys() == {
        "mint / starlette-context",
        "mint / BaseHTTPMiddleware",
    }
    assert rows.keys() >= further_costs.TARGETS.keys()


def test_growth_is_measured_in_time_and_in_bytes() -> None:
    """
    Three tables: each kind of header line on both protocols, all else that can be many, and
    open WebSockets.
    """
    rows = run("growth.py", "--quick")
    lines = [f"{kind}, {protocol}" for kind in growth.KINDS for protocol in ("ASGI", "WSGI")]
    others = [dimension.name for dimension in growth.DIMENSIONS]
    names = [row[0] for row in rows]
    titles = ["40 header lines", "of these", "open WebSockets"]
    assert names == [titles[0], *lines, titles[1], *others, titles[2], "10"]
    assert {row[-1] for row in rows} <= {"met", "yes", "no"}


def test_memory_is_measured_by_tenths() -> None:
    """
    Every tenth of the mixed requests has its memory, and each request is another.
    """
    found = footprint.memory_of_requests(100, warm_up=100)
    assert len(found) == 10
    assert all(resident > 0 and blocks > 0 for resident, blocks in found)
    requests = [request for _, request in zip(range(200), footprint.mixed_requests(), strict=False)]
    assert len({request for _, request in requests}) == 200


def test_importing_and_waiting_are_measured() -> None:
    """
    Each figure has a target, and is held against it.
    """
    rows = run("footprint.py", "--repeat", "1")
    assert {row[0] for row in rows[1:]} == footprint.TARGETS.keys()
    assert all(row[-1] in ("yes", "no") for row in rows[1:])


def tables() -> list[re.Match[str]]:
    """
    Return the tables of the page that a benchmark printed.
    """
    return list(refresh_page.BLOCK.finditer(refresh_page.PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("table", tables(), ids=lambda one: f"{one['python']}-{one['command']}")
def test_a_table_of_the_page_says_how_it_was_measured(table: re.Match[str]) -> None:
    """
    Beside each table are the command, which is there, the Python and the date.
    """
    assert ROOT.joinpath(table["command"].split()[0]).exists()
    caption, _, header, *_ = table["body"].splitlines()
    version = re.escape(table["python"]) + r"\.\d+"
    command = re.escape(table["command"])
    assert re.fullmatch(rf"`python {command}`, Python {version}, \d+ \w+ \d{{4}}:", caption)
    assert header.startswith("| ")


def test_the_page_is_refreshed_between_its_marks(tmp_path: Path) -> None:
    """
    A table is replaced by what its command prints; all else stays, as do other Pythons' tables.
    """
    other = "<!-- measured on 2.7: benchmarks/growth.py -->\nold\n<!-- measured until here -->\n"
    mine = other.replace("2.7", refresh_page.VERSION).replace("growth.py", "growth.py --quick")
    text = f"# Title\n\n{other}\nbetween\n\n{mine}end\n"
    page = tmp_path / "page.md"
    page.write_text(text)
    refresh_page.refresh_page(page, "growth", "quick")
    refresh_page.refresh_page(page, "footprint", None)
    assert page.read_text() == text
    refresh_page.refresh_page(page, "growth", "footprint")
    fresh = page.read_text()
    assert fresh.startswith(f"# Title\n\n{other}\nbetween\n\n{mine.splitlines()[0]}\n`python ")
    assert fresh.endswith("\n\n<!-- measured until here -->\nend\n")
    assert "| foreign, ASGI |" in fresh


def test_the_pictures_of_the_page_are_there() -> None:
    """
    The plot has a light and a dark version.
    """
    page = refresh_page.PAGE.read_text(encoding="utf-8")
    found = re.findall(r'src(?:set)?="([^"]+)"', page)
    assert found == ["plots/real_requests_dark.svg", "plots/real_requests_light.svg"]
    assert all(refresh_page.PAGE.parent.joinpath(one).exists() for one in found)

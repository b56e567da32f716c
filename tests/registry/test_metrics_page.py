"""
The recipes of docs/registry_metrics.md count as the page says.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2].joinpath("docs", "registry_metrics.md").read_text(encoding="utf-8")


def recipe(title: str) -> str:
    """
    Return the Python of a section.
    """
    part = re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]
    found = re.search(r"```python\n(.*?)```", part, re.DOTALL)
    assert found
    return found[1]


def printed(code: str) -> str:
    """
    Return what a program prints.
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_prometheus_counts_as_printed() -> None:
    """
    The lines that the page shows are those that Prometheus would scrape.
    """
    shown = re.search(r"```text\n(idlanyard_.*?)```", PAGE, re.DOTALL)
    assert shown
    lines = printed(recipe("Prometheus")).splitlines()
    assert [line for line in shown[1].splitlines() if line not in lines] == []


def test_the_alerts_ask_for_what_is_counted() -> None:
    """
    The alerts of the page name series and labels that Prometheus would scrape.
    """
    shown = re.search(r"```text\n(# The store is away.*?)```", PAGE, re.DOTALL)
    assert shown
    scraped = printed(recipe("Prometheus"))
    asked = re.findall(r"(idlanyard_\w+)\{(\w+)=", shown[1])
    assert len(asked) == 2
    for series, label in asked:
        assert re.search(rf'^{series}\{{.*\b{label}="', scraped, re.MULTILINE)
    for label in re.findall(r"sum by \(([\w, ]+)\)", shown[1]):
        assert set(label.split(", ")) <= {"le", "store", *re.findall(r'(\w+)="', scraped)}


def test_opentelemetry_counts() -> None:
    """
    The counter has each verb by its outcome and store, the histogram its seconds.
    """
    data = json.loads(printed(recipe("OpenTelemetry")))
    [scope] = data["resource_metrics"][0]["scope_metrics"]
    points = {one["name"]: one["data"]["data_points"] for one in scope["metrics"]}

    def of(point: dict[str, Any]) -> tuple[str, ...]:
        return tuple(point["attributes"][name] for name in ("verb", "outcome", "store"))

    counted = {of(point): point["value"] for point in points["idlanyard.registry.verbs"]}
    assert counted == {
        ("create", "created", "memory"): 1,
        ("exists", "found", "memory"): 1,
        ("exists", "not found", "memory"): 1,
    }
    timed = points["idlanyard.registry.duration"]
    assert {of(point): point["count"] for point in timed} == counted
    assert all(0 < point["sum"] < 60 for point in timed)


@pytest.mark.parametrize("title", ["Prometheus", "OpenTelemetry"])
def test_no_id_is_a_label(title: str) -> None:
    """
    No session ID reaches what is scraped or sent.
    """
    code = recipe(title).replace("registry.create()", 'registry.create("tell-tale")')
    assert "tell-tale" in code
    assert "tell-tale" not in printed(code)

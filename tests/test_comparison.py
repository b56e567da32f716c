"""
The tables of docs/comparison.md are what the packages are seen to do.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compared import DJANGO, WRAP

ROOT = Path(__file__).parents[1]
PAGE = ROOT.joinpath("docs", "comparison.md").read_text(encoding="utf-8")
PACKAGES = sorted(WRAP.keys() | DJANGO.keys())


def read_tables() -> list[dict[str, dict[str, bool]]]:
    """
    Return the answers of each table by package and place.
    """
    section = PAGE.partition("\n## Where the ID is\n")[2].partition("\n## ")[0]
    tables: list[dict[str, dict[str, bool]]] = []
    for table in re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE):
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        titles = [title.split(" ")[0] for title in rows[0][1:]]
        answers: dict[str, dict[str, bool]] = {title: {} for title in titles}
        for place, *cells in rows[2:]:
            for title, cell in zip(titles, cells, strict=True):
                answers[title][place] = {"yes": True, "no": False}[cell]
        tables.append(answers)
    return tables


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_as_the_tables_say(package: str) -> None:
    """
    A package, set up by its documentation, has the ID in the places that the tables say.
    """
    script = Path(__file__).with_name("compared.py")
    done = subprocess.run(
        [sys.executable, script, package], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    shown = dict(zip(("Starlette", "Django"), read_tables(), strict=True))
    written = {name: table[package] for name, table in shown.items() if package in table}
    assert json.loads(done.stdout) == written


def test_the_releases_are_those_that_are_named() -> None:
    """
    The page names the releases that are installed.
    """
    named = dict(re.findall(r"\| ([\w-]+) (\d+\.\d+)(?= \|)", PAGE))
    assert named.keys() | {"idlanyard"} == set(PACKAGES)
    for package, release in named.items():
        assert importlib.metadata.version(package).startswith(f"{release}.")

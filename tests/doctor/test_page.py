"""
The output on docs/doctor.md is that of the command.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from idlanyard._doctor._checks._every import CHECKS
from idlanyard._doctor._command import make_parser
from idlanyard._doctor._servers import NAMES

PAGE = Path(__file__).parents[2].joinpath("docs", "doctor.md").read_text(encoding="utf-8")
RUNS = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE, re.DOTALL)
FILES = re.findall(r"```python\n(# (\w+\.py)\n.*?)```", PAGE, re.DOTALL)


def without_ids(text: str) -> str:
    """
    Return text without the IDs and words that are made anew for each run.
    """
    return re.sub(r"[0-9a-f]{32}|(?<=-doctor-)[0-9a-f]{8}", "~", text)


@pytest.mark.parametrize(("command", "shown"), RUNS)
def test_the_page_prints_what_the_command_prints(command: str, shown: str, tmp_path: Path) -> None:
    """
    Each command of the page prints what stands below it, but for the IDs.
    """
    for code, name in FILES:
        tmp_path.joinpath(name).write_text(code, encoding="utf-8")
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert without_ids(done.stdout) == without_ids(shown), done.stderr


def test_every_check_has_its_row() -> None:
    """
    The table of checks has them all, in the order of the report.
    """
    table = PAGE.partition("## The checks")[2].partition("## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [one.name for one in CHECKS]
    assert f"there are {len(CHECKS)} checks" in PAGE


def test_every_option_has_its_row() -> None:
    """
    The table of options has them all, and every server.
    """
    options = {
        option
        for action in make_parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert set(re.findall(r"`(--[\w-]+)`", PAGE)) >= options - {"--help"}
    assert all(f"`{name}`" in PAGE for name in NAMES)

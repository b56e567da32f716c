"""
What MIGRATION.md says is run as it stands, before and after.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1].joinpath("MIGRATION.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
# The package before fails with today's releases of the framework, as the section says. With earlier
# releases both programs print the same: tests/release/run_earlier.py.
OUTDATED = ("Flask-Log-Request-ID", "The session context of the GenAI utilities")


def blocks(title: str) -> list[str]:
    """
    Return the blocks of a section.
    """
    return re.findall(r"^```python\n(.*?)^```", SECTIONS[title], re.DOTALL | re.MULTILINE)


def start(code: str) -> subprocess.CompletedProcess[str]:
    """
    Run a block in a process of its own.
    """
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def run(code: str) -> str:
    """
    Run a block in a process of its own; return what it prints.
    """
    done = start(code)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("title", [title for title in SECTIONS if title not in OUTDATED])
def test_every_section_shows_what_runs(title: str) -> None:
    """
    Every block of a section runs, and the programs before and after print the same.
    """
    printed = [run(code) for code in blocks(title)]
    if blocks(title)[0].startswith("# before\n"):
        before, after = printed
        assert before
        assert before == after


@pytest.mark.parametrize("title", OUTDATED)
def test_a_package_that_fails_does_so_as_the_section_says(title: str) -> None:
    """
    The program before ends with the error that the section quotes; all others run.
    """
    before, after, *others = blocks(title)
    (error,) = re.findall(r"`(ImportError: [^`]*)`", " ".join(SECTIONS[title].split()))
    done = start(before)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"{error} from ")
    assert run(after)
    for code in others:
        run(code)


def test_every_section_has_both() -> None:
    """
    Each section about a package shows the program before and after, and what each option becomes.
    """
    for title in list(SECTIONS)[1:]:
        first = [code.partition("\n")[0] for code in blocks(title)[:2]]
        assert first == ["# before", "# after"]
        assert "| before" in SECTIONS[title]


def test_the_table_of_contents_is_whole() -> None:
    """
    Each section is linked from the top.
    """
    top = PAGE.partition("\n## ")[0]
    links = re.findall(r"\]\(#(.*?)\)", top)
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in SECTIONS]
    assert sorted(links) == sorted(anchors)


def test_what_stays_out_is_said() -> None:
    """
    The notes on migration say what was left out on purpose.
    """
    assert all(word in PAGE for word in ("X-Session-Name", "TROPIR_RERUN_SESSION_ID", "patches"))

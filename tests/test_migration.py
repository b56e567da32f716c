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
# Python that is shown and not run: the package is broken, another vendor's, or never was one.
SHOWN = {
    "Flask-Log-Request-ID",
    "`session_utils` of tropir",
    "The session context of the GenAI utilities",
    "A `context` module of one session ID",
}


def blocks(title: str, language: str = "python") -> list[str]:
    """
    Return the blocks of a section.
    """
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[title], re.DOTALL | re.MULTILINE)


def run(code: str) -> str:
    """
    Run a block in a process of its own; return what it prints.
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("title", SECTIONS)
def test_every_section_shows_what_runs(title: str) -> None:
    """
    Every block of a section runs; where the package before runs too, both print the same.
    """
    printed = [run(code) for code in blocks(title)]
    if blocks(title)[0].startswith("# before\n"):
        before, after = printed
        assert before
        assert before == after


def test_every_section_has_both() -> None:
    """
    Each section about a package shows the program before and after, and what each option becomes;
    what is shown and not run is known.
    """
    for title in list(SECTIONS)[1:]:
        shown = [*blocks(title, "py"), *blocks(title)]
        assert [code.partition("\n")[0] for code in shown[:2]] == ["# before", "# after"]
        assert "| before" in SECTIONS[title]
    assert {title for title in SECTIONS if blocks(title, "py")} == SHOWN


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

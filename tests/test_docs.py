"""
What the pages say is run as it stands, each block by itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from idlanyard import Policy, PolicyError

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(
    r"^( *)```python\n(.*?)^ *```\n(?:\s*(?:It prints[^\n]*\n)?\s*```text\n(.*?)^ *```)?",
    re.DOTALL | re.MULTILINE,
)


def integrations() -> list[str]:
    """
    Return the name of each integration.
    """
    home = ROOT / "src" / "idlanyard" / "integrations"
    stems = {path.stem for path in home.iterdir() if not path.stem.startswith("_")}
    # Its page tells how to write one.
    return sorted(stems - {"custom"})


def blocks() -> list[tuple[str, str, str]]:
    """
    Return each block of Python with its page and number, and with what the page says it prints.
    """
    return [
        (f"{page.name}-{number}", textwrap.dedent(code), textwrap.dedent(shown))
        for page in PAGES
        # tests/servers/test_tutorials.py follows these, block by block.
        if not page.name.startswith("tutorial_")
        for number, (_, code, shown) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(
    ("code", "shown"), [pytest.param(code, shown, id=name) for name, code, shown in blocks()]
)
def test_every_block_of_the_pages_runs(code: str, shown: str) -> None:
    """
    The Python that a page shows runs in a process of its own, and prints the lines below it.
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    # What it prints of a request is a status and the echo.
    for line in re.findall(r"^(?:200|404|500) (.*)$", done.stdout, re.MULTILINE):
        assert line.split()[-1] == "s1"
    printed = f"{done.stdout}\n{done.stderr}"
    for line in shown.splitlines():
        wanted = ".*".join(map(re.escape, line.split("…")))
        assert re.search(rf"^{wanted}$", printed, re.MULTILINE), printed


def test_every_extra_that_a_page_installs_exists() -> None:
    """
    The extras in the lines of pip are those of the package.
    """
    texts = [page.read_text(encoding="utf-8") for page in LINKED]
    named = re.findall(r"'(?:\.|idlanyard)\[([\w,-]+)\]'", "\n".join(texts))
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    assert {extra for each in named for extra in each.split(",")} - extras == set()


FRAMEWORKS = "bottle django falcon fastapi flask litestar pyramid quart starlette".split()


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_page_of_a_framework_shows_a_policy(name: str) -> None:
    """
    Each shows where rules of one's own go, and these rules hold for a request: another
    header for the session, and a request ID.
    """
    shown = [code for page, code, _ in blocks() if page.startswith(f"{name}.md-") and "c1" in code]
    (code,) = [code for code in shown if "policy = Policy(" in code]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True
    )
    said = done.stdout.replace('"', "'").replace(" ", "")
    assert all(one in said for one in ("'session_id':'c1'", "'request_id':'r1'"))
    assert ("'user_id':'alice'" in said) == ("X-User-ID" in code or "X_USER_ID" in code)


@pytest.mark.parametrize("name", integrations())
def test_the_page_of_an_integration_has_the_usual_parts(name: str) -> None:
    """
    Each says what to install, the lines to write, and what differs there.
    """
    page = ROOT / "docs" / f"{name}.md"
    titles = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[:2] == ["Install", "Quick start"]
    assert {"What differs here", "Limits"} & set(titles)


def test_every_integration_has_a_page() -> None:
    """
    Design, section 5: one page for each integration.
    """
    assert set(integrations()) - {page.stem for page in PAGES} == set()


def test_every_page_is_in_the_index() -> None:
    """
    The index links every page.
    """
    text = ROOT.joinpath("docs", "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w.]+\.md)\)", text))
    assert {page.name for page in PAGES} - linked == {"index.md"}


def anchors(page: Path) -> set[str]:
    """
    Return the anchors of a page's titles.
    """
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


LINKED = [*ROOT.glob("*.md"), *PAGES]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """
    The files and titles that a page links to are there.
    """
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_the_error_that_is_shown_is_the_one_that_comes() -> None:
    """
    The sentence that a how-to prints is the one that is raised.
    """
    with pytest.raises(PolicyError) as caught:
        Policy(trusted_peers=["10.0.0.5/8"])
    page = ROOT.joinpath("docs", "how_to.md").read_text(encoding="utf-8")
    assert f"\n```text\n{caught.value}\n```\n" in page


def test_every_example_stands_on_a_page() -> None:
    """
    An example that is named on a page is there, and each is named on one.
    """
    texts = [page.read_text(encoding="utf-8") for page in LINKED]
    named = {name for text in texts for name in re.findall(r"examples/(\w+\.py)", text)}
    assert named == {path.name for path in ROOT.joinpath("examples").glob("*.py")}

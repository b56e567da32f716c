"""
The site: its reference has every public name, and its checks find what is wrong.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

from test_public_api import ALIASES, PUBLIC

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))

import adapt_pages
import build_reference
import build_site
import check_site

ROOT = Path(__file__).parents[1]
PAGES = build_reference.write_pages()
NAMES = [
    pytest.param(module, name, id=f"{module}.{name}")
    for module, names in PUBLIC.items()
    for name in names
]
CALLED = [one for one in NAMES if one.values[1] not in ALIASES]


def section(module: str, name: str) -> str:
    """
    Return the part of the reference about a name.
    """
    text = PAGES[f"{module}.md"].partition(f"\n## {name} {{#{name}}}\n")[2]
    return re.split(r"^## ", text, flags=re.MULTILINE)[0]


def test_every_public_module_has_a_page() -> None:
    """
    The reference has a page for each public module that has names, and an index of them.
    """
    modules = [module for module, names in PUBLIC.items() if names]
    assert sorted(PAGES) == sorted(["index.md", *(f"{module}.md" for module in modules)])
    assert [module for module in modules if f"]({module}.md)" not in PAGES["index.md"]] == []


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_public_name_is_explained(module: str, name: str) -> None:
    """
    The reference has the signature of a name, its explanation, and the place of its source.
    """
    shown = re.match(
        r"\n```python\n(.*?)\n```\n\n(.*?)\n\nSource: `(\S+), line (\d+)`",
        section(module, name),
        re.DOTALL,
    )
    assert shown
    signature, text, file, line = shown.groups()
    assert re.search(rf"\b{name}\b", signature)
    assert len(text.split()) > 3
    assert name in ROOT.joinpath(file).read_text("utf-8").splitlines()[int(line) - 1]


@pytest.mark.parametrize(("module", "name"), CALLED)
def test_every_argument_is_explained(module: str, name: str) -> None:
    """
    A name that explains its arguments explains each one that it takes.
    """
    value = getattr(importlib.import_module(module), name)
    text = section(module, name).partition("\n### ")[0]
    if "| argument | type |" not in text:
        return
    rows = re.findall(r"^\| <code>(\w+)</code> \| .* \| .* \| ", text, re.MULTILINE)
    parameters = inspect.signature(value).parameters
    assert set(parameters) - set(rows) - {"misplaced"} == set()


def test_prose_is_changed_and_code_is_not() -> None:
    """
    Links lead to the pages of the site, bars in tables are kept, and blocks stay as they are.
    """
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    page = adapt_pages.adapt_page("docs/index.md")
    assert "](../README.md)" in text
    assert "](index.md)" in page
    assert "](examples.md#script)" in page
    assert adapt_pages.write_pipes(r"| `a \| b` |") == "| <code>a &#124; b</code> |"
    fenced = "```python\n# [x](../README.md)\n```\n"
    assert build_reference.change_prose(f"a\n{fenced}b\n", str.upper) == f"A\n{fenced}B\n"


def test_lists_are_indented_for_the_renderer() -> None:
    """
    What belongs to an item of a list, blocks of code included, is indented by four.
    """
    page = "1. a\n   b\n\n   ```py\n   if a:\n     - c\n   ```\n2. d\n   - e\n     f\n\ng\n"
    wanted = (
        "1. a\n    b\n\n    ```py\n    if a:\n      - c\n    ```\n\n2. d\n    - e\n        f\n\ng\n"
    )
    assert adapt_pages.indent_lists(page) == wanted


def test_the_navigation_has_every_page() -> None:
    """
    The navigation lists each page once.
    """
    index = ROOT.joinpath("docs", "index.md").read_text("utf-8")
    lines = build_site.write_navigation(index, list(PAGES))
    listed = re.findall(r"\(([\w./]+)\)", "\n".join(lines))
    sources = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")}
    places = {adapt_pages.place_of(source) for source in sources | adapt_pages.MOVED.keys()}
    made = {"examples.md", *(f"reference/{page}" for page in PAGES)}
    assert sorted(listed) == sorted(places | made)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        pytest.param("a.html", '<a href="b.html#here">', "", id="a part that is there"),
        pytest.param("a.html", '<a href="https://example.org/">', "", id="a link to elsewhere"),
        pytest.param("a.html", '<a href="c.html">', "c.html leads nowhere", id="no page"),
        pytest.param("a.html", '<a href="b.html#x">', "b.html#x leads to no part", id="no part"),
        pytest.param("a.html", '<script src="//cdn/x.js">', "fetched from elsewhere", id="script"),
        pytest.param("a.html", '<img src="x.png">', "x.png is fetched", id="no image"),
        pytest.param("a.html", "<p><code>a`b</code></p>", "", id="code"),
        pytest.param("a.html", "<p>a ``b</p>", "Markdown that is not rendered", id="Markdown"),
        pytest.param("a.css", "@import url(https://f/x.css)", "from elsewhere", id="style sheet"),
    ],
)
def test_faults_of_a_site_are_found(name: str, text: str, fault: str, tmp_path: Path) -> None:
    """
    A link that leads nowhere, what is fetched from elsewhere, and Markdown that is left, is named.
    """
    tmp_path.joinpath("b.html").write_text('<h2 id="here">', encoding="utf-8")
    tmp_path.joinpath(name).write_text(text, encoding="utf-8")
    found = check_site.find_faults(tmp_path)
    assert len(found) == bool(fault)
    assert fault in "".join(found)

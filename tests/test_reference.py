"""
Every public name and every option of Policy and IDSpec is on a page of the documentation.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from idlanyard import Admission, IDSpec, Policy
from test_public_api import PUBLIC

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "MIGRATION.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
POLICY = ROOT.joinpath("docs", "policy.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """
    Return a section of the policy's page.
    """
    return re.split(r"^## ", POLICY.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_on_a_page(module: str) -> None:
    """
    A reader who searches the pages for a public module or for one of its names finds it.
    """
    missing = [name for name in PUBLIC[module] if not re.search(rf"\b{name}\b", TEXT)]
    assert (module in TEXT, missing) == (True, [])


@pytest.mark.parametrize(
    ("rule", "option"),
    [
        pytest.param(rule, field.name, id=f"{rule.__name__}.{field.name}")
        for rule in (Policy, IDSpec)
        for field in dataclasses.fields(rule)
        if field.init
    ],
)
def test_an_option_has_its_row(rule: type, option: str) -> None:
    """
    Each option has a row in the table of its class, and a line in its docstring.
    """
    assert re.search(rf"^\| `{option}` \|", section(f"`{rule.__name__}`"), re.MULTILINE)
    assert re.search(rf"^ +{option}: ", rule.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("rule", [Policy, IDSpec])
def test_a_default_is_the_one_that_is_written(rule: type) -> None:
    """
    Each default in a table is the default of the class.
    """
    rows = re.compile(r"^\| `(\w+)` \| `([^`]+)` \|", re.MULTILINE)
    written = dict(rows.findall(section(f"`{rule.__name__}`")))
    for field in dataclasses.fields(rule):
        if field.name in written and field.default is not dataclasses.MISSING:
            assert written[field.name] == repr(field.default).replace("'", '"')


def test_an_admission_is_explained() -> None:
    """
    Each option of Admission has a line in its docstring.
    """
    for field in dataclasses.fields(Admission):
        assert re.search(rf"^ +{field.name}: ", Admission.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_links_lead_somewhere(page: str) -> None:
    """
    A link of a page to another page, or to a part of one, finds it.
    """
    [path] = [each for each in PAGES if each.name == page]
    prose = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target, part in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if part:
            titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert part in anchors

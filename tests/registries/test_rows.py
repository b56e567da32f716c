"""
Every numbered behaviour of the origin system has its test (issue 5, "Done when").
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from idlanyard.registry import SessionRegistry

ROOT = Path(__file__).parents[2]
ROWS = range(1, 23)


def sentences() -> str:
    """
    Return the docstrings of every test.
    """
    said: list[str] = []
    for path in ROOT.joinpath("tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            kinds = ast.FunctionDef | ast.AsyncFunctionDef
            if isinstance(node, kinds) and node.name.startswith("test_"):
                said.append(ast.get_docstring(node) or "")
    return "\n".join(said)


SAID = sentences()


@pytest.mark.parametrize("row", [pytest.param(row, id=f"S-D{row}") for row in ROWS])
def test_every_row_is_named_by_a_test(row: int) -> None:
    """
    Issue 5: each behaviour of the origin system is adopted or inverted by a test that names it.
    """
    assert re.search(rf"\bS-D{row}\b", SAID)


def test_meaningful_ids_are_explained_as_a_hazard() -> None:
    """
    S-D21: the page on meaningful IDs shows what they give away, and what to write instead.
    """
    page = ROOT.joinpath("docs", "meaningful_ids.md").read_text(encoding="utf-8")
    for suggested in ("crm_user_12345", "mobile_user_456_device_abc", "web_user_789"):
        assert suggested in page
    for instead in ("hmac", "client_id", 'log="hash"', "403"):
        assert instead in page


def test_closing_forgets_no_session(tmp_path: Path) -> None:
    """
    S-D19: a registry that is closed, as at a shutdown, forgets nothing.
    """
    url = f"sqlite:///{tmp_path}/sessions.db"
    with SessionRegistry.open(url) as registry:
        registry.create("s1", client_id="c", metadata={"a": 1})
    with SessionRegistry.open(url) as registry:
        assert registry.get("s1").metadata == {"a": 1}

"""
docs/rules.md defines every rule that source and tests name, and names tests that exist.
"""

from __future__ import annotations

import ast
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
RULE = re.compile(r"(?<![\w.-])([RS][1-9]\d?)(?![\w-])")
ROW = re.compile(r"^\| ([RS]\d+) \| (.+?) \| (?:`([^`]+)`)? ?\|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "rules.md").read_text(encoding="utf-8"))


def sentences(path: Path) -> list[str]:
    """
    Return the comments and docstrings of a file, and its breaches' rules.
    """
    with path.open("rb") as file:
        told = [
            one.string for one in tokenize.tokenize(file.readline) if one.type == tokenize.COMMENT
        ]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    told += [
        ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)
    ]
    return told


def has_test(name: str) -> bool:
    """
    Return whether a file of the tests defines the function that follows its name.
    """
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return any(isinstance(node, kinds) and node.name == function for node in ast.walk(tree))


def test_every_rule_that_is_named_is_defined() -> None:
    """
    A number in a comment or docstring of source and tests is a row of the page.
    """
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")]
    named = {rule for path in files for text in sentences(path) for rule in RULE.findall(text)}
    assert named - {rule for rule, *_ in ROWS} == set()


def test_every_rule_has_its_row_once() -> None:
    """
    The page has R1 to R16 and S1 to S30, each once.
    """
    wanted = [f"R{n}" for n in range(1, 17)] + [f"S{n}" for n in range(1, 31)]
    assert sorted(rule for rule, *_ in ROWS) == sorted(wanted)


def test_every_rule_has_a_test_that_exists() -> None:
    """
    A row names a test that is there.
    """
    assert [rule for rule, _, test in ROWS if not test or not has_test(test)] == []


def test_no_public_docstring_names_a_rule() -> None:
    """
    A reader of a docstring of the package needs no page of rules.
    """
    named = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found = RULE.findall(ast.get_docstring(node) or "")
                if found:
                    named[f"{path.relative_to(ROOT)}: {getattr(node, 'name', '')}"] = found
    assert named == {}


def test_no_page_names_a_rule_without_a_link() -> None:
    """
    A page or example that names a rule by its number links the page that explains it.
    """
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    named = {name: RULE.findall(text) for name, text in texts.items() if "rules.md" not in text}
    assert {name: rules for name, rules in named.items() if rules} == {
        "rules.md": named["rules.md"]
    }

"""
Each of the rules S1 to S30 has a test that begins with its number, and a breach that one notices.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rules.break_rules import every_breach

ROOT = Path(__file__).parents[2]
RULES = {f"S{number}" for number in range(1, 31)}
BEGINS_WITH = re.compile(r"[RS]\d+(?:(?:, | to | and )[RS]\d+)*(?=[:,])")


def begun_docstrings() -> Iterator[str]:
    """
    Yield the numbers that the docstrings of tests begin with.
    """
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                begun = BEGINS_WITH.match(ast.get_docstring(node) or "")
                if begun:
                    yield begun[0]


def test_each_rule_has_a_test_that_names_it_first() -> None:
    """
    A reader who searches for the number finds the proof.
    """
    tested = {rule for begun in begun_docstrings() for rule in re.findall(r"S\d+", begun)}
    assert RULES - tested == set()


def test_each_rule_has_a_breach() -> None:
    """
    The source is broken once for each number, and a test has to notice.
    """
    assert RULES - {breach.rule for breach in every_breach()} == set()


@cache
def defined_names(file: str) -> frozenset[str]:
    """
    Return the classes and functions that a file of tests defines.
    """
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_each_breach_names_a_test_that_exists() -> None:
    """
    A test that was renamed notices nothing any more, and is found out before the script runs.
    """
    missing = []
    for breach in every_breach():
        # A method of a class may be inherited from the contract in another file.
        file, name, *_ = breach.test.partition("[")[0].split("::")
        if name not in defined_names(file):
            missing.append(breach.test)
    assert missing == []

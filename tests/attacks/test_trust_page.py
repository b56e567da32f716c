"""
docs/trust.md names tests that exist, and options that exist.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from attacks.test_table import defined_names
from idlanyard import IDSpec, Policy
from idlanyard.signing import SignedHeader

PAGE = Path(__file__).parents[2].joinpath("docs", "trust.md").read_text(encoding="utf-8")
HELPED = re.findall(r"^\| ([\d., ]+) \| .+ \| `(tests/[^`]+)` \|$", PAGE, re.MULTILINE)
ASVS = re.compile(r"(\d{1,2})\.(\d)\.(\d{1,2})")


def test_every_requirement_has_a_test_that_exists() -> None:
    """
    Each row of the table of ASVS has numbers of the standard, in their order, and a test.
    """
    numbers = [
        tuple(map(int, ASVS.fullmatch(number).groups()))  # type: ignore[union-attr]
        for row, _ in HELPED
        for number in row.split(", ")[:1]
    ]
    assert len(numbers) > 20
    assert numbers == sorted(set(numbers))
    places = [test.partition("::") for _, test in HELPED]
    assert [place for place in places if place[2] not in defined_names(place[0])] == []


def test_every_word_that_switches_a_rule_off_is_one() -> None:
    """
    The options that the page warns of are those of the policy, an ID or a signed header.
    """
    table = PAGE.partition("## Words that switch a rule off")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)=", table, re.MULTILINE))
    options = {field.name for kind in (Policy, IDSpec, SignedHeader) for field in fields(kind)}
    unsafe = {option for option in options if option.startswith(("unsafe_", "assume_"))}
    assert named - options == set()
    assert unsafe - named == set()

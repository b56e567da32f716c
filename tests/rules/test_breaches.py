"""
The breaches still fit the source and the tests: found out before they are run.
"""

from __future__ import annotations

from rules.break_rules import every_breach, hunk_fault


def test_every_hunk_is_in_its_file_once() -> None:
    """
    A breach quotes the source as it is; whoever changes the line changes the quotation.
    """
    assert [fault for breach in every_breach() if (fault := hunk_fault(breach))] == []


def test_every_breach_changes_something() -> None:
    """
    The replacement of a hunk is something else, and is tried once.
    """
    breaches = every_breach()
    assert [breach.what for breach in breaches if breach.old == breach.new] == []
    assert len({(breach.file, breach.old, breach.new) for breach in breaches}) == len(breaches)

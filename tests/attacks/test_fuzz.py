"""
The fuzzer that is run by hand works.
"""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.fuzz import PROPERTIES, Row, find_property, fuzz, give_inputs


@pytest.mark.parametrize("place", [place for places in PROPERTIES.values() for place in places])
def test_each_property_can_be_run(place: str) -> None:
    """
    Each property is there, draws its inputs, and takes nothing else.
    """
    test = find_property(place)
    assert callable(test.hypothesis.inner_test)
    assert not inspect.signature(test).parameters


def test_a_failure_is_an_error() -> None:
    """
    A property that does not hold ends the run, and is no line of the table.
    """

    @given(st.integers())
    def holds_for_small_numbers(number: int) -> None:
        assert number < 100

    with pytest.raises(AssertionError):
        give_inputs(holds_for_small_numbers)


def test_the_table_has_what_was_asked_for() -> None:
    """
    Without time, each parser of that name has its inputs once.
    """
    rows: dict[str, Row] = {}
    fuzz(rows, 0, "key sets")
    assert [(row.name, row.inputs >= 100) for row in rows.values()] == [
        ("key sets", True),
        ("URLs of key sets", True),
    ]

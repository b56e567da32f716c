"""
The benchmark of log records runs, and what it compares does the work it is measured for.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import logging_records
import processes
from logging_records import IDS, crowded, factories, in_request


@pytest.mark.parametrize("name", ["bare", "constants", "idlanyard"])
@pytest.mark.parametrize("full", [False, True], ids=["alone", "crowded"])
def test_a_factory_does_its_work(name: str, full: bool) -> None:
    """
    What is compared puts the same three IDs on a record, and the bare one none.
    """
    context = crowded(in_request()) if full else in_request()
    factory = factories()[name]
    for _ in range(2):
        record = context.run(factory, "app", logging.INFO, "app.py", 1, "x", (), None)
        found = {key: value for key, value in record.__dict__.items() if key in IDS}
        assert found == ({} if name == "bare" else IDS)


def test_the_crowd_is_there() -> None:
    """
    A hundred foreign variables are set beside ours.
    """
    alone = in_request()
    assert len(crowded(alone)) == len(alone) + logging_records.FOREIGN


def test_every_figure_is_measured() -> None:
    """
    One quick run has each figure that has a target, and leaves logging as it was.
    """
    before = logging.getLogRecordFactory()
    figures = logging_records.measured(2)
    assert logging.getLogRecordFactory() is before
    assert figures.keys() >= logging_records.TARGETS.keys()
    assert all(value > 0 for value in figures.values())
    rows = processes.format_table([figures, figures], logging_records.TARGETS)
    assert len(rows) == len(figures) + 2

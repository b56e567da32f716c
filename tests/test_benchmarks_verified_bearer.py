"""
The benchmark of verified bearers runs, and its lanes find the user that a token names.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import verified_bearer
from verified_bearer import MAKERS, TARGETS, Lanes


@pytest.mark.parametrize("algorithm", MAKERS)
def test_each_lane_does_its_work(algorithm: str) -> None:
    """
    PyJWT and the verified bearer find the user of a token, and the request without one nobody.
    """
    lanes = Lanes(algorithm)
    token = next(lanes.tokens)
    lanes.ask(lanes.verifying, token)
    lanes.ask(lanes.plain, token)
    assert [lanes.decode(token), *lanes.users] == ["user-1", "user-1", None]


def test_every_figure_is_measured() -> None:
    """
    One quick run has each figure that has a target.
    """
    figures = verified_bearer.measured(3)
    assert figures.keys() == TARGETS.keys()

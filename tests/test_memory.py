"""
Memory stays flat over many requests: measured in a fresh process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("memory_of.py")
TOLERANCE = 0.01
METERS = ("COVERAGE", "COV_CORE", "PYTHONDEVMODE")


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize("meter", ["tracemalloc", "rss"])
def test_memory_is_flat_over_ten_blocks_of_requests(protocol: str, meter: str) -> None:
    """
    S28: the slope over ten blocks of requests is within 1 % of the first.
    """
    # Coverage and the development mode would measure themselves.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(METERS)}
    output = subprocess.run(
        [sys.executable, str(PROGRAM), protocol, meter],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    blocks = [int(line) for line in output.split()]
    assert len(blocks) == 10
    average = sum(blocks) / len(blocks)
    # Least squares: how much one block adds, as a straight line through all ten.
    spread = [number - 4.5 for number in range(10)]
    slope = sum(x * (block - average) for x, block in zip(spread, blocks, strict=True)) / sum(
        x * x for x in spread
    )
    assert slope <= TOLERANCE * blocks[0], blocks

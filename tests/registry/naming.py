"""
IDs that no other test has, and waiting for what takes as long as it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

DEADLINE = 20.0


def fresh(name: str = "s") -> str:
    """
    Return an ID that no other test has.
    """
    return f"{name}-{uuid4().hex}"


def eventually(check: Callable[[], bool]) -> None:
    """
    Ask until *check* holds, for as long as anything may take.
    """
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline

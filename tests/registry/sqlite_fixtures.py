"""
Fixtures and steps that the tests of SQLite share.
"""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Return where the sessions are.
    """
    return tmp_path / "sessions.db"


@pytest.fixture
def url(path: Path) -> str:
    """
    Return the same as a URL.
    """
    return f"sqlite:///{path}"

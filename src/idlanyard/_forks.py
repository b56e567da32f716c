"""
What a child process does with what it inherits from a fork, where there are forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def in_child(renew: Callable[[], object]) -> None:
    """
    Call *renew* in every process that is forked from this one.

    Args:
        renew: takes nothing; replaces locks that another thread held at the
            fork, which nobody would ever release, and what must not be shared.
    """
    # There are no forks on Windows.
    getattr(os, "register_at_fork", dict)(after_in_child=renew)

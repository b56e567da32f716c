"""
The command, run as a user does: a process of its own, and what it printed.
"""

from __future__ import annotations

import io
from typing import NamedTuple

from idlanyard._doctor._command import main


class Run(NamedTuple):
    """
    One run of the command.

    Attributes:
        status: its exit status.
        out: its output.
        err: its messages.
    """

    status: int
    out: str
    err: str


def run(*words: str) -> Run:
    """
    Run the command; the application and the server run in processes of their own.
    """
    out, err = io.StringIO(), io.StringIO()
    status = main(words, out, err)
    return Run(status, out.getvalue(), err.getvalue())

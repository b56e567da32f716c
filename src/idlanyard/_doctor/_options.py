"""
The options of the command, and the part of them that its child processes need.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

VARIABLE = "_IDLANYARD_DOCTOR"
"""
The environment variable that holds the options of a child process.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    The options of one run.

    Attributes:
        target: the application, as on the command line.
        kind: its kind, or ``None`` to detect it.
        token: a word that is in every made-up path.
        paths: the paths that may be called.
        headers: further header lines of the requests for these paths.
        host: the host of the requests, or ``""`` for the one that the application accepts.
        origin: the origin of a page in a browser, or ``""`` for one that the
            application allows.
        timeout: the most seconds that a request may take.
    """

    target: str
    kind: str | None = None
    token: str
    paths: list[str] = field(default_factory=list[str])
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    host: str = ""
    origin: str = ""
    timeout: float = 10.0


def dump_options(options: Options) -> str:
    """
    Return the options as JSON.
    """
    return json.dumps(dataclasses.asdict(options))


def load_options(text: str) -> Options:
    """
    Return the options that ``dump_options`` wrote.
    """
    found: dict[str, Any] = json.loads(text)
    found["headers"] = [(name, value) for name, value in found.get("headers", ())]
    return Options(**found)

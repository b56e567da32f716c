"""
``Finding``: the outcome of one check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from idlanyard._doctor._observations import Observations

OK: Final = "ok"
RED: Final = "red"
NOT_APPLICABLE: Final = "not applicable"
NOT_TRIED: Final = "not tried"

INSTALL: Final = "install the middleware, by the lines at the end"
"""
The remedy wherever the middleware is missing.
"""

GIVE_A_PATH: Final = "add --path with a route that {}"


class Finding(NamedTuple):
    """
    The outcome of one check.

    Attributes:
        verdict: ``"ok"``, ``"red"``, ``"not applicable"`` or ``"not tried"``.
        seen: the observation that decided it.
        write: the remedy of a red check, and how to try one that was not
            tried; else ``""``.
    """

    verdict: str
    seen: str
    write: str = ""

    @classmethod
    def ok(cls, seen: str) -> Finding:
        """
        Return the finding that all is well.
        """
        return cls(OK, seen)

    @classmethod
    def red(cls, seen: str, write: str) -> Finding:
        """
        Return the finding of a fault, with what to write.
        """
        return cls(RED, seen, write)

    @classmethod
    def red_if(cls, faults: list[str], write: str, *, otherwise: str) -> Finding:
        """
        Return the finding that these faults are red, or that all is well if there are none.
        """
        return cls.red("; ".join(dict.fromkeys(faults)), write) if faults else cls.ok(otherwise)

    @classmethod
    def not_applicable(cls, seen: str) -> Finding:
        """
        Return the finding that a check has nothing to say about this application.
        """
        return cls(NOT_APPLICABLE, seen)

    @classmethod
    def not_tried(cls, seen: str, write: str) -> Finding:
        """
        Return the finding that a check lacks a request, with how to allow one.
        """
        return cls(NOT_TRIED, seen, write)


class Check(NamedTuple):
    """
    One check.

    Attributes:
        name: its name, for ``--only`` and ``--skip``.
        about: the question that it answers, in words.
        judge: decides on observations.
    """

    name: str
    about: str
    judge: Callable[[Observations], Finding]

"""
Observations and findings, by the same functions that the command uses.
"""

from __future__ import annotations

from idlanyard._doctor._checks._every import CHECKS
from idlanyard._doctor._checks._finding import Finding
from idlanyard._doctor._in_process import observe_application
from idlanyard._doctor._observations import Observations
from idlanyard._doctor._options import Options

PATHS = ["/", "/boom", "/stream", "/chat"]


def options_for(target: str, *paths: str, kind: str | None = None, limit: float = 10) -> Options:
    """
    Return the options of a run.
    """
    return Options(target=target, kind=kind, token="0123", paths=list(paths), timeout=limit)


def observed(target: str, *paths: str, kind: str | None = None) -> Observations:
    """
    Observe an application of ``doctor.apps`` in this very process.
    """
    return observe_application(
        options_for(f"doctor.apps.{target}", *paths, kind=kind), lambda _: None
    )


def findings(observations: Observations) -> dict[str, Finding]:
    """
    Return the finding of each check.
    """
    return {check.name: check.judge(observations) for check in CHECKS}


def judged(check: str, observations: Observations) -> Finding:
    """
    Return the finding of one check.
    """
    (judge,) = [one.judge for one in CHECKS if one.name == check]
    return judge(observations)


def verdicts(observations: Observations) -> dict[str, list[str]]:
    """
    Return the names of the checks by their verdict.
    """
    sorted_by: dict[str, list[str]] = {}
    for name, finding in findings(observations).items():
        sorted_by.setdefault(finding.verdict, []).append(name)
    return sorted_by

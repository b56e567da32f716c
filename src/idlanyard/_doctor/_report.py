"""
The report of the command: a table, plain text or JSON.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TextIO

from idlanyard._doctor._checks._finding import OK, RED, Check, Finding
from idlanyard._doctor._observations import Observations
from idlanyard._doctor._probes import GIVEN
from idlanyard._doctor._remedies import list_mending_lines
from idlanyard.registry._command._text import escape_text

_COLOURS: Final = {OK: "green", RED: "bold red"}


class Report(NamedTuple):
    """
    Everything that the command says.

    Attributes:
        target: the application, as on the command line.
        observations: the facts.
        findings: each check with its finding.
    """

    target: str
    observations: Observations
    findings: Sequence[tuple[Check, Finding]]

    @property
    def status(self) -> int:
        """
        The exit status: 1 if a check is red, else 0.
        """
        return int(any(finding.verdict == RED for _, finding in self.findings))

    @property
    def title(self) -> str:
        """
        The application, its framework and the server in one line.
        """
        application, server = self.observations.application, self.observations.server
        where = f"in process and under {server.name}" if server else "in process only"
        return f"{self.target}: {application.framework} over {application.kind.upper()}, {where}"

    @property
    def mending(self) -> list[str]:
        """
        The lines that install the middleware, if it is missing.
        """
        if self.observations.is_installed:
            return []
        return list_mending_lines(self.observations.application.framework)

    @property
    def paths(self) -> dict[str, int]:
        """
        The status of each path that was given; 0 if it was not answered.
        """
        given = [one for one in self.observations.exchanges if one.probe.label == GIVEN]
        return {one.probe.path: one.status for one in given}

    def summarize(self) -> str:
        """
        Return how many checks have which verdict, in words.
        """
        verdicts = [finding.verdict for _, finding in self.findings]
        counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)]
        return ", ".join(sorted(counts, key=lambda text: not text.endswith(RED)))


def write_json(report: Report, out: TextIO) -> None:
    """
    Write the report as one JSON document.
    """
    application, server = report.observations.application, report.observations.server
    document: dict[str, Any] = {
        "target": report.target,
        "framework": application.framework,
        "kind": application.kind,
        "server": server.name if server else None,
        "status": report.status,
        "paths": report.paths,
        "checks": [
            {"name": check.name, "about": check.about, **finding._asdict()}
            for check, finding in report.findings
        ],
        "mend": report.mending,
    }
    out.write(json.dumps(document, indent=2) + "\n")


def write_failure(target: str, reason: str, out: TextIO) -> None:
    """
    Write as JSON why the application could not be checked.
    """
    out.write(json.dumps({"target": target, "status": 2, "error": reason}, indent=2) + "\n")


def write_text(report: Report, out: TextIO) -> None:
    """
    Write the report for people: as a table if Rich is installed.
    """
    rows, title = [*map(_escape_row, _list_rows(report))], escape_text(report.title)
    if importlib.util.find_spec("rich") is None:
        _write_plain(title, rows, out)
    else:
        from idlanyard._doctor import _table

        _table.write_table(title, rows, _COLOURS, out)
    out.write(f"\n{report.summarize()}\n")
    if report.paths:
        answers = ", ".join(f"{path} {status or '-'}" for path, status in report.paths.items())
        out.write(f"Answers to GET: {escape_text(answers)}\n")
    if report.mending:
        out.write("These lines mend it:\n\n")
        out.writelines(f"    {line}".rstrip() + "\n" for line in report.mending)


def _list_rows(report: Report) -> list[list[str]]:
    """
    Return the cells of the table.
    """
    return [
        [f"{check.name}\n{check.about}", finding.verdict, finding.seen, finding.write]
        for check, finding in report.findings
    ]


def _escape_row(row: list[str]) -> list[str]:
    return ["\n".join(map(escape_text, cell.split("\n"))) for cell in row]


def _write_plain(title: str, rows: Sequence[Sequence[str]], out: TextIO) -> None:
    out.write(f"{title}\n\n")
    for name, verdict, seen, write in rows:
        shown = verdict.upper() if verdict == RED else verdict
        out.write(f"{shown}: {', '.join(name.splitlines())}\n")
        out.writelines(f"    {line}\n" for line in seen.splitlines())
        if write:
            out.write(f"    write: {write}\n")

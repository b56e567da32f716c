"""
Sessions in a file: ``export`` and ``import``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from idlanyard.registry._command._lines import (
    FIRST,
    LAST,
    MOST_BYTES,
    kept_of,
    line_of,
    parsed_line,
)
from idlanyard.registry._command._places import Place
from idlanyard.registry._command._printing import Printer, Progress
from idlanyard.registry._command._showing import counted
from idlanyard.registry._command._statuses import FAULTS, FINE, Undone
from idlanyard.registry._command._walking import BATCH, LEASE_ID, stretches
from idlanyard.registry._questions import Count, Put
from idlanyard.registry._record import Kept


def export(place: Place, printer: Printer, out: TextIO) -> int:
    """
    Write every living session, between a line of the version and one of their number.
    """
    written = 0
    out.write(json.dumps(FIRST) + "\n")
    with printer.progress("exporting", place.ask(Count())) as progress:
        for stretch in stretches(place):
            lines = [line_of(kept) for kept in stretch if kept.session_id != LEASE_ID]
            out.writelines(f"{line}\n" for line in lines)
            written += len(lines)
            progress.advance(len(lines))
    out.write(json.dumps({LAST: written}) + "\n")
    out.flush()
    return FINE


class _Import:
    """
    One import: what was read, and what became of it.

    Args:
        place: where the sessions go.
        printer: says which lines are wrong.
    """

    def __init__(self, place: Place, printer: Printer) -> None:
        self._place = place
        self._printer = printer
        self.became: Counter[str] = Counter()
        self.read = 0
        self.announced: int | None = None

    def run(self, lines: Iterator[tuple[int, bytes]], progress: Progress) -> None:
        """
        Keep the sessions of these lines, in batches.
        """
        batch: dict[str, tuple[int, Kept]] = {}
        for number, line in lines:
            kept = self._session_of(number, line)
            if kept is None:
                continue
            if kept.session_id in batch or len(batch) == BATCH:
                self._put(batch, progress)
                batch = {}
            batch[kept.session_id] = number, kept
        self._put(batch, progress)

    def _session_of(self, number: int, line: bytes) -> Kept | None:
        try:
            fields = parsed_line(line)
            if set(fields) == {LAST}:
                self.announced = fields[LAST]
                return None
            self.read += 1
            return kept_of(fields)
        except ValueError as error:
            self.became["wrong"] += 1
            self._printer.say(f"line {number}: {error}")
            return None

    def _put(self, batch: dict[str, tuple[int, Kept]], progress: Progress) -> None:
        if not batch:
            return
        sessions = [kept for _, kept in batch.values()]
        outcomes = self._place.ask(Put(sessions))
        for (number, kept), outcome in zip(batch.values(), outcomes, strict=True):
            self.became[outcome] += 1
            if outcome == "taken":
                self._printer.say(
                    f"line {number}: {kept.session_id!r} is not kept: "
                    "another session has its ID or its idempotency key"
                )
        progress.advance(len(batch))


def import_sessions(place: Place, printer: Printer, file: BinaryIO) -> int:
    """
    Keep the sessions of an export, and say what became of them.

    Raises:
        Undone: it is no export.
    """
    lines = _numbered_lines(file)
    _refuse_other_files(next(lines, (1, b""))[1])
    work = _Import(place, printer)
    with printer.progress("importing", None) as progress:
        work.run(lines, progress)
    is_whole = work.announced == work.read
    if not is_whole:
        printer.say("the export is not whole: its last line is missing, so export again")
    _tell(printer, work.became, is_whole=is_whole)
    return FINE if is_whole and not work.became["taken"] + work.became["wrong"] else FAULTS


def _tell(printer: Printer, became: Counter[str], *, is_whole: bool) -> None:
    numbers = {name: became[name] for name in ("kept", "same", "taken", "expired", "wrong")}
    if printer.is_json:
        printer.document({**numbers, "whole": is_whole})
        return
    kept = counted(numbers.pop("kept"))
    others = ", ".join(f"{number} {name}" for name, number in numbers.items())
    printer.line(f"kept {kept} ({others})")


def _refuse_other_files(line: bytes) -> None:
    try:
        first = parsed_line(line)
    except ValueError:
        first = {}
    if first != FIRST:
        raise Undone(
            f"line 1 is not {json.dumps(FIRST)}: give the file that this version's export wrote"
        )


def _numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """
    Return the lines that say something, with their numbers; of long ones only the beginning.
    """
    number = 0
    while line := file.readline(MOST_BYTES + 1):
        number += 1
        if line.strip():
            yield number, line
        while not line.endswith(b"\n") and (line := file.readline(MOST_BYTES)):
            pass

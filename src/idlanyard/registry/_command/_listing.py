"""
Looking at sessions: ``check``, ``count``, ``list`` and ``show``.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count as numbered
from typing import Any

from idlanyard.registry._command._parser import Line
from idlanyard.registry._command._places import Place
from idlanyard.registry._command._printing import Printer
from idlanyard.registry._command._showing import counted, moment_text
from idlanyard.registry._command._statuses import FAULTS, FINE, Failed, Undone
from idlanyard.registry._command._walking import checked_key, rows_of
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._questions import Check, Count, Read
from idlanyard.registry._record import Row

_TITLES = ("session_id", "client_id", "created_at", "expires_at", "metadata")


def check(place: Place, printer: Printer) -> int:
    """
    Print what keeps the store from keeping its promises.
    """
    said: dict[str, Any] = {"store": place.kind, "url": place.shown}
    try:
        faults = place.ask(Check())
    except Failed as failed:
        if printer.is_json:
            is_wrong = isinstance(failed.error, RegistryMisconfigured)
            status = "misconfigured" if is_wrong else "unavailable"
            printer.document({**said, "status": status, "faults": [failed.sentence()]})
        raise
    if printer.is_json:
        printer.document({**said, "status": "faults" if faults else "fine", "faults": faults})
    else:
        for fault in faults:
            printer.line(fault)
        if not faults:
            printer.line(f"{place.shown} is fine")
    return FAULTS if faults else FINE


def count(place: Place, printer: Printer) -> int:
    """
    Print how many sessions are living.
    """
    living = place.ask(Count())
    if printer.is_json:
        printer.document({"sessions": living})
    else:
        printer.line(str(living))
    return FINE


def show(place: Place, printer: Printer, session_id: str) -> int:
    """
    Print every field of one session.
    """
    row = place.ask(Read(checked_key("ID", session_id)))
    if row is None:
        raise Undone(f"there is no session {session_id!r}: it has ended, expired or never been")
    if printer.is_json:
        printer.document(document_of(row))
    else:
        printer.table(("field", "value"), zip(_TITLES, _cells(row), strict=True))
    return FINE


def list_sessions(place: Place, printer: Printer, line: Line) -> int:
    """
    Print sessions, those that were asked for and in that order.
    """
    options = line.options
    rows = _wanted(rows_of(place, options.client), line)
    rank = _rank(line)
    listed = _each_once(rows) if rank is None else _foremost(rows, options.limit, rank)
    shown = _noting_more(listed, options.limit, printer)
    if printer.is_json:
        for row in shown:
            printer.document(document_of(row))
    else:
        printer.table(_TITLES, map(_cells, shown))
    return FINE


def document_of(row: Row) -> dict[str, Any]:
    """
    Return a session as JSON has it.
    """
    return {
        "session_id": row.session_id,
        "client_id": row.client_id,
        "metadata": json.loads(row.metadata),
        "created_at": moment_text(row.created),
        "expires_at": moment_text(row.expires),
    }


def _cells(row: Row) -> tuple[str, ...]:
    expires = moment_text(row.expires) or "never"
    created = moment_text(row.created) or ""
    return row.session_id, row.client_id or "", created, expires, row.metadata


def _wanted(rows: Iterable[Row], line: Line) -> Iterator[Row]:
    options = line.options
    within = options.expiring_within
    ends = None if within is None else time.time_ns() // 1000 + within
    for row in rows:
        if options.without_client and row.client_id is not None:
            continue
        if (ends is not None or options.expiring) and row.expires is None:
            continue
        if ends is None or (row.expires or 0) <= ends:
            yield row


def _rank(line: Line) -> Callable[[Row], int] | None:
    """
    Return what is lowest for the row that comes first; ``None`` for the store's own order.
    """
    options = line.options
    if options.oldest:
        return lambda row: row.created
    if options.newest:
        return lambda row: -row.created
    if options.expiring or options.expiring_within is not None:
        return lambda row: row.expires or 0
    return None


def _each_once(rows: Iterable[Row]) -> Iterator[Row]:
    """
    Return rows as they come, none twice.
    """
    seen: set[str] = set()
    for row in rows:
        if row.session_id not in seen:
            seen.add(row.session_id)
            yield row


def _foremost(rows: Iterable[Row], limit: int, rank: Callable[[Row], int]) -> list[Row]:
    """
    Return the rows of the lowest rank, one more than the limit; no more are held meanwhile.
    """
    held: list[tuple[int, int, Row]] = []
    names: set[str] = set()
    for number, row in zip(numbered(), rows, strict=False):
        # Some stores meet a session twice.
        if row.session_id in names:
            continue
        names.add(row.session_id)
        heapq.heappush(held, (-rank(row), -number, row))
        if len(held) > limit + 1:
            names.discard(heapq.heappop(held)[2].session_id)
    return [row for _, _, row in sorted(held, reverse=True)]


def _noting_more(rows: Iterable[Row], limit: int, printer: Printer) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number == limit:
            printer.say(
                f"there are more than {counted(limit)}: write a larger --limit, or use export"
            )
            return
        yield row

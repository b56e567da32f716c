"""
Commands about sessions: ``check``, ``count``, ``list``, ``show``, ``end`` and ``purge``.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count as numbered
from typing import Any

from idlanyard.registry._command._parser import Line
from idlanyard.registry._command._places import Place, parse_key, read_rows
from idlanyard.registry._command._printing import Printer
from idlanyard.registry._command._statuses import FAULTS, FINE, Failed, Undone, UsageError
from idlanyard.registry._command._text import format_count, format_moment
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._questions import Check, Count, Delete, Purge, Read
from idlanyard.registry._record import Row

_TITLES = ("session_id", "client_id", "created_at", "expires_at", "metadata")


def check(place: Place, printer: Printer) -> int:
    """
    Print a sentence for each setting that breaks a promise.
    """
    document: dict[str, Any] = {"store": place.kind, "url": place.shown}
    try:
        faults = place.ask(Check())
    except Failed as failed:
        if printer.is_json:
            is_wrong = isinstance(failed.error, RegistryMisconfigured)
            status = "misconfigured" if is_wrong else "unavailable"
            printer.document({**document, "status": status, "faults": [failed.sentence()]})
        raise
    if printer.is_json:
        printer.document({**document, "status": "faults" if faults else "fine", "faults": faults})
    else:
        for fault in faults:
            printer.line(fault)
        if not faults:
            printer.line(f"{place.shown} is fine")
    return FAULTS if faults else FINE


def count(place: Place, printer: Printer) -> int:
    """
    Print the number of living sessions.
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
    row = place.ask(Read(parse_key("ID", session_id)))
    if row is None:
        raise Undone(f"there is no session {session_id!r}: it has ended, expired or never existed")
    if printer.is_json:
        printer.document(document_of(row))
    else:
        printer.table(("field", "value"), zip(_TITLES, _cells_of(row), strict=True))
    return FINE


def list_sessions(place: Place, printer: Printer, line: Line) -> int:
    """
    Print the sessions that a command line selects, in its order.
    """
    options = line.options
    rows = _select(read_rows(place, options.client), line)
    rank = _rank_of(line)
    listed = _deduplicate(rows) if rank is None else _take_first(rows, options.limit, rank)
    shown = _cut(listed, options.limit, printer)
    if printer.is_json:
        for row in shown:
            printer.document(document_of(row))
    else:
        printer.table(_TITLES, map(_cells_of, shown))
    return FINE


def end(place: Place, printer: Printer, line: Line, session_id: str | None) -> int:
    """
    End one session, or all sessions of a client.
    """
    options = line.options
    if session_id is None:
        if options.created_at is not None:
            raise UsageError("--created-at is for one session: leave it out with --client")
        return _end_all(place, printer, options.client, is_sure=options.yes)
    row = place.ask(Delete(parse_key("ID", session_id), options.created_at))
    if row is None:
        of_then = "" if options.created_at is None else " created at that moment"
        raise Undone(f"there is no session {session_id!r}{of_then}: nothing was ended")
    _print_number(printer, "ended", 1)
    return FINE


def _end_all(place: Place, printer: Printer, client_id: str, *, is_sure: bool) -> int:
    if not is_sure:
        found = sum(1 for _ in read_rows(place, client_id))
        question = f"End {format_count(found)} of client {client_id!r} at {place.shown}?"
        if found and not printer.confirm(question, instead="write --yes to end them all"):
            printer.say("nothing was ended")
            return FAULTS
    ended = 0
    for row in read_rows(place, client_id):
        key = parse_key("ID", row.session_id)
        ended += place.ask(Delete(key, row.created)) is not None
    _print_number(printer, "ended", ended)
    return FINE


def purge(place: Place, printer: Printer) -> int:
    """
    Free the space of expired sessions.
    """
    _print_number(printer, "purged", place.ask(Purge()))
    return FINE


def _print_number(printer: Printer, done: str, number: int) -> None:
    if printer.is_json:
        printer.document({done: number})
    else:
        printer.line(f"{done} {format_count(number)}")


def document_of(row: Row) -> dict[str, Any]:
    """
    Return the JSON object of a session.
    """
    return {
        "session_id": row.session_id,
        "client_id": row.client_id,
        "metadata": json.loads(row.metadata),
        "created_at": format_moment(row.created),
        "expires_at": format_moment(row.expires),
    }


def _cells_of(row: Row) -> tuple[str, ...]:
    expires = format_moment(row.expires) or "never"
    created = format_moment(row.created) or ""
    return row.session_id, row.client_id or "", created, expires, row.metadata


def _select(rows: Iterable[Row], line: Line) -> Iterator[Row]:
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


def _rank_of(line: Line) -> Callable[[Row], int] | None:
    """
    Return a function by which rows are sorted; ``None`` keeps the store's own order.
    """
    options = line.options
    if options.oldest:
        return lambda row: row.created
    if options.newest:
        return lambda row: -row.created
    if options.expiring or options.expiring_within is not None:
        return lambda row: row.expires or 0
    return None


def _deduplicate(rows: Iterable[Row]) -> Iterator[Row]:
    """
    Yield rows in their order, each session once.
    """
    seen: set[str] = set()
    for row in rows:
        if row.session_id not in seen:
            seen.add(row.session_id)
            yield row


def _take_first(rows: Iterable[Row], limit: int, rank: Callable[[Row], int]) -> list[Row]:
    """
    Return the rows of the lowest ranks, sorted; one more than the limit, and no more in memory.
    """
    held: list[tuple[int, int, Row]] = []
    names: set[str] = set()
    for number, row in zip(numbered(), rows, strict=False):
        # Some stores return a session twice.
        if row.session_id in names:
            continue
        names.add(row.session_id)
        heapq.heappush(held, (-rank(row), -number, row))
        if len(held) > limit + 1:
            names.discard(heapq.heappop(held)[2].session_id)
    return [row for _, _, row in sorted(held, reverse=True)]


def _cut(rows: Iterable[Row], limit: int, printer: Printer) -> Iterator[Row]:
    """
    Yield the first rows, and say so if there are more.
    """
    for number, row in enumerate(rows):
        if number == limit:
            printer.say(
                f"there are more than {format_count(limit)}: write a larger --limit, or use export"
            )
            return
        yield row

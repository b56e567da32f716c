"""
Ending sessions: ``end`` and ``purge``.
"""

from __future__ import annotations

from idlanyard.registry._command._parser import Line
from idlanyard.registry._command._places import Place
from idlanyard.registry._command._printing import Printer
from idlanyard.registry._command._showing import counted
from idlanyard.registry._command._statuses import FAULTS, FINE, Undone, UsageError
from idlanyard.registry._command._walking import checked_key, rows_of
from idlanyard.registry._questions import Delete, Purge


def end(place: Place, printer: Printer, line: Line, session_id: str | None) -> int:
    """
    End one session, or all of a client's.
    """
    options = line.options
    if session_id is None:
        if options.created_at is not None:
            raise UsageError("--created-at is for one session: leave it out with --client")
        return _end_client(place, printer, options.client, is_sure=options.yes)
    row = place.ask(Delete(checked_key("ID", session_id), options.created_at))
    if row is None:
        of_then = "" if options.created_at is None else " of that moment"
        raise Undone(f"there is no session {session_id!r}{of_then}: nothing was ended")
    _tell(printer, "ended", 1)
    return FINE


def _end_client(place: Place, printer: Printer, client_id: str, *, is_sure: bool) -> int:
    if not is_sure:
        found = sum(1 for _ in rows_of(place, client_id))
        question = f"End {counted(found)} of client {client_id!r} at {place.shown}?"
        if found and not printer.confirm(question, instead="write --yes to end them all"):
            printer.say("nothing was ended")
            return FAULTS
    ended = 0
    for row in rows_of(place, client_id):
        key = checked_key("ID", row.session_id)
        ended += place.ask(Delete(key, row.created)) is not None
    _tell(printer, "ended", ended)
    return FINE


def purge(place: Place, printer: Printer) -> int:
    """
    Give up what expired sessions still take.
    """
    _tell(printer, "purged", place.ask(Purge()))
    return FINE


def _tell(printer: Printer, done: str, number: int) -> None:
    if printer.is_json:
        printer.document({done: number})
    else:
        printer.line(f"{done} {counted(number)}")

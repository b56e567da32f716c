"""
``export`` and ``import``: sessions as lines of JSON in a file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO, Final, TextIO, cast

from idlanyard.registry._checks import MOST_SECONDS, convert_datetime, encode_metadata, make_key
from idlanyard.registry._command._places import BATCH, LEASE_ID, Place, read_stretches
from idlanyard.registry._command._printing import Printer, Progress
from idlanyard.registry._command._statuses import FAULTS, FINE, Undone
from idlanyard.registry._command._text import format_count, format_moment
from idlanyard.registry._questions import Count, Put
from idlanyard.registry._record import Kept

FIRST: Final = {"idlanyard_sessions": 1}
LAST: Final = "sessions"
MOST_BYTES: Final = 1 << 20
_NAMES: Final = (
    "session_id",
    "client_id",
    "metadata",
    "ttl_microseconds",
    "created_at",
    "expires_at",
    "idempotency",
    "request",
)


def export(place: Place, printer: Printer, out: TextIO) -> int:
    """
    Write every living session, after a line with the version and before one with their number.
    """
    written = 0
    out.write(json.dumps(FIRST) + "\n")
    with printer.progress("exporting", place.ask(Count())) as progress:
        for stretch in read_stretches(place):
            lines = [format_line(kept) for kept in stretch if kept.session_id != LEASE_ID]
            out.writelines(f"{line}\n" for line in lines)
            written += len(lines)
            progress.advance(len(lines))
    out.write(json.dumps({LAST: written}) + "\n")
    out.flush()
    return FINE


class _Import:
    """
    An import of sessions from the lines of an export.

    Args:
        place: the store that keeps the sessions.
        printer: prints the lines that are wrong.

    Attributes:
        became: the number of sessions by their outcome.
        read: the number of sessions that were read.
        announced: the number of sessions in the export's last line, if there is one.
    """

    def __init__(self, place: Place, printer: Printer) -> None:
        self._place = place
        self._printer = printer
        self.became: Counter[str] = Counter()
        self.read = 0
        self.announced: int | None = None

    def run(self, lines: Iterator[tuple[int, bytes]], progress: Progress) -> None:
        """
        Keep the sessions in numbered lines, in batches.
        """
        batch: dict[str, tuple[int, Kept]] = {}
        for number, line in lines:
            kept = self._parse_line(number, line)
            if kept is None:
                continue
            if kept.session_id in batch or len(batch) == BATCH:
                self._put(batch, progress)
                batch = {}
            batch[kept.session_id] = number, kept
        self._put(batch, progress)

    def _parse_line(self, number: int, line: bytes) -> Kept | None:
        try:
            fields = parse_object(line)
            if set(fields) == {LAST}:
                self.announced = fields[LAST]
                return None
            self.read += 1
            return parse_session(fields)
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
    Keep the sessions of an export, and print the number of sessions by outcome.

    Raises:
        Undone: the file is no export.
    """
    lines = _number_lines(file)
    _check_first_line(next(lines, (1, b""))[1])
    work = _Import(place, printer)
    with printer.progress("importing", None) as progress:
        work.run(lines, progress)
    is_whole = work.announced == work.read
    if not is_whole:
        printer.say("the export is not whole: its last line is missing, so export again")
    _print_outcome(printer, work.became, is_whole=is_whole)
    return FINE if is_whole and not work.became["taken"] + work.became["wrong"] else FAULTS


def _print_outcome(printer: Printer, became: Counter[str], *, is_whole: bool) -> None:
    numbers = {name: became[name] for name in ("kept", "same", "taken", "expired", "wrong")}
    if printer.is_json:
        printer.document({**numbers, "whole": is_whole})
        return
    kept = format_count(numbers.pop("kept"))
    others = ", ".join(f"{number} {name}" for name, number in numbers.items())
    printer.line(f"kept {kept} ({others})")


def _check_first_line(line: bytes) -> None:
    try:
        first = parse_object(line)
    except ValueError:
        first = {}
    if first != FIRST:
        raise Undone(
            f"line 1 is not {json.dumps(FIRST)}: give the file that this version's export wrote"
        )


def _number_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """
    Yield lines that are not blank, with their numbers; of a long line only the beginning.
    """
    number = 0
    while line := file.readline(MOST_BYTES + 1):
        number += 1
        if line.strip():
            yield number, line
        while not line.endswith(b"\n") and (line := file.readline(MOST_BYTES)):
            pass


def format_line(kept: Kept) -> str:
    """
    Return the line of one session.
    """
    values = (
        kept.session_id,
        kept.client_id,
        json.loads(kept.metadata),
        kept.ttl,
        format_moment(kept.created),
        format_moment(kept.expires),
        None if kept.idempotency is None else kept.idempotency.hex(),
        None if kept.request is None else kept.request.hex(),
    )
    return json.dumps(dict(zip(_NAMES, values, strict=True)))


def parse_object(line: bytes) -> dict[str, Any]:
    """
    Return the JSON object in a line.

    Raises:
        ValueError: there is none; the message says what is wrong.
    """
    if len(line) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ValueError("it is no JSON object")


def parse_session(fields: Mapping[str, Any]) -> Kept:
    """
    Return the session in a line's object.

    Raises:
        ValueError: a field is wrong; the message names it, never its value.
    """
    _check_names(fields)
    try:
        make_key("session_id", fields["session_id"])
        client_id = fields["client_id"]
        if client_id is not None:
            make_key("client_id", client_id)
        metadata = encode_metadata(fields["metadata"])
    except TypeError as error:
        raise ValueError(str(error)) from None
    created = _parse_moment("created_at", fields["created_at"])
    if created is None:
        raise ValueError("created_at is null: write a moment")
    idempotency = _parse_digest("idempotency", fields["idempotency"])
    request = _parse_digest("request", fields["request"])
    if (idempotency is None) != (request is None):
        raise ValueError("idempotency and request go together: write both, or null for both")
    return Kept(
        fields["session_id"],
        client_id,
        metadata,
        _parse_ttl(fields["ttl_microseconds"]),
        created,
        _parse_moment("expires_at", fields["expires_at"]),
        idempotency,
        request,
    )


def _check_names(fields: Mapping[str, Any]) -> None:
    missing = [name for name in _NAMES if name not in fields]
    if missing:
        raise ValueError(f"{missing[0]} is missing: write null where there is none")
    if len(fields) > len(_NAMES):
        raise ValueError("it has more fields than a session: leave them out")


def _parse_moment(name: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return convert_datetime(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{name} is no moment with a time zone: write 2026-01-31T12:00:00.000000Z"
        ) from None


def _parse_ttl(value: object) -> int | None:
    if value is None:
        return None
    most = MOST_SECONDS * 1_000_000
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise ValueError(f"ttl_microseconds is no time to live: write 1 to {most}, or null")
    return value


def _parse_digest(name: str, value: object) -> bytes | None:
    if value is None:
        return None
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError(f"{name} is no SHA-256: write its 64 hexadecimal digits, or null")
    return digest

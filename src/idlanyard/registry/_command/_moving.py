"""
``move``: every session from one store to another, losing none; one move into a store at a time.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from idlanyard.ids import token
from idlanyard.registry._command._places import LEASE_ID, SAME, Place, read_stretches
from idlanyard.registry._command._printing import Printer, Progress
from idlanyard.registry._command._statuses import FAULTS, FINE, Failed, Undone, UsageError
from idlanyard.registry._command._text import format_count, format_moment
from idlanyard.registry._questions import Count, Delete, Extend, Insert, Put, Read
from idlanyard.registry._record import Draft, Kept, Row

Left: TypeAlias = Literal["moved", "ended", "changed"]

_AT_ONCE: Final = 64
"""
The sessions that are deleted at the source between two looks at the lease.
"""
_THREADS: Final = 8
_PATIENT: Final = 3
"""
The passes that leave a session which was just touched for the next pass.
"""
_NEAR: Final = 60_000_000
"""
The microseconds by which clocks may differ.
"""
_NEVER: Final = 1 << 62
_MOST_NAMED: Final = 1000
_LEASE_KEY: Final = sha256(LEASE_ID.encode()).digest()
_PAUSE: Final = 0.2
_SECOND: Final = 1_000_000


class Lease:
    """
    The right to move into a store: a session in the target, for as long as a move runs.

    Two moves of the same sessions would mistake each other's deletes for ends
    of sessions. The lease of a killed move expires soon.

    Args:
        target: the store that sessions are moved into.
        timeout: the most seconds that one question may take.
    """

    def __init__(self, target: Place, timeout: float) -> None:
        self._target = target
        self._seconds = 2 * timeout + 2
        self._created = 0
        self._extended_at = 0.0

    def take(self, source: Place, printer: Printer) -> None:
        """
        Take the lease, waiting for another move to end.

        Args:
            source: the store that sessions are moved from.
            printer: says that another move is running.

        Raises:
            UsageError: the source is the target.
            Undone: another move does not end.
        """
        deadline = time.monotonic() + 2 * self._seconds
        mark = json.dumps({"move": token()}, separators=(",", ":"))
        row = self._insert(mark)
        if row is None:
            printer.say(
                f"another move into {self._target.shown} is running, or was stopped a moment "
                f"ago: waiting for up to {2 * self._seconds:.0f} seconds"
            )
        while row is None:
            if time.monotonic() > deadline:
                raise Undone("another move into the same store is running: run this one after it")
            time.sleep(_PAUSE)
            row = self._insert(mark)
        self._created, self._extended_at = row.created, time.monotonic()
        there = source.ask(Read(_LEASE_KEY))
        if there is not None and there.metadata == mark:
            self.release()
            raise UsageError(SAME)

    def extend(self) -> None:
        """
        Extend the lease, if it is time.

        Raises:
            Undone: the lease has expired, and another move may have begun.
        """
        if time.monotonic() - self._extended_at < self._seconds / 4:
            return
        self._extended_at = time.monotonic()
        if self._target.ask(Extend(_LEASE_KEY, None, None, self._created)) is None:
            raise Undone("the move was held up, and another may have begun: run it again")

    def release(self) -> None:
        """
        End the lease, so that the next move can begin.
        """
        self._target.ask(Delete(_LEASE_KEY, self._created))

    def _insert(self, mark: str) -> Row | None:
        ttl = int(self._seconds * _SECOND)
        draft = Draft(_LEASE_KEY, LEASE_ID, None, None, mark, ttl)
        row = self._target.ask(Insert(draft))
        return row if isinstance(row, Row) else None


class Move:
    """
    A move of all sessions from one store to another.

    Args:
        source: the store to move from.
        target: the store to move to.
        lease: the lease, which is taken.
        is_copy: whether the sessions also stay in the source.
        copied_at: the moment of an earlier copy, after which the target has been in use.

    Attributes:
        became: the number of sessions by their outcome.
        taken: the IDs of sessions that could not be moved.
    """

    def __init__(
        self, source: Place, target: Place, lease: Lease, *, is_copy: bool, copied_at: int | None
    ) -> None:
        self._source = source
        self._target = target
        self._lease = lease
        self._is_copy = is_copy
        self._copied_at = copied_at
        self._passes = 0
        # Creation times, by key, of copies whose sessions have since changed in the source.
        self._left: dict[bytes, int] = {}
        self.became: Counter[str] = Counter()
        self.taken: list[str] = []

    def run(self, progress: Progress) -> None:
        """
        Move sessions in passes, until a pass meets no change in the source.
        """
        is_server = self._source.kind in ("postgresql", "redis")
        with ThreadPoolExecutor(_THREADS if is_server else 1) as pool:
            while self._pass(pool, progress):
                self._passes += 1

    def _pass(self, pool: ThreadPoolExecutor, progress: Progress) -> bool:
        """
        Move the sessions that are there, and return whether some were left because of a change.
        """
        before, self._left = self._left, {}
        self.became["taken"] = self.became["expired"] = 0
        self.taken.clear()
        for stretch in read_stretches(self._source):
            sessions = [kept for kept in stretch if kept.session_id != LEASE_ID]
            self._follow_replaced(before, sessions)
            there: list[Kept] = []
            if self._copied_at is not None:
                sessions, there = self._split_newer(pool, sessions)
            put = self._put(sessions) + there
            if self._is_copy:
                self.became["copied"] += len(put)
                progress.advance(len(put))
                continue
            for start in range(0, len(put), _AT_ONCE):
                self._lease.extend()
                some = put[start : start + _AT_ONCE]
                outcomes = list(zip(pool.map(self._delete_source, some), some, strict=True))
                for outcome, kept in outcomes:
                    if outcome == "changed":
                        self._left[_key_of(kept)] = kept.created
                    else:
                        self.became[outcome] += 1
                        progress.advance(1)
        for key, created in before.items():
            self._forget(key, created)
        return bool(self._left)

    def _follow_replaced(self, before: dict[bytes, int], sessions: list[Kept]) -> None:
        """
        Delete copies of sessions that have been replaced in the source, by one with the same ID.
        """
        for kept in sessions:
            created = before.pop(_key_of(kept), kept.created)
            if created != kept.created:
                self._forget(_key_of(kept), created)

    def _forget(self, key: bytes, created: int) -> None:
        """
        Delete the copy of a session that has ended in the source.
        """
        row = self._source.ask(Read(key))
        if row is not None and row.created == created:
            self._left[key] = created
            return
        self._target.ask(Delete(key, created))
        self.became["ended"] += 1

    def _put(self, sessions: list[Kept]) -> list[Kept]:
        """
        Put sessions into the target, and return those that are there now.
        """
        self._lease.extend()
        outcomes = self._target.ask(Put(sessions)) if sessions else []
        there: list[Kept] = []
        for kept, outcome in zip(sessions, outcomes, strict=True):
            if outcome in ("kept", "same"):
                there.append(kept)
                continue
            self.became[outcome] += 1
            if outcome == "taken":
                self.taken.append(kept.session_id)
        return there

    def _split_newer(
        self, pool: ThreadPoolExecutor, sessions: list[Kept]
    ) -> tuple[list[Kept], list[Kept]]:
        """
        Return the sessions that are newer than in the target, and those that are not.

        Sessions that have ended in the target since the copy also end in the source.
        """
        self._lease.extend()
        verdicts = list(zip(pool.map(self._compare, sessions), sessions, strict=True))
        ended = [kept for verdict, kept in verdicts if verdict == "ended"]
        for kept in ended:
            self._source.ask(Delete(_key_of(kept), kept.created))
        self.became["ended"] += len(ended)
        newer = [kept for verdict, kept in verdicts if verdict == "newer"]
        return newer, [kept for verdict, kept in verdicts if verdict == "there"]

    def _compare(self, kept: Kept) -> Literal["newer", "there", "ended"]:
        row = self._target.ask(Read(_key_of(kept)))
        if row is not None and row.created == kept.created:
            is_newer = (kept.expires or _NEVER) > (row.expires or _NEVER)
            return "newer" if is_newer else "there"
        return "ended" if kept.created < (self._copied_at or 0) else "newer"

    def _delete_source(self, kept: Kept) -> Left:
        """
        Delete a session at the source, and bring a change since the walk to the target.
        """
        source, key = self._source, _key_of(kept)
        # Only a walk reads the time to live and the idempotency key, so a session that has
        # changed is left for the walk of the next pass.
        row = source.ask(Read(key))
        if row is not None and row.created == kept.created and row != kept.row():
            if self._passes < _PATIENT:
                return "changed"
        elif row is not None and row.created != kept.created:
            row = None
        if row is not None:
            row = source.ask(Delete(key, kept.created))
        if row is None:
            self._target.ask(Delete(key, kept.created))
            return "ended"
        if row != kept.row():
            self._target.ask(Put([_apply_row(kept, row)]))
        return "moved"


def _key_of(kept: Kept) -> bytes:
    return sha256(kept.session_id.encode()).digest()


def _apply_row(kept: Kept, row: Row) -> Kept:
    """
    Return a session with the changes of its last row.
    """
    ttl = kept.ttl
    if row.expires is not None and row.expires != kept.expires:
        # It was touched with a new time to live, which a row does not have: guess it.
        longer = row.expires - time.time_ns() // 1000
        if ttl is None or abs(longer - ttl) > _NEAR:
            ttl = max(longer, 1)
    return kept._replace(metadata=row.metadata, expires=row.expires, ttl=ttl)


def move(
    source: Place,
    target: Place,
    printer: Printer,
    *,
    timeout: float,
    is_copy: bool = False,
    copied_at: int | None = None,
) -> int:
    """
    Move every session, and print the number of sessions by outcome.

    Args:
        source: the store to move from.
        target: the store to move to.
        printer: prints the outcome.
        timeout: the most seconds that one question may take.
        is_copy: whether the sessions also stay in the source.
        copied_at: the moment at which an earlier copy began, in microseconds
            since 1970. The target has been in use since: its changes of
            those sessions win.

    Raises:
        UsageError: options contradict each other, or both stores are the same.
        Undone: another move is running.
    """
    if is_copy and copied_at is not None:
        raise UsageError("--copied-at is for the move after a copy: leave one of the two out")
    lease = Lease(target, timeout)
    lease.take(source, printer)
    # Every session created before this moment is copied, even if the source's clock differs.
    begins = time.time_ns() // 1000 - _NEAR
    work = Move(source, target, lease, is_copy=is_copy, copied_at=copied_at)
    with _releasing(lease):
        total = source.ask(Count())
        with printer.progress("copying" if is_copy else "moving", total) as progress:
            work.run(progress)
    _print_outcome(printer, work, begins if is_copy else None)
    return FAULTS if work.taken else FINE


@contextmanager
def _releasing(lease: Lease) -> Generator[None, None, None]:
    """
    Release the lease after the block, even if that was stopped.
    """
    try:
        yield
    except BaseException:
        # If the target does not answer, the lease expires by itself.
        try:
            lease.release()
        except Failed:
            pass
        raise
    lease.release()


def _print_outcome(printer: Printer, work: Move, copied_at: int | None) -> None:
    done = "moved" if copied_at is None else "copied"
    taken = work.taken
    numbers = {name: work.became[name] for name in (done, "taken", "expired", "ended")}
    if printer.is_json:
        more = {} if copied_at is None else {"copied_at": format_moment(copied_at)}
        printer.document({**numbers, **more, "taken_ids": taken[:_MOST_NAMED]})
        return
    for session_id in taken[:_MOST_NAMED]:
        printer.say(
            f"{session_id!r} stays: another session has its ID or its idempotency key in the target"
        )
    if len(taken) > _MOST_NAMED:
        printer.say(f"and {len(taken) - _MOST_NAMED} more")
    moved = format_count(numbers.pop(done))
    others = ", ".join(f"{number} {name}" for name, number in numbers.items())
    printer.line(f"{done} {moved} ({others})")
    if copied_at is not None:
        printer.line(f"when the service uses it: move --copied-at {format_moment(copied_at)}")

"""
``move``: every session from one store to another, and none lost on the way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from idlanyard.registry._command._lease import Lease
from idlanyard.registry._command._places import Place
from idlanyard.registry._command._printing import Printer, Progress
from idlanyard.registry._command._showing import counted, moment_text
from idlanyard.registry._command._statuses import FAULTS, FINE, Failed, UsageError
from idlanyard.registry._command._walking import LEASE_ID, stretches
from idlanyard.registry._questions import Count, Delete, Put, Read
from idlanyard.registry._record import Kept, Row

Left: TypeAlias = Literal["moved", "ended", "changed"]

_AT_ONCE: Final = 64
"""
How many sessions are deleted at the source before the lease is looked at again.
"""
_THREADS: Final = 8
_PATIENT: Final = 3
"""
In how many passes a session that is touched again and again is left for the next one.
"""
_NEAR: Final = 60_000_000
"""
By how many microseconds clocks may differ.
"""
_NEVER: Final = 1 << 62
_MOST_NAMED: Final = 1000


class Move:
    """
    One move: what was put, and what became of it.

    Args:
        source: where the sessions are.
        target: where they go.
        lease: the right to do this, which is held.
        is_copy: whether they stay in the source as well.
        copied_at: when all of them were copied before; the target has been used since.
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
        # Copies whose sessions changed in the source, by key: when they were created.
        self._left: dict[bytes, int] = {}
        self.became: Counter[str] = Counter()
        self.taken: list[str] = []

    def run(self, progress: Progress) -> None:
        """
        Go through the source until nothing in it changes on the way.
        """
        is_server = self._source.kind in ("postgresql", "redis")
        with ThreadPoolExecutor(_THREADS if is_server else 1) as pool:
            while self._pass(pool, progress):
                self._passes += 1

    def _pass(self, pool: ThreadPoolExecutor, progress: Progress) -> bool:
        """
        Move what is there, and return whether some was left because it changed.
        """
        before, self._left = self._left, {}
        self.became["taken"] = self.became["expired"] = 0
        self.taken.clear()
        for stretch in stretches(self._source):
            sessions = [kept for kept in stretch if kept.session_id != LEASE_ID]
            self._follow(before, sessions)
            there: list[Kept] = []
            if self._copied_at is not None:
                sessions, there = self._newer(pool, sessions)
            put = self._put(sessions) + there
            if self._is_copy:
                self.became["copied"] += len(put)
                progress.advance(len(put))
                continue
            for start in range(0, len(put), _AT_ONCE):
                self._lease.keep()
                some = put[start : start + _AT_ONCE]
                outcomes = list(zip(pool.map(self._leave, some), some, strict=True))
                for outcome, kept in outcomes:
                    if outcome == "changed":
                        self._left[_key_of(kept)] = kept.created
                    else:
                        self.became[outcome] += 1
                        progress.advance(1)
        for key, created in before.items():
            self._forget(key, created)
        return bool(self._left)

    def _follow(self, before: dict[bytes, int], sessions: list[Kept]) -> None:
        """
        Take back the copies whose IDs have other sessions in the source by now.
        """
        for kept in sessions:
            created = before.pop(_key_of(kept), kept.created)
            if created != kept.created:
                self._forget(_key_of(kept), created)

    def _forget(self, key: bytes, created: int) -> None:
        """
        Take back a copy whose session has ended in the source since.
        """
        row = self._source.ask(Read(key))
        if row is not None and row.created == created:
            self._left[key] = created
            return
        self._target.ask(Delete(key, created))
        self.became["ended"] += 1

    def _put(self, sessions: list[Kept]) -> list[Kept]:
        """
        Put sessions into the target, and return those that it has.
        """
        self._lease.keep()
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

    def _newer(
        self, pool: ThreadPoolExecutor, sessions: list[Kept]
    ) -> tuple[list[Kept], list[Kept]]:
        """
        Return the sessions that are newer than in the target, and those that it has.

        Those that have ended there since they were copied end here as well.
        """
        self._lease.keep()
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

    def _leave(self, kept: Kept) -> Left:
        """
        Delete at the source what the target has, and follow what happened to it meanwhile.
        """
        source, key = self._source, _key_of(kept)
        # What is kept of a session besides its row is seen by a walk only, so that one
        # that has changed is left for the next pass.
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
            self._target.ask(Put([_touched(kept, row)]))
        return "moved"


def _key_of(kept: Kept) -> bytes:
    return sha256(kept.session_id.encode()).digest()


def _touched(kept: Kept, row: Row) -> Kept:
    """
    Return a session as it was when it was deleted.
    """
    ttl = kept.ttl
    if row.expires is not None and row.expires != kept.expires:
        # A touch let it live from some moment ago: a row does not say for how long.
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
    Move every session, and say what became of them.

    Args:
        source: where the sessions are.
        target: where they go.
        printer: says what became of them.
        timeout: the most seconds that one question may take.
        is_copy: whether they stay in the source as well.
        copied_at: when a copy began, in microseconds since 1970: the target
            has been used since, and what it says of those sessions counts.
    """
    if is_copy and copied_at is not None:
        raise UsageError("--copied-at is for the move after a copy: leave one of the two out")
    lease = Lease(target, timeout)
    lease.take(source, printer)
    # Of the sessions before it every one is copied, by whatever clock the source goes.
    begins = time.time_ns() // 1000 - _NEAR
    work = Move(source, target, lease, is_copy=is_copy, copied_at=copied_at)
    with _giving(lease):
        total = source.ask(Count())
        with printer.progress("copying" if is_copy else "moving", total) as progress:
            work.run(progress)
    _tell(printer, work, begins if is_copy else None)
    return FAULTS if work.taken else FINE


@contextmanager
def _giving(lease: Lease) -> Generator[None, None, None]:
    """
    Give the lease back, also where the move was stopped.
    """
    try:
        yield
    except BaseException:
        # A target that does not answer takes it back by itself.
        try:
            lease.give()
        except Failed:
            pass
        raise
    lease.give()


def _tell(printer: Printer, work: Move, copied_at: int | None) -> None:
    done = "moved" if copied_at is None else "copied"
    taken = work.taken
    numbers = {name: work.became[name] for name in (done, "taken", "expired", "ended")}
    if printer.is_json:
        more = {} if copied_at is None else {"copied_at": moment_text(copied_at)}
        printer.document({**numbers, **more, "taken_ids": taken[:_MOST_NAMED]})
        return
    for session_id in taken[:_MOST_NAMED]:
        printer.say(
            f"{session_id!r} stays: another session has its ID or its idempotency key in the target"
        )
    if len(taken) > _MOST_NAMED:
        printer.say(f"and {len(taken) - _MOST_NAMED} more")
    moved = counted(numbers.pop(done))
    others = ", ".join(f"{number} {name}" for name, number in numbers.items())
    printer.line(f"{done} {moved} ({others})")
    if copied_at is not None:
        printer.line(f"when the service uses it: move --copied-at {moment_text(copied_at)}")

"""
One move at a time into a store, and never from a store into itself.
"""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Final

from idlanyard.ids import token
from idlanyard.registry._command._places import SAME, Place
from idlanyard.registry._command._printing import Printer
from idlanyard.registry._command._statuses import Undone, UsageError
from idlanyard.registry._command._walking import LEASE_ID
from idlanyard.registry._questions import Delete, Extend, Insert, Read
from idlanyard.registry._record import Draft, Row

_KEY: Final = sha256(LEASE_ID.encode()).digest()
_PAUSE: Final = 0.2
_SECOND: Final = 1_000_000


class Lease:
    """
    A session in the target that says that a move is running, as long as it does.

    Two moves of the same sessions would take each other's deletes for ends of
    sessions. It expires soon after a move that was killed.

    Args:
        target: the store that sessions are moved into.
        timeout: the most seconds that one question may take.
    """

    def __init__(self, target: Place, timeout: float) -> None:
        self._target = target
        self._seconds = 2 * timeout + 2
        self._created = 0
        self._kept_at = 0.0

    def take(self, source: Place, printer: Printer) -> None:
        """
        Begin, when no other move is running.

        Raises:
            UsageError: the source is the target.
            Undone: another move goes on and on.
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
        self._created, self._kept_at = row.created, time.monotonic()
        there = source.ask(Read(_KEY))
        if there is not None and there.metadata == mark:
            self.give()
            raise UsageError(SAME)

    def keep(self) -> None:
        """
        Go on being the one move that runs.

        Raises:
            Undone: this one was stopped for so long that another may have begun.
        """
        if time.monotonic() - self._kept_at < self._seconds / 4:
            return
        self._kept_at = time.monotonic()
        if self._target.ask(Extend(_KEY, None, None, self._created)) is None:
            raise Undone("the move was held up, and another may have begun: run it again")

    def give(self) -> None:
        """
        Let the next move begin.
        """
        self._target.ask(Delete(_KEY, self._created))

    def _insert(self, mark: str) -> Row | None:
        ttl = int(self._seconds * _SECOND)
        draft = Draft(_KEY, LEASE_ID, None, None, mark, ttl)
        row = self._target.ask(Insert(draft))
        return row if isinstance(row, Row) else None

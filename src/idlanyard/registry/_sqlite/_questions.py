"""
Each question to a file, as one transaction on a connection that is lent for it.

The moment is taken anew whenever a question is asked again, since a session
may expire while somebody waits for the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from time import time_ns
from typing import Final

from idlanyard.registry._record import Draft, Kept, PutResult, Repeated, Row, Stretch
from idlanyard.registry._sqlite._statements import Statements

_SECOND: Final = 1_000_000
_FEW: Final = 4
"""
The number of dead sessions that any create removes; more than it can add.
"""
_MANY: Final = 200
_PAUSE: Final = 50_000
"""
The microseconds between two creates of a process that remove many, which takes milliseconds.
"""
_REACHES: Final = ((1, 16), (64, -1))
"""
The most living sessions that are sorted for a page, and the most sessions, dead or alive, that
are walked through if there are more; as multiples of the page's size. -1 is all.
"""


class Questions:
    """
    The questions about the sessions of one namespace.
    """

    __slots__ = ("_due", "_pause_until", "_sql")

    def __init__(self, namespace: str) -> None:
        self._sql = Statements(namespace)
        # When to look for sessions whose time is over: within the second, wherever they were made.
        self._due = 0
        self._pause_until = 0

    def insert(self, connection: sqlite3.Connection, draft: Draft) -> Row | Repeated | None:
        """
        Keep a new session, and give up some whose time is over.
        """
        now = _now()
        if draft.idempotency is None and self._due - _SECOND <= now < self._due:
            return self._keep(connection, draft, now)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            self._sweep(connection, now)
            if draft.idempotency is not None:
                before = self._made_by(connection, draft.idempotency, now)
                if before is not None:
                    return before
            row = self._keep(connection, draft, now)
            if row is not None and draft.idempotency is not None:
                made = (draft.idempotency, draft.request, draft.key, now)
                connection.execute(self._sql.remember, made)
        return row

    def read(self, connection: sqlite3.Connection, key: bytes) -> Row | None:
        """
        Look one session up.
        """
        return _row(connection.execute(self._sql.read, (key, _now())))

    def extend(
        self,
        connection: sqlite3.Connection,
        key: bytes,
        ttl: int | None,
        metadata: str | None,
        created: int | None,
    ) -> Row | None:
        """
        Let one session live on.
        """
        values = {"key": key, "ttl": ttl, "metadata": metadata, "created": created, "now": _now()}
        return _row(connection.execute(self._sql.extend, values))

    def delete(self, connection: sqlite3.Connection, key: bytes, created: int | None) -> Row | None:
        """
        Forget one session, and return it unless its time was over.
        """
        now = _now()
        row = _row(connection.execute(self._sql.delete, (key, created)))
        return row if row is not None and (row.expires is None or row.expires > now) else None

    def page(
        self, connection: sqlite3.Connection, client_key: bytes, after: str, limit: int
    ) -> list[Row]:
        """
        Return a client's next sessions; text compares as its UTF-8 does.

        A client with few living sessions costs as much as these, however many dead there are; one
        with many costs about as much as the page, unless thousands of dead come before it.
        """
        values = {"client_key": client_key, "after": after, "limit": limit, "now": _now()}
        found: list[Row] = []
        for most, reach in _REACHES:
            values |= {"most": most * limit + 1, "reach": reach * limit}
            (living,) = connection.execute(self._sql.count_living, values).fetchone()
            if living <= most * limit:
                return _rows(connection.execute(self._sql.sorted, values))
            found = _rows(connection.execute(self._sql.next, values))
            if len(found) == limit or not connection.execute(self._sql.beyond, values).fetchone():
                break
        return found

    def purge(self, connection: sqlite3.Connection, now: int, most: int) -> int:
        """
        Give up some sessions whose time was over at that moment, and return how many.
        """
        return connection.execute(self._sql.purge, (now, most)).rowcount

    def count(self, connection: sqlite3.Connection) -> int:
        """
        Count what lives.
        """
        (counted,) = connection.execute(self._sql.count, (_now(),)).fetchone()
        return int(counted)

    def walk(self, connection: sqlite3.Connection, after: bytes, limit: int) -> Stretch:
        """
        Return what lives of the next so many sessions.
        """
        now = _now()
        found = connection.execute(self._sql.walk, (after, limit)).fetchall()
        kept = [Kept._make(one[1:]) for one in found]
        living = [one for one in kept if one.expires is None or one.expires > now]
        return Stretch(living, found[-1][0].hex() if len(found) == limit else None)

    def put(self, connection: sqlite3.Connection, sessions: Sequence[Kept]) -> list[PutResult]:
        """
        Keep sessions as they were elsewhere, all or none.
        """
        now = _now()
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            return [self._put(connection, kept, now) for kept in sessions]

    def attempt(self, connection: sqlite3.Connection) -> None:
        """
        Write what is there already, to find out whether that is possible.
        """
        connection.execute(self._sql.attempt)

    def _sweep(self, connection: sqlite3.Connection, now: int) -> None:
        """
        Remove some dead sessions: few each time, and many where they have gathered.
        """
        most = _FEW if self._pause_until - _PAUSE <= now < self._pause_until else _MANY
        if self.purge(connection, now, most) < most:
            self._due = now + _SECOND
        elif most == _MANY:
            self._pause_until = now + _PAUSE

    def _keep(self, connection: sqlite3.Connection, draft: Draft, now: int) -> Row | None:
        expires = None if draft.ttl is None else now + draft.ttl
        done = connection.execute(self._sql.insert, (*draft[:6], now, expires))
        if not done.rowcount:
            return None
        if expires is not None and expires < self._due:
            self._due = expires
        return Row(draft.session_id, draft.client_id, draft.metadata, now, expires)

    def _put(self, connection: sqlite3.Connection, kept: Kept, now: int) -> PutResult:
        if kept.expires is not None and kept.expires <= now:
            return "expired"
        key = sha256(kept.session_id.encode()).digest()
        there = connection.execute(self._sql.look, (now, key)).fetchone()
        created, is_living = there or (None, False)
        if kept.idempotency is not None:
            before = self._made_by(connection, kept.idempotency, now)
            if before is not None and before.row.session_id != kept.session_id:
                return "taken"
        if is_living and created != kept.created:
            return "taken"
        client_key = None if kept.client_id is None else sha256(kept.client_id.encode()).digest()
        fields = (kept.session_id, client_key, *kept[1:6])
        connection.execute(self._sql.put, (key, *fields))
        connection.execute(self._sql.forget, (key,))
        if kept.idempotency is not None:
            made = (kept.idempotency, kept.request, key, kept.created)
            connection.execute(self._sql.remember, made)
        return "same" if is_living else "kept"

    def _made_by(
        self, connection: sqlite3.Connection, idempotency: bytes, now: int
    ) -> Repeated | None:
        """
        Return the living session that a create with this key has made; give up a dead one.
        """
        found = connection.execute(self._sql.repeated, (idempotency,)).fetchone()
        if found is None:
            return None
        key, request, *fields = found
        row = Row._make(fields)
        if row.expires is None or row.expires > now:
            return Repeated(row, request)
        connection.execute(self._sql.delete, (key, row.created))
        return None


def _now() -> int:
    return time_ns() // 1000


def _row(found: sqlite3.Cursor) -> Row | None:
    row = found.fetchone()
    return None if row is None else Row._make(row)


def _rows(found: sqlite3.Cursor) -> list[Row]:
    return sorted(map(Row._make, found))

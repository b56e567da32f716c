"""
Statements and transactions that answer the questions to a file, each on a given connection.

Each reads the clock itself: a question may be asked again after waiting for
the file, and a session may have expired meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha256
from time import time_ns
from typing import Any, Final

from idlanyard.registry._record import Draft, Kept, PutResult, Repeated, Row, Stretch
from idlanyard.registry._sqlite._schema import FOREVER, TERM

_INSERT: Final = """
    INSERT INTO idlanyard_sessions AS there
        (key, session_id, client_key, client_id, metadata, ttl, created, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        session_id = excluded.session_id, client_key = excluded.client_key,
        client_id = excluded.client_id, metadata = excluded.metadata,
        ttl = excluded.ttl, created = excluded.created, expires = excluded.expires
    WHERE there.expires <= excluded.created
"""
_PUT: Final = _INSERT.partition("    WHERE there")[0]
_READ: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key = ? AND (expires IS NULL OR expires > ?)
"""
_EXTEND: Final = """
    UPDATE idlanyard_sessions SET
        ttl = coalesce(:ttl, ttl),
        metadata = coalesce(:metadata, metadata),
        expires = CASE
            WHEN :ttl IS NOT NULL THEN :now + :ttl
            WHEN ttl IS NULL THEN expires
            ELSE max(:now + ttl, coalesce(expires, 0))
        END
    WHERE key = :key AND (expires IS NULL OR expires > :now)
        AND created = coalesce(:created, created)
    RETURNING session_id, client_id, metadata, created, expires
"""
_DELETE: Final = """
    DELETE FROM idlanyard_sessions WHERE key = ? AND created = coalesce(?, created)
    RETURNING session_id, client_id, metadata, created, expires
"""
# There are three ways to a page, and all choose its keys in an index alone. The first one reads
# the client's sessions in the order of their IDs, dead ones included, up to a number; -1 is all.
# If there are more, and the page is not full, a last row without an ID says so. This is one
# statement: a purge between two would move the rows that are walked past.
_NEXT: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key IN (
        SELECT key FROM (
            SELECT key, expires FROM idlanyard_sessions
            WHERE client_key = :client_key AND session_id > :after
            ORDER BY session_id LIMIT :reach
        ) WHERE expires IS NULL OR expires > :now LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (
        SELECT NULL, NULL, NULL, NULL, NULL FROM idlanyard_sessions
        WHERE client_key = :client_key AND session_id > :after
        ORDER BY session_id LIMIT 1 OFFSET :reach
    ) LIMIT :limit
"""
# The second way reads a page of each term in which living sessions of the client end. Some of
# the dead have the same term as living ones, so the sessions that end soonest are read by their
# end.
_HAS_TERMS: Final = """
    SELECT 1 FROM sqlite_schema WHERE name = 'idlanyard_sessions_by_term' COLLATE NOCASE
"""
_HORIZON: Final = """
    SELECT expires FROM idlanyard_sessions
    WHERE client_key = :client_key AND expires > :now ORDER BY expires LIMIT 1 OFFSET :soon
"""
_ENDING: Final = """
    SELECT session_id, key FROM (
        SELECT session_id, key FROM idlanyard_sessions
        WHERE client_key = :client_key AND expires > :now AND expires < :horizon
        ORDER BY expires LIMIT :soon
    ) WHERE session_id > :after ORDER BY session_id LIMIT :limit
"""
# A recursive query jumps from term to term in the index; DISTINCT would read every entry.
_TERMS: Final = """
    WITH RECURSIVE terms (term) AS (
        SELECT min({TERM}) FROM idlanyard_sessions INDEXED BY idlanyard_sessions_by_term
        WHERE client_key = :client_key AND {TERM} >= :horizon
        UNION ALL
        SELECT (
            SELECT min({TERM}) FROM idlanyard_sessions INDEXED BY idlanyard_sessions_by_term
            WHERE client_key = :client_key AND {TERM} > term
        ) FROM terms WHERE term IS NOT NULL
    )
    SELECT term FROM terms WHERE term IS NOT NULL LIMIT :terms
"""
_OF_TERM: Final = """
    SELECT session_id, key FROM idlanyard_sessions INDEXED BY idlanyard_sessions_by_term
    WHERE client_key = :client_key AND {TERM} = :term
        AND session_id > :after AND session_id < :before
        AND (expires IS NULL OR expires > :now)
    ORDER BY session_id LIMIT :limit
"""
_READ_ALL: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key IN (?)
"""
# The third way reads all of the client's living sessions, and none of the dead.
_SORTED: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key IN (
        SELECT key FROM (
            SELECT key, session_id FROM idlanyard_sessions
            WHERE client_key = :client_key AND expires IS NULL
            UNION ALL
            SELECT key, session_id FROM idlanyard_sessions
            WHERE client_key = :client_key AND expires > :now
        ) WHERE session_id > :after ORDER BY session_id LIMIT :limit
    )
"""
_COUNT_LIVING: Final = """
    SELECT count(*) FROM (
        SELECT 1 FROM (
            SELECT key FROM idlanyard_sessions
            WHERE client_key = :client_key AND expires IS NULL
            UNION ALL
            SELECT key FROM idlanyard_sessions
            WHERE client_key = :client_key AND expires > :now
        ) LIMIT :most
    )
"""
_PURGE: Final = """
    DELETE FROM idlanyard_sessions WHERE key IN (
        SELECT key FROM idlanyard_sessions WHERE expires <= ? LIMIT ?
    )
"""
_COUNT: Final = "SELECT count(*) FROM idlanyard_sessions WHERE expires IS NULL OR expires > ?"
_WALK: Final = """
    SELECT there.key, session_id, client_id, metadata, ttl, there.created, expires,
        idempotency, request
    FROM idlanyard_sessions AS there LEFT JOIN idlanyard_creates AS made
        ON made.key = there.key AND made.created = there.created
    WHERE there.key > ? ORDER BY there.key LIMIT ?
"""
_LOOK: Final = """
    SELECT created, expires IS NULL OR expires > ? FROM idlanyard_sessions WHERE key = ?
"""
_REPEATED: Final = """
    SELECT there.key, request, session_id, client_id, metadata, there.created, expires
    FROM idlanyard_creates AS made JOIN idlanyard_sessions AS there
        ON there.key = made.key AND there.created = made.created
    WHERE made.idempotency = ?
"""
_REMEMBER: Final = """
    INSERT INTO idlanyard_creates (idempotency, request, key, created) VALUES (?, ?, ?, ?)
"""
_FORGET: Final = "DELETE FROM idlanyard_creates WHERE key = ?"
_ATTEMPT: Final = "UPDATE idlanyard_layout SET version = version"

_SECOND: Final = 1_000_000
_FEW: Final = 4
"""
The number of dead sessions that any create removes; more than it can add.
"""
_MANY: Final = 100
_PAUSE: Final = 50_000
"""
The microseconds between two creates of a process that remove many, which takes milliseconds.
"""
_NEAR: Final = 4
"""
The most sessions, dead or alive, that are read for a page in the order of their IDs.

This, like the next two, is a multiple of the page's size.
"""
_SOON: Final = 16
"""
The number of sessions that are read by their end before others are read by their term.
"""
_SORTED_AT_MOST: Final = 64
"""
The most living sessions that are sorted for a page if they cannot be read by their term.
"""
_MOST_TERMS: Final = 256
_AFTER_ALL_TEXT: Final = b""
"""
A value that SQLite sorts behind any text.
"""


class Statements:
    """
    The statements of one namespace.
    """

    def __init__(self, namespace: str) -> None:
        def rename(sql: str) -> str:
            return sql.replace("idlanyard_", f"{namespace}_").replace("{TERM}", TERM)

        self.insert = rename(_INSERT)
        self.put = rename(_PUT)
        self.read = rename(_READ)
        self.extend = rename(_EXTEND)
        self.delete = rename(_DELETE)
        self.next = rename(_NEXT)
        self.sorted = rename(_SORTED)
        self.count_living = rename(_COUNT_LIVING)
        self.has_terms = rename(_HAS_TERMS)
        self.horizon = rename(_HORIZON)
        self.ending = rename(_ENDING)
        self.terms = rename(_TERMS)
        self.of_term = rename(_OF_TERM)
        self.read_all = rename(_READ_ALL)
        self.purge = rename(_PURGE)
        self.count = rename(_COUNT)
        self.walk = rename(_WALK)
        self.look = rename(_LOOK)
        self.repeated = rename(_REPEATED)
        self.remember = rename(_REMEMBER)
        self.forget = rename(_FORGET)
        self.attempt = rename(_ATTEMPT)


class Commands:
    """
    Answers to questions about the sessions of one namespace.
    """

    __slots__ = ("_due", "_pause_until", "_sql")

    def __init__(self, namespace: str) -> None:
        self._sql = Statements(namespace)
        # When to look for dead sessions next: within a second, since other processes make some too.
        self._due = 0
        self._pause_until = 0

    def insert(self, connection: sqlite3.Connection, draft: Draft) -> Row | Repeated | None:
        """
        Keep a new session, and remove some dead ones.
        """
        now = _read_clock()
        if draft.idempotency is None and self._due - _SECOND <= now < self._due:
            return self._insert(connection, draft, now)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            self._sweep(connection, now)
            if draft.idempotency is not None:
                before = self._made_by(connection, draft.idempotency, now)
                if before is not None:
                    return before
            row = self._insert(connection, draft, now)
            if row is not None and draft.idempotency is not None:
                made = (draft.idempotency, draft.request, draft.key, now)
                connection.execute(self._sql.remember, made)
        return row

    def read(self, connection: sqlite3.Connection, key: bytes) -> Row | None:
        """
        Return one session.
        """
        return _row_or_none(connection.execute(self._sql.read, (key, _read_clock())))

    def extend(
        self,
        connection: sqlite3.Connection,
        key: bytes,
        ttl: int | None,
        metadata: str | None,
        created: int | None,
    ) -> Row | None:
        """
        Extend the life of one session.
        """
        values = {
            "key": key,
            "ttl": ttl,
            "metadata": metadata,
            "created": created,
            "now": _read_clock(),
        }
        return _row_or_none(connection.execute(self._sql.extend, values))

    def delete(self, connection: sqlite3.Connection, key: bytes, created: int | None) -> Row | None:
        """
        Delete one session, and return it unless it was dead.
        """
        now = _read_clock()
        row = _row_or_none(connection.execute(self._sql.delete, (key, created)))
        return row if row is not None and (row.expires is None or row.expires > now) else None

    def page(
        self, connection: sqlite3.Connection, client_key: bytes, after: str, limit: int
    ) -> list[Row]:
        """
        Return a client's next sessions; SQLite compares text as UTF-8 bytes.

        The cost is that of the page, and does not grow with dead sessions. Those
        that have only just expired may cost something until they are removed:
        where many others end soon as well, for as long as an eighth of the time
        that they had to live. With living sessions in more than 256 terms, all
        dead ones on the way to the page are passed over.
        """
        values = {"client_key": client_key, "after": after, "limit": limit, "now": _read_clock()}
        found = self._read_in_order(connection, values, _NEAR * limit)
        if found is None:
            # One snapshot: a page that lacked what ends meanwhile would be taken for the last one.
            connection.execute("BEGIN")
            with connection:
                found = self._read_by_terms(connection, values, limit)
        if found is None:
            values["most"] = most = _SORTED_AT_MOST * limit
            (living,) = connection.execute(self._sql.count_living, values).fetchone()
            if living < most:
                return _sort_rows(connection.execute(self._sql.sorted, values))
            found = self._read_in_order(connection, values, -1)
        return found or []

    def _read_in_order(
        self, connection: sqlite3.Connection, values: dict[str, Any], reach: int
    ) -> list[Row] | None:
        """
        Return a page in the order of IDs, unless too many dead sessions are in between.

        Args:
            connection: the connection.
            values: the client, the page and the time.
            reach: the most sessions to read, dead or alive; -1 is all.
        """
        rows = connection.execute(self._sql.next, values | {"reach": reach}).fetchall()
        found = _sort_rows(row for row in rows if row[0] is not None)
        return found if len(found) == len(rows) or reach < 0 else None

    def _read_by_terms(
        self, connection: sqlite3.Connection, values: dict[str, Any], limit: int
    ) -> list[Row] | None:
        """
        Return a page term by term, unless there are too many terms, or no index of them.
        """
        sql = self._sql
        if not connection.execute(sql.has_terms).fetchone():
            return None
        values = values | {"soon": _SOON * limit, "before": _AFTER_ALL_TEXT}
        (horizon,) = connection.execute(sql.horizon, values).fetchone() or (FOREVER,)
        values |= {"horizon": horizon, "terms": _MOST_TERMS + 1}
        terms = connection.execute(sql.terms, values).fetchall()
        if len(terms) > _MOST_TERMS:
            return None
        # A session that ends before the horizon may have a term that ends behind it.
        found: set[tuple[str, bytes]] = set(connection.execute(sql.ending, values))
        for (term,) in terms:
            found.update(connection.execute(sql.of_term, values | {"term": term}))
            if len(found) >= limit:
                found = set(sorted(found)[:limit])
                values["before"], _ = max(found)
        read_all = sql.read_all.replace("?", ", ".join("?" * len(found)))
        return _sort_rows(connection.execute(read_all, [key for _, key in found]))

    def purge(self, connection: sqlite3.Connection, now: int, most: int) -> int:
        """
        Remove some sessions that were dead at that moment, and return their number.
        """
        return connection.execute(self._sql.purge, (now, most)).rowcount

    def count(self, connection: sqlite3.Connection) -> int:
        """
        Count the living sessions.
        """
        (counted,) = connection.execute(self._sql.count, (_read_clock(),)).fetchone()
        return int(counted)

    def walk(self, connection: sqlite3.Connection, after: bytes, limit: int) -> Stretch:
        """
        Return the living ones of the next sessions, in the order of their keys.
        """
        now = _read_clock()
        found = connection.execute(self._sql.walk, (after, limit)).fetchall()
        kept = [Kept._make(one[1:]) for one in found]
        living = [one for one in kept if one.expires is None or one.expires > now]
        return Stretch(living, found[-1][0].hex() if len(found) == limit else None)

    def put(self, connection: sqlite3.Connection, sessions: Sequence[Kept]) -> list[PutResult]:
        """
        Keep sessions exactly as another store kept them, all or none.
        """
        now = _read_clock()
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            return [self._put(connection, kept, now) for kept in sessions]

    def attempt(self, connection: sqlite3.Connection) -> None:
        """
        Write a value that is there already, to find out whether writing works.
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

    def _insert(self, connection: sqlite3.Connection, draft: Draft, now: int) -> Row | None:
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
        Return the living session that a create with this key has made; remove a dead one.
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


def _read_clock() -> int:
    return time_ns() // 1000


def _row_or_none(found: sqlite3.Cursor) -> Row | None:
    row = found.fetchone()
    return None if row is None else Row._make(row)


def _sort_rows(found: Iterable[tuple[Any, ...]]) -> list[Row]:
    return sorted(map(Row._make, found))

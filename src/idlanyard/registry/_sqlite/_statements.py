"""
What the tables of a namespace are asked. By what order, and in which steps, is said elsewhere.
"""

from __future__ import annotations

from typing import Final

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
# Two ways to a page, both of which choose its keys in an index alone. This one reads the client's
# sessions in the order of their IDs, the dead among them, and at most so many; -1 is all.
_NEXT: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key IN (
        SELECT key FROM (
            SELECT key, expires FROM idlanyard_sessions
            WHERE client_key = :client_key AND session_id > :after
            ORDER BY session_id LIMIT :reach
        ) WHERE expires IS NULL OR expires > :now LIMIT :limit
    )
"""
# Whether there are more, dead or alive, than that one has read.
_BEYOND: Final = """
    SELECT 1 FROM idlanyard_sessions WHERE client_key = :client_key AND session_id > :after
    ORDER BY session_id LIMIT 1 OFFSET :reach
"""
# And this one reads all of the client's living sessions, and none of the dead.
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
_TRY: Final = "UPDATE idlanyard_layout SET version = version"


class Statements:
    """
    The statements of one namespace.
    """

    def __init__(self, namespace: str) -> None:
        def own(sql: str) -> str:
            return sql.replace("idlanyard_", f"{namespace}_")

        self.insert = own(_INSERT)
        self.put = own(_PUT)
        self.read = own(_READ)
        self.extend = own(_EXTEND)
        self.delete = own(_DELETE)
        self.next = own(_NEXT)
        self.beyond = own(_BEYOND)
        self.sorted = own(_SORTED)
        self.count_living = own(_COUNT_LIVING)
        self.purge = own(_PURGE)
        self.count = own(_COUNT)
        self.walk = own(_WALK)
        self.look = own(_LOOK)
        self.repeated = own(_REPEATED)
        self.remember = own(_REMEMBER)
        self.forget = own(_FORGET)
        self.attempt = own(_TRY)

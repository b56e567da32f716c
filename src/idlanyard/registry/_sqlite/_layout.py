"""
The table of a namespace, and the statements that ask it.

Each statement is one transaction: what it says, it says atomically.
"""

from __future__ import annotations

import sqlite3
from typing import Final

LAYOUT: Final = 1
"""
The version of what is below, as the file says it (``PRAGMA user_version``).
"""

# The rows stand in the index of keys itself: whoever looks one up in a large file touches one
# place less.
_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS idlanyard_sessions (
        key BLOB NOT NULL PRIMARY KEY,
        session_id TEXT NOT NULL,
        client_key BLOB,
        client_id TEXT,
        metadata TEXT NOT NULL,
        ttl INTEGER,
        created INTEGER NOT NULL,
        expires INTEGER
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX IF NOT EXISTS idlanyard_sessions_by_client
    ON idlanyard_sessions (client_key, session_id) WHERE client_key IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS idlanyard_sessions_by_expiry
    ON idlanyard_sessions (expires) WHERE expires IS NOT NULL
    """,
)
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
_READ: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key = ? AND (expires IS NULL OR expires > ?)
"""
_EXTEND: Final = """
    UPDATE idlanyard_sessions
    SET ttl = coalesce(:ttl, ttl), expires = :now + coalesce(:ttl, ttl)
    WHERE key = :key AND (expires IS NULL OR expires > :now)
    RETURNING session_id, client_id, metadata, created, expires
"""
_DELETE: Final = """
    DELETE FROM idlanyard_sessions WHERE key = ? AND created = coalesce(?, created)
    RETURNING session_id, client_id, metadata, created, expires
"""
_PAGE: Final = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE client_key = ? AND session_id > ? AND (expires IS NULL OR expires > ?)
    ORDER BY session_id LIMIT ?
"""
_PURGE: Final = """
    DELETE FROM idlanyard_sessions WHERE key IN (
        SELECT key FROM idlanyard_sessions WHERE expires <= ? LIMIT ?
    )
"""


class Layout:
    """
    The tables and statements of one namespace.
    """

    def __init__(self, namespace: str) -> None:
        def own(sql: str) -> str:
            return sql.replace("idlanyard_", f"{namespace}_")

        self._table = own("idlanyard_sessions")
        self._tables = [own(sql) for sql in _TABLES]
        self.insert = own(_INSERT)
        self.read = own(_READ)
        self.extend = own(_EXTEND)
        self.delete = own(_DELETE)
        self.page = own(_PAGE)
        self.purge = own(_PURGE)

    def prepare(self, connection: sqlite3.Connection) -> None:
        """
        Make a new connection durable, and make the tables where there are none.

        Raises:
            sqlite3.Error: the file is none of ours, or of a newer version, or locked.
        """
        # An acknowledged session survives a power cut, too.
        connection.execute("PRAGMA synchronous = FULL")
        self._is_made(connection)
        # Where the file system cannot do it, the journal stays as it is, and is as safe.
        connection.execute("PRAGMA journal_mode = WAL")
        if not self._is_made(connection):
            self._make(connection)

    def _make(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have been here meanwhile.
        self._is_made(connection)
        for sql in self._tables:
            connection.execute(sql)
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        connection.execute("COMMIT")

    def _is_made(self, connection: sqlite3.Connection) -> bool:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, LAYOUT):
            raise sqlite3.DatabaseError(
                f"the file says that it has layout {version}, and this idlanyard knows {LAYOUT}: "
                "use the version that made it, or name another file"
            )
        table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (self._table,))
        return version == LAYOUT and table.fetchone() is not None

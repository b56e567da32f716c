"""
A process that knows only layout 1 of ``sqlite://``: its SQL, word by word.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import Any

_TABLES = (
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
_INSERT = """
    INSERT INTO idlanyard_sessions AS there
        (key, session_id, client_key, client_id, metadata, ttl, created, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        session_id = excluded.session_id, client_key = excluded.client_key,
        client_id = excluded.client_id, metadata = excluded.metadata,
        ttl = excluded.ttl, created = excluded.created, expires = excluded.expires
    WHERE there.expires <= excluded.created
"""
_READ = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE key = ? AND (expires IS NULL OR expires > ?)
"""
_DELETE = """
    DELETE FROM idlanyard_sessions WHERE key = ? AND created = coalesce(?, created)
    RETURNING session_id, client_id, metadata, created, expires
"""
_PAGE = """
    SELECT session_id, client_id, metadata, created, expires FROM idlanyard_sessions
    WHERE client_key = ? AND session_id > ? AND (expires IS NULL OR expires > ?)
    ORDER BY session_id LIMIT ?
"""


class Earlier:
    """
    One connection of such a process.
    """

    def __init__(self, path: Path, *, patience: float = 60.0) -> None:
        self._connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._is_made()
        self._connection.execute("PRAGMA journal_mode = WAL")
        if not self._is_made():
            self._connection.execute("BEGIN IMMEDIATE")
            for sql in _TABLES:
                self._connection.execute(sql)
            self._connection.execute("PRAGMA user_version = 1")
            self._connection.execute("COMMIT")

    def create(self, name: str, client: str | None = None, ttl: int | None = None) -> bool:
        """
        Create a session, and return whether it is new.
        """
        now, client_key = time_ns() // 1000, None if client is None else _key(client)
        expires = None if ttl is None else now + ttl
        values = (_key(name), name, client_key, client, "{}", ttl, now, expires)
        return self._connection.execute(_INSERT, values).rowcount == 1

    def exists(self, name: str) -> bool:
        """
        Return whether there is such a session.
        """
        values = (_key(name), time_ns() // 1000)
        return self._connection.execute(_READ, values).fetchone() is not None

    def end(self, name: str) -> bool:
        """
        Forget a session, and return whether there was one.
        """
        return self._connection.execute(_DELETE, (_key(name), None)).fetchone() is not None

    def find(self, client: str) -> list[str]:
        """
        Return the IDs of a client's sessions.
        """
        values = (_key(client), "", time_ns() // 1000, 1000)
        return [row[0] for row in self._connection.execute(_PAGE, values)]

    def close(self) -> None:
        """
        Close the connection.
        """
        self._connection.close()

    def _is_made(self) -> bool:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        assert version in (0, 1), f"the file says that it has layout {version}"
        there: Any = self._connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE name = ?", ("idlanyard_sessions",)
        ).fetchone()
        return version == 1 and there is not None


def fill(path: Path, count: int, client: str = "c") -> None:
    """
    Leave many living sessions of one client in a file of layout 1.
    """
    Earlier(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO idlanyard_sessions VALUES (?, ?, ?, ?, '{}', NULL, 1, NULL)",
            ((_key(f"s{n:06}"), f"s{n:06}", _key(client), client) for n in range(count)),
        )


def _key(text: str) -> bytes:
    return sha256(text.encode()).digest()

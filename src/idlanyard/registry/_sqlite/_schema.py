"""
The tables of a namespace: how they are made, and their version in a file.

The version is in a table of the namespace's own, since the file may belong to
an application, which then uses ``PRAGMA user_version``. Layout 1 wrote its
version there. Processes that know only layout 1 can still use the file.
"""

from __future__ import annotations

import sqlite3
from math import inf
from typing import Final, NamedTuple

from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._sqlite._connections import Patience
from idlanyard.registry._sqlite._files import is_busy

LAYOUT: Final = 2
"""
The version of the tables below.
"""
FOREVER: Final = 2**63 - 1
"""
The term of a session that never expires.
"""
# The session's expiry, with its low bits set to 1: three for each octal digit of the ttl, less two
# digits. Integers and text only: a logarithm may round differently after an upgrade of SQLite, and
# corrupt the index.
TERM: Final = (
    f"coalesce(expires | ((1 << 3 * max(length(printf('%o', ttl)), 2) - 6) - 1), {FOREVER})"
)
"""
The last microsecond of a session's term, since 1970.

Time is divided into terms of an eighth to a sixty-fourth of the time to live,
and the session expires by the end of its term.
"""
_ROWS: Final = 100_000
"""
The number of sessions that the client indexes are certainly made for within a second.
"""

# Without a rowid the rows are in the index of keys itself, which saves a lookup in a large file.
_SESSIONS: Final = """
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
"""
# The second and the third one cost each create of a client's session 5 to 25 microseconds each.
# Without them, a find walks through every dead session that nobody has purged. The third one has
# the ttl because TERM is made of it: SQLite would look up each session in the table without it.
_CLIENT_INDEXES: Final = {
    "by_client": ("client_key", "session_id", "expires"),
    "by_end": ("client_key", "expires", "session_id"),
    "by_term": ("client_key", TERM, "session_id", "expires", "ttl"),
}
# Triggers, since processes that know only layout 1 also delete and replace sessions.
_REST: Final = (
    """
    CREATE INDEX IF NOT EXISTS idlanyard_sessions_by_expiry
    ON idlanyard_sessions (expires) WHERE expires IS NOT NULL
    """,
    """
    CREATE TABLE IF NOT EXISTS idlanyard_creates (
        idempotency BLOB NOT NULL PRIMARY KEY,
        request BLOB NOT NULL,
        key BLOB NOT NULL,
        created INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX IF NOT EXISTS idlanyard_creates_by_key ON idlanyard_creates (key)
    """,
    """
    CREATE TRIGGER IF NOT EXISTS idlanyard_sessions_gone
    AFTER DELETE ON idlanyard_sessions BEGIN
        DELETE FROM idlanyard_creates WHERE key = OLD.key;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS idlanyard_sessions_renewed
    AFTER UPDATE OF created ON idlanyard_sessions BEGIN
        DELETE FROM idlanyard_creates WHERE key = NEW.key AND created <> NEW.created;
    END
    """,
    """
    CREATE TABLE IF NOT EXISTS idlanyard_layout (version INTEGER NOT NULL)
    """,
)
_COLUMNS: Final = {
    "sessions": frozenset(
        ("key", "session_id", "client_key", "client_id", "metadata", "ttl", "created", "expires")
    ),
    "creates": frozenset(("idempotency", "request", "key", "created")),
    "layout": frozenset(("version",)),
}


class _State(NamedTuple):
    """
    The state of a namespace's tables in a file.

    Attributes:
        is_there: whether the table of sessions exists.
        is_current: whether all tables exist, in the current layout.
        is_indexed: whether the client indexes exist.
    """

    is_there: bool
    is_current: bool
    is_indexed: bool


class Schema:
    """
    The tables of one namespace.
    """

    def __init__(self, namespace: str) -> None:
        def rename(sql: str) -> str:
            return sql.replace("idlanyard_", f"{namespace}_")

        self._namespace = namespace
        self._sessions = rename(_SESSIONS)
        self._rest = [rename(sql) for sql in _REST]
        self._count_rows = rename("SELECT count(*) FROM (SELECT 1 FROM idlanyard_sessions LIMIT ?)")
        self._read_layout = rename("SELECT max(version) FROM idlanyard_layout")
        self._clear_layout = rename("DELETE FROM idlanyard_layout")
        self._write_layout = rename("INSERT INTO idlanyard_layout VALUES (?)")

    def prepare(
        self, connection: sqlite3.Connection, *, reads_only: bool = False, seconds: float = 5.0
    ) -> None:
        """
        Make a new connection durable, and the tables current.

        Args:
            connection: the connection.
            reads_only: whether reading is enough, if the tables cannot be changed.
            seconds: the most seconds that this may take.

        Raises:
            RegistryMisconfigured: the tables are another application's, or of a newer version.
            sqlite3.Error: the file is no database, or locked.
        """
        # An acknowledged session survives even a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        state = self._read_state(connection)
        try:
            # If the file system cannot do it, the journal stays as it is, and is just as safe.
            connection.execute("PRAGMA journal_mode = WAL")
            if not state.is_current:
                self._make_tables(connection)
        except sqlite3.OperationalError:
            # A full disk, or another writer, is no reason not to read.
            if not (reads_only and state.is_there):
                raise
        if not (reads_only or state.is_indexed):
            self._make_indexes_if_quick(connection, int(seconds * _ROWS))

    def make_indexes(
        self, connection: sqlite3.Connection, patience: Patience | None = None
    ) -> None:
        """
        Make the client indexes that the file, made by an older version, does not have.

        No other connection can write meanwhile, for a few seconds per million sessions.

        Args:
            connection: the connection.
            patience: ends the wait for other writers; making the indexes has no limit.

        Raises:
            sqlite3.Error: the file is locked, or the patience is over.
        """
        connection.execute("BEGIN IMMEDIATE")
        if patience is not None:
            patience.until = inf
        with connection:
            for kind in self._missing_indexes(connection):
                connection.execute(f"DROP INDEX IF EXISTS {self._namespace}_sessions_{kind}")
                self._make_index(connection, kind)

    def is_indexed(self, connection: sqlite3.Connection) -> bool:
        """
        Return whether ``find`` has the indexes that it needs.
        """
        return self._read_state(connection).is_indexed

    def _make_indexes_if_quick(self, connection: sqlite3.Connection, most: int) -> None:
        try:
            (rows,) = connection.execute(self._count_rows, (most + 1,)).fetchone()
            if rows <= most:
                self.make_indexes(connection)
        except sqlite3.OperationalError as error:
            # Without the indexes find is slow, but right.
            if is_busy(error):
                raise

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            # Another process may have made the tables meanwhile.
            state = self._read_state(connection)
            connection.execute(self._sessions)
            if not state.is_there:
                for kind in _CLIENT_INDEXES:
                    self._make_index(connection, kind)
            for sql in self._rest:
                connection.execute(sql)
            connection.execute(self._clear_layout)
            connection.execute(self._write_layout, (LAYOUT,))

    def _read_state(self, connection: sqlite3.Connection) -> _State:
        """
        Return the state of the namespace's tables.

        Raises:
            RegistryMisconfigured: a table is another application's, or of a newer version.
        """
        (encoding,) = connection.execute("PRAGMA encoding").fetchone()
        if encoding != "UTF-8":
            raise RegistryMisconfigured(
                "sqlite",
                f"the file's text is {encoding}, which sorts IDs differently: name another file",
            )
        there = {kind for kind in _COLUMNS if self._has_table(connection, kind)}
        version = self._read_version(connection) if "layout" in there else 0
        return _State(
            "sessions" in there,
            len(there) == 3 and version == LAYOUT,
            not self._missing_indexes(connection),
        )

    def _has_table(self, connection: sqlite3.Connection, kind: str) -> bool:
        """
        Return whether a table exists.

        Raises:
            RegistryMisconfigured: something of its name exists that is another application's.
        """
        name = f"{self._namespace}_{kind}"
        found = connection.execute(
            "SELECT type FROM sqlite_schema WHERE name = ? COLLATE NOCASE", (name,)
        ).fetchone()
        if found is None:
            return False
        columns = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
        if found != ("table",) or not {column for (column,) in columns} >= _COLUMNS[kind]:
            raise RegistryMisconfigured(
                "sqlite",
                f"the file has a {found[0]} {name} of another application: open the registry "
                f"with another namespace, or name another file",
            )
        return True

    def _read_version(self, connection: sqlite3.Connection) -> int:
        """
        Return the version of the namespace's tables in the file.

        Raises:
            RegistryMisconfigured: it is newer than this code.
        """
        (version,) = connection.execute(self._read_layout).fetchone()
        if version is not None and version > LAYOUT:
            raise RegistryMisconfigured(
                "sqlite",
                f"the namespace '{self._namespace}' has layout {version} in this file, and this "
                f"idlanyard knows {LAYOUT}: install the idlanyard that made it, or open the "
                "registry with another namespace",
            )
        return version or 0

    def _make_index(self, connection: sqlite3.Connection, kind: str) -> None:
        connection.execute(
            f"CREATE INDEX {self._namespace}_sessions_{kind} ON {self._namespace}_sessions "
            f"({', '.join(_CLIENT_INDEXES[kind])}) WHERE client_key IS NOT NULL"
        )

    def _missing_indexes(self, connection: sqlite3.Connection) -> list[str]:
        """
        Return the client indexes that are missing or have other columns.
        """
        missing: list[str] = []
        for kind, columns in _CLIENT_INDEXES.items():
            found = connection.execute(
                "SELECT name FROM pragma_index_info(?)", (f"{self._namespace}_sessions_{kind}",)
            )
            # An expression has no name.
            if tuple(name or TERM for (name,) in found) != columns:
                missing.append(kind)
        return missing

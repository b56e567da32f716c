r"""
The tables of a PostgreSQL registry, and how they come to be there.

Whoever uses a registry first makes the tables, so its role needs ``CREATE`` on
the schema that comes first in its ``search_path``. A role that has only
``SELECT, INSERT, UPDATE, DELETE`` does as well, where this was run before
(``idlanyard`` is the registry's namespace):

.. code-block:: sql

    CREATE TABLE idlanyard_sessions (
        key bytea PRIMARY KEY,
        session_id text COLLATE "C" NOT NULL,
        client_key bytea,
        client_id text,
        metadata text NOT NULL,
        ttl bigint,
        created_at timestamptz NOT NULL,
        expires_at timestamptz,
        idempotency bytea,
        request bytea,
        requested_at timestamptz
    );
    CREATE INDEX idlanyard_sessions_by_client
        ON idlanyard_sessions (client_key, session_id) WHERE client_key IS NOT NULL;
    CREATE INDEX idlanyard_sessions_by_expiry
        ON idlanyard_sessions (expires_at) WHERE expires_at IS NOT NULL;
    CREATE UNIQUE INDEX idlanyard_sessions_by_retry
        ON idlanyard_sessions (idempotency) WHERE idempotency IS NOT NULL;
    CREATE INDEX idlanyard_sessions_by_term
        ON idlanyard_sessions (client_key, (coalesce(
            CAST(extract(epoch FROM expires_at - timestamptz 'epoch') * 1000000 AS bigint)
            | ((1::bigint << 61 - position(B'1' IN CAST(coalesce(ttl, 0) | 15 AS bit(64)))) - 1),
            9223372036854775807)), session_id)
        WHERE client_key IS NOT NULL;
    CREATE TABLE idlanyard_layout (version integer PRIMARY KEY, claimed timestamptz);
    INSERT INTO idlanyard_layout (version) VALUES (2);

The keys are SHA-256; ``ttl`` is in microseconds. A session's term is a moment
at or after its end: the sessions of a client share some ten terms for each
length of life, each of an eighth to a sixteenth of that length. An index of
terms finds what lives without a look at what has expired, however much that
is. Metadata is text, since ``jsonb`` refuses ``\u0000`` and changes numbers.
The database's encoding is UTF8 (or SQL_ASCII, which takes bytes as they are).

The first layout had no version, and not the last three columns. The first use
changes it, if the role owns the table; else its owner runs this, statement by
statement, before or while the new version is started. Processes of the version
before go on meanwhile:

.. code-block:: sql

    ALTER TABLE idlanyard_sessions
        ADD COLUMN idempotency bytea,
        ADD COLUMN request bytea,
        ADD COLUMN requested_at timestamptz;
    CREATE UNIQUE INDEX CONCURRENTLY idlanyard_sessions_by_retry
        ON idlanyard_sessions (idempotency) WHERE idempotency IS NOT NULL;
    CREATE INDEX CONCURRENTLY idlanyard_sessions_by_term
        ON idlanyard_sessions (client_key, (coalesce(
            CAST(extract(epoch FROM expires_at - timestamptz 'epoch') * 1000000 AS bigint)
            | ((1::bigint << 61 - position(B'1' IN CAST(coalesce(ttl, 0) | 15 AS bit(64)))) - 1),
            9223372036854775807)), session_id)
        WHERE client_key IS NOT NULL;
    CREATE TABLE idlanyard_layout (version integer PRIMARY KEY, claimed timestamptz);
    INSERT INTO idlanyard_layout (version) VALUES (2);
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    literal_column,
)
from sqlalchemy.dialects.postgresql import dialect, insert
from sqlalchemy.schema import CreateIndex, CreateTable

LAYOUT: Final = 2
"""
The version of the layout; before there were versions, it was 1.
"""
_ADDED: Final = ("idempotency", "request", "requested_at")
_TYPES: Final[dict[type[Any], str]] = {
    LargeBinary: "bytea",
    Text: "text",
    BigInteger: "bigint",
    DateTime: "timestamp with time zone",
}
_DIALECT: Final[Any] = dialect()  # type: ignore[no-untyped-call]
FOREVER: Final = 2**63 - 1
"""
The term of a session that never expires.
"""
# The last microsecond of the part of time in which a session ends; such a part is as long as
# the highest bit of its time to live, by eight. Whole numbers only: the same on every server.
TERM: Final = literal_column(
    "coalesce(CAST(extract(epoch FROM expires_at - timestamptz 'epoch') * 1000000 AS bigint)"
    " | ((1::bigint << 61 - position(B'1' IN CAST(coalesce(ttl, 0) | 15 AS bit(64)))) - 1),"
    f" {FOREVER})",
    BigInteger,
)
"""
The term of a session, in microseconds since 1970: a moment not before its end.
"""


def table_of(namespace: str) -> Table:
    """
    Return the table in which a namespace's sessions are.
    """
    table = Table(
        f"{namespace}_sessions",
        MetaData(),
        Column("key", LargeBinary, primary_key=True),
        Column("session_id", Text(collation="C"), nullable=False),
        Column("client_key", LargeBinary),
        Column("client_id", Text),
        Column("metadata", Text, nullable=False),
        Column("ttl", BigInteger),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("expires_at", DateTime(timezone=True)),
        Column("idempotency", LargeBinary),
        Column("request", LargeBinary),
        Column("requested_at", DateTime(timezone=True)),
    )
    columns = table.c
    for name, indexed, is_unique in (
        ("client", (columns.client_key, columns.session_id), False),
        ("expiry", (columns.expires_at,), False),
        ("retry", (columns.idempotency,), True),
        ("term", (columns.client_key, TERM, columns.session_id), False),
    ):
        Index(
            f"{table.name}_by_{name}",
            *indexed,
            unique=is_unique,
            postgresql_where=indexed[0].is_not(None),
        )
    Table(
        f"{namespace}_layout",
        table.metadata,
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("claimed", DateTime(timezone=True)),
        implicit_returning=False,
    )
    return table


def layout_of(table: Table) -> Table:
    """
    Return the table that has the layout's version, and since when indexes are being made.
    """
    return table.metadata.tables[f"{table.name.removesuffix('_sessions')}_layout"]


def indexes_of(table: Table) -> list[Index]:
    """
    Return a table's indexes, in an order of their own.
    """
    return sorted(table.indexes, key=lambda index: str(index.name))


def columns_of(table: Table) -> dict[str, tuple[str, bool]]:
    """
    Return the type of each column, as the server calls it, and whether a migration adds it.
    """
    return {column.name: (_TYPES[type(column.type)], column.name in _ADDED) for column in table.c}


def making(table: Table) -> str:
    """
    Return the statements that make the tables.
    """
    indexes = "".join(f"{making_index(index)}; " for index in indexes_of(table))
    return f"{_sql(CreateTable(table, if_not_exists=True))}; {indexes}{making_layout(table)}"


def making_columns(table: Table) -> str:
    """
    Return the statements that add the columns which an earlier layout lacks.
    """
    added = ", ".join(
        f"ADD COLUMN IF NOT EXISTS {name} {_TYPES[type(table.c[name].type)]}" for name in _ADDED
    )
    return f"ALTER TABLE {table.name} {added};"


def changing(table: Table) -> str:
    """
    Return the same for many processes at once, of which one makes all others wait for a moment.
    """
    names = ", ".join(f"'{name}'" for name in _ADDED)
    return (
        f"SET LOCAL lock_timeout = 1000; {turn_of(table)}"
        # One that comes late would wait for the indexes, and everybody else for it.
        f"DO $$ BEGIN PERFORM 1 FROM pg_attribute WHERE attrelid = CAST('{table.name}' AS regclass)"
        f" AND attname IN ({names}) HAVING count(*) = {len(_ADDED)};"
        f" IF NOT FOUND THEN {making_columns(table)} END IF; {making_layout(table)} END $$"
    )


def making_layout(table: Table) -> str:
    """
    Return the statements that make the table of the layout's version.
    """
    layout = layout_of(table)
    version = insert(layout).values(version=literal_column(str(LAYOUT))).on_conflict_do_nothing()
    return f"{_sql(CreateTable(layout, if_not_exists=True))}; {_sql(version)}; "


def making_index(index: Index, *, is_online: bool = False) -> str:
    """
    Return the statement that makes an index, also while the table is in use.
    """
    made = _sql(CreateIndex(index, if_not_exists=True))
    return made.replace("INDEX", "INDEX CONCURRENTLY", 1) if is_online else made


def turn_of(table: Table) -> str:
    """
    Return the statement that lets one process at a time make or change the tables.
    """
    # Two CREATE TABLE IF NOT EXISTS at one moment end in a unique violation.
    number = int.from_bytes(sha256(table.name.encode()).digest()[:8], signed=True)
    return f"SELECT pg_advisory_xact_lock({number}); "


def grant_of(table: Table, role: str) -> str:
    """
    Return the statements that give a role the rights which a registry needs.
    """
    return (
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.name} TO {role}; "
        f"GRANT SELECT ON {layout_of(table).name} TO {role}"
    )


def _sql(statement: ClauseElement) -> str:
    return " ".join(str(statement.compile(dialect=_DIALECT)).split())

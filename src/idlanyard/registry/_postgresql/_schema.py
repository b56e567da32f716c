r"""
The tables of a PostgreSQL registry, and the SQL that creates and changes them.

The first use of a registry creates its tables. For that, the role needs
``CREATE`` on the first schema of its ``search_path``. A role with only
``SELECT, INSERT, UPDATE, DELETE`` is enough if the tables exist. This SQL
creates them (``idlanyard`` is the namespace of the registry):

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

The keys are SHA-256 digests; ``ttl`` is in microseconds. The expression in the
last index is a session's term: time is divided into terms of a sixteenth to an
eighth of the time to live, and the session expires by the end of its term. So
the living sessions of a client have some ten terms for each time to live, and
the index finds them without reading the expired ones, however many those are.
Metadata is text, since ``jsonb`` refuses ``\u0000`` and changes numbers. The
encoding of the database is UTF8 (or SQL_ASCII, which keeps bytes as they are).

Layout 1 had no version, and lacked the last three columns. The first use by
the owner of the table changes it to layout 2. For other roles the owner runs
the following, statement by statement, before or while the new version is
deployed. Processes of the previous version keep working meanwhile:

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
The version of the layout of tables, columns and indexes.
"""
_ADDED_COLUMNS: Final = ("idempotency", "request", "requested_at")
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
# The session's expiry, with its low bits set to 1, as many as the ttl has bits, less four.
# Integers only: a logarithm may round differently after an upgrade, and corrupt the index.
TERM: Final = literal_column(
    "coalesce(CAST(extract(epoch FROM expires_at - timestamptz 'epoch') * 1000000 AS bigint)"
    " | ((1::bigint << 61 - position(B'1' IN CAST(coalesce(ttl, 0) | 15 AS bit(64)))) - 1),"
    f" {FOREVER})",
    BigInteger,
)
"""
The last microsecond of a session's term, since 1970.
"""


def sessions_table(namespace: str) -> Table:
    """
    Return the table for the sessions of a namespace, with its indexes and its layout table.
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
    _add_indexes(table)
    Table(
        f"{namespace}_layout",
        table.metadata,
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("claimed", DateTime(timezone=True)),
        implicit_returning=False,
    )
    return table


def _add_indexes(table: Table) -> None:
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


def layout_table(table: Table) -> Table:
    """
    Return the table with the layout's version, and the moment when building indexes began.
    """
    return table.metadata.tables[f"{table.name.removesuffix('_sessions')}_layout"]


def sorted_indexes(table: Table) -> list[Index]:
    """
    Return the indexes of a table, sorted by name.
    """
    return sorted(table.indexes, key=lambda index: str(index.name))


def column_types(table: Table) -> dict[str, str]:
    """
    Return the type of each column, as the server names it.
    """
    return {column.name: _TYPES[type(column.type)] for column in table.c}


def is_added_column(name: str) -> bool:
    """
    Return whether layout 1 lacked a column.
    """
    return name in _ADDED_COLUMNS


def is_optional_index(name: str) -> bool:
    """
    Return whether a registry works without an index, only slower.
    """
    return name.endswith("_sessions_by_term")


def create_sql(table: Table) -> str:
    """
    Return the statements that create the tables and indexes.
    """
    indexes = "".join(f"{create_index_sql(index)}; " for index in sorted_indexes(table))
    return (
        f"{_compile(CreateTable(table, if_not_exists=True))}; {indexes}{create_layout_sql(table)}"
    )


def add_columns_sql(table: Table) -> str:
    """
    Return the statement that adds the columns that layout 1 lacks.
    """
    added = ", ".join(
        f"ADD COLUMN IF NOT EXISTS {name} {_TYPES[type(table.c[name].type)]}"
        for name in _ADDED_COLUMNS
    )
    return f"ALTER TABLE {table.name} {added};"


def upgrade_sql(table: Table) -> str:
    """
    Return the statements that add missing columns and the layout table.

    Any number of processes may run them at once; they take turns.
    """
    names = ", ".join(f"'{name}'" for name in _ADDED_COLUMNS)
    return (
        f"SET LOCAL lock_timeout = 1000; {lock_sql(table)}"
        # A late ALTER TABLE, though it adds nothing, would wait for CREATE INDEX CONCURRENTLY of
        # another process, and every other statement would queue behind it.
        f"DO $$ BEGIN PERFORM 1 FROM pg_attribute WHERE attrelid = CAST('{table.name}' AS regclass)"
        f" AND attname IN ({names}) HAVING count(*) = {len(_ADDED_COLUMNS)};"
        f" IF NOT FOUND THEN {add_columns_sql(table)} END IF; {create_layout_sql(table)} END $$"
    )


def create_layout_sql(table: Table) -> str:
    """
    Return the statements that create the table with the layout's version.
    """
    layout = layout_table(table)
    version = insert(layout).values(version=literal_column(str(LAYOUT))).on_conflict_do_nothing()
    return f"{_compile(CreateTable(layout, if_not_exists=True))}; {_compile(version)}; "


def create_index_sql(index: Index, *, is_online: bool = False) -> str:
    """
    Return the statement that creates an index.

    Args:
        index: the index.
        is_online: whether the table is in use meanwhile.
    """
    sql = _compile(CreateIndex(index, if_not_exists=True))
    return sql.replace("INDEX", "INDEX CONCURRENTLY", 1) if is_online else sql


def lock_sql(table: Table) -> str:
    """
    Return the statement that waits for this process's turn to create or change the tables.
    """
    # Two simultaneous CREATE TABLE IF NOT EXISTS fail with a unique violation in pg_type.
    number = int.from_bytes(sha256(table.name.encode()).digest()[:8], signed=True)
    return f"SELECT pg_advisory_xact_lock({number}); "


def grant_sql(table: Table, role: str) -> str:
    """
    Return the statements that grant a role the rights that a registry needs.
    """
    return (
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.name} TO {role}; "
        f"GRANT SELECT ON {layout_table(table).name} TO {role}"
    )


def _compile(statement: ClauseElement) -> str:
    return " ".join(str(statement.compile(dialect=_DIALECT)).split())

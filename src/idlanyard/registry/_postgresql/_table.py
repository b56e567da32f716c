r"""
The table of a PostgreSQL registry, and how it comes to be there.

Whoever uses a registry first makes the table, so its role needs ``CREATE`` on
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
    CREATE INDEX idlanyard_sessions_by_living
        ON idlanyard_sessions (client_key, coalesce(expires_at, 'infinity'::timestamptz))
        WHERE client_key IS NOT NULL;
    CREATE UNIQUE INDEX idlanyard_sessions_by_retry
        ON idlanyard_sessions (idempotency) WHERE idempotency IS NOT NULL;

The keys are SHA-256; ``ttl`` is in microseconds. Metadata is text, since
``jsonb`` refuses ``\u0000`` and changes numbers. The database's encoding is
UTF8 (or SQL_ASCII, which takes bytes as they are).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    literal_column,
    select,
)

# Making the table is the one transaction that has more than a statement.
TRANSACTION: Final[dict[str, Any]] = {"isolation_level": "READ COMMITTED"}
FOREVER: Final = literal_column("'infinity'::timestamptz", DateTime(timezone=True))


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
    lasting = func.coalesce(columns.expires_at, FOREVER)
    for name, indexed, is_unique in (
        ("client", (columns.client_key, columns.session_id), False),
        ("expiry", (columns.expires_at,), False),
        ("living", (columns.client_key, lasting), False),
        ("retry", (columns.idempotency,), True),
    ):
        Index(
            f"{table.name}_by_{name}",
            *indexed,
            unique=is_unique,
            postgresql_where=indexed[0].is_not(None),
        )
    return table


def is_there(connection: Connection, table: Table) -> bool:
    """
    Say whether the table was made before.
    """
    return inspect(connection).has_table(table.name)


def create(connection: Connection, table: Table) -> None:
    """
    Make the table in the transaction at hand; of many at once, one makes it.
    """
    # Two CREATE TABLE IF NOT EXISTS at one moment end in a unique violation.
    turn = int.from_bytes(sha256(table.name.encode()).digest()[:8], signed=True)
    connection.execute(select(func.pg_advisory_xact_lock(turn)))
    table.metadata.create_all(connection)

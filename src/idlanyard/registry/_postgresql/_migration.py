"""
Create the tables of a registry, or upgrade those of an earlier layout while they are in use.

Adding columns takes a moment. They may be null, so processes of the previous
version keep working. One process creates the missing indexes, with
``CONCURRENTLY``. Its question waits for them until its timeout, and the server
continues without it. Meanwhile every question is answered except for a create
with an idempotency key, since no index keeps those keys unique yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import (
    Connection,
    DateTime,
    Index,
    Interval,
    Table,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from idlanyard._failures import warn_once
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._postgresql._schema import (
    LAYOUT,
    add_columns_sql,
    column_types,
    create_index_sql,
    create_layout_sql,
    create_sql,
    grant_sql,
    is_added_column,
    is_optional_index,
    layout_table,
    lock_sql,
    sorted_indexes,
    upgrade_sql,
)
from idlanyard.registry._postgresql._statements import Statement

_SCHEME: Final = "postgresql"
_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_RETRY_AFTER: Final = 1.0
"""
The seconds between two checks whether another process has created the indexes.
"""
_LOOK_AFTER: Final = 60.0
"""
The same for an index that only the owner of the table can create, and whose absence is no fault.
"""
_CLOCK: Final = func.clock_timestamp(type_=DateTime(timezone=True))
# A process that was killed between its claim and CREATE INDEX blocks the others this long.
_GRACE: Final = literal_column("interval '10 seconds'", Interval())
_STATE: Final = text("""
    WITH at AS (
        SELECT CAST(to_regclass(:sessions) AS oid) AS sessions,
            CAST(to_regclass(:layout) AS oid) AS layout
    )
    SELECT
        quote_ident(current_user) AS role,
        quote_ident(current_schema()) AS schema,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
        -- to_regclass() also finds a table that was created since the statement began.
        EXISTS (SELECT FROM pg_class WHERE oid = at.sessions) AS is_there,
        at.layout IS NOT NULL AS has_layout,
        coalesce(has_table_privilege(at.layout, 'SELECT'), false) AS may_read_layout,
        (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = at.sessions) AS is_owner,
        (SELECT CAST(relkind AS text) FROM pg_class WHERE oid = at.sessions) AS kind,
        (SELECT relpersistence = 'u' FROM pg_class WHERE oid = at.sessions) AS is_unlogged,
        (
            SELECT json_object_agg(attname, format_type(atttypid, atttypmod)) FROM pg_attribute
            WHERE attrelid = at.sessions AND attnum > 0 AND NOT attisdropped
        ) AS columns,
        (
            SELECT json_object_agg(relname, indisvalid) FROM pg_index
            JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = at.sessions
        ) AS indexes,
        (
            SELECT array_agg(wanted) FROM unnest(CAST(:rights AS text[])) AS wanted
            WHERE NOT has_table_privilege(at.sessions, wanted)
        ) AS lacking_rights,
        EXISTS (
            SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
            WHERE datname = current_database() AND relation = at.sessions
            AND mode = 'ShareUpdateExclusiveLock'
        ) AS is_busy,
        current_setting('synchronous_commit') = 'off' AS is_asynchronous,
        current_setting('fsync') = 'off' AS is_unsynced,
        current_setting('full_page_writes') = 'off' AS is_torn,
        (SELECT source IN ('client', 'session') FROM pg_settings WHERE name = 'statement_timeout')
            AS has_timeout
    FROM at
""")


class State(NamedTuple):
    """
    State of the registry's tables, rights and settings at the server.
    """

    role: str
    schema: str | None
    may_create: bool
    is_there: bool
    has_layout: bool
    may_read_layout: bool
    is_owner: bool | None
    kind: str | None
    is_unlogged: bool | None
    columns: dict[str, str] | None
    indexes: dict[str, bool] | None
    lacking_rights: list[str] | None
    is_busy: bool
    is_asynchronous: bool
    is_unsynced: bool
    is_torn: bool
    has_timeout: bool
    version: int | None = None

    @property
    def may_upgrade(self) -> bool:
        """
        Whether the role may add what is missing.
        """
        return bool(self.is_owner and self.may_create)


class Migration:
    """
    The tables of one namespace, as far as one process has prepared them. Threads may share it.

    Attributes:
        has_retry_index: whether idempotency keys are kept unique.
        has_term_index: whether living sessions can be found by their terms.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._layout = layout_table(table)
        self._due_at = -math.inf
        self.has_retry_index = False
        self.has_term_index = False

    @property
    def is_due(self) -> bool:
        """
        Whether ``prepare`` must be called before the next statement.
        """
        return self._due_at < math.inf and monotonic() >= self._due_at

    def reset(self) -> None:
        """
        Prepare the tables again before the next statement.
        """
        self._due_at = -math.inf

    def execute(self, connection: Connection, statement: Statement) -> Any:
        """
        Return the rows of a statement, or the sentences of ``prepare`` if it has no SQL.

        Args:
            connection: a connection in autocommit mode.
            statement: the statement.
        """
        if statement.sql is None:
            return self.prepare(connection)
        if self.is_due:
            self.prepare(connection)
        return connection.execute(statement.sql, statement.values).all()

    def prepare(self, connection: Connection) -> list[str]:
        """
        Create or upgrade the tables. Return a sentence for each setting that voids a promise.

        Args:
            connection: a connection in autocommit mode.

        Raises:
            RegistryMisconfigured: the registry cannot work on this server.
        """
        state = self._read_state(connection)
        if not state.is_there:
            _run(connection, lock_sql(self._table) + create_sql(self._table))
            state = self._read_state(connection)
        elif find_missing(state, self._table) and state.may_upgrade:
            self._upgrade(connection, state)
            state = self._read_state(connection)
        missing = find_missing(state, self._table)
        self.has_retry_index = f"{self._table.name}_by_retry" not in missing
        self.has_term_index = f"{self._table.name}_by_term" not in missing
        is_complete = not any("_by_" in name for name in missing)
        pause = _RETRY_AFTER if state.may_upgrade else _LOOK_AFTER
        self._due_at = math.inf if is_complete else monotonic() + pause
        sentences = [
            *setting_warnings(state, self._table.name),
            *index_warnings(state, self._table),
        ]
        for sentence in sentences:
            warn_once(sentence, "idlanyard: %s", sentence)
        return sentences

    def _read_state(self, connection: Connection) -> State:
        """
        Read the state of the tables.

        Raises:
            RegistryMisconfigured: the registry cannot work with them.
        """
        names = {"sessions": self._table.name, "layout": self._layout.name}
        row = connection.execute(_STATE, names | {"rights": list(_RIGHTS)}).one()
        state = State(*row)
        if state.may_read_layout:
            version = connection.execute(select(func.max(self._layout.c.version))).scalar()
            state = state._replace(version=version)
        fault = find_fault(state, self._table)
        if fault is not None:
            raise RegistryMisconfigured(_SCHEME, fault)
        return state

    def _upgrade(self, connection: Connection, state: State) -> None:
        """
        Add missing columns and indexes, unless another process is creating the indexes.
        """
        if any("_by_" not in name for name in find_missing(state, self._table)):
            _run(connection, upgrade_sql(self._table))
        claim = (
            update(self._layout)
            .values(claimed=_CLOCK)
            .where(or_(self._layout.c.claimed.is_(None), self._layout.c.claimed < _CLOCK - _GRACE))
            .returning(self._layout.c.version)
        )
        if state.is_busy or not connection.execute(claim).all():
            return
        # Another process may have created them before this one got the claim.
        missing = find_missing(self._read_state(connection), self._table)
        wanted = [index for index in sorted_indexes(self._table) if index.name in missing]
        # Creates with idempotency keys wait for the unique index, so it comes first.
        wanted.sort(key=lambda index: not index.unique)
        if wanted:
            self._create_indexes(connection, wanted, has_timeout=state.has_timeout)
        connection.execute(update(self._layout).values(claimed=null()))

    def _create_indexes(
        self, connection: Connection, indexes: list[Index], *, has_timeout: bool
    ) -> None:
        """
        Create indexes while the table is in use, without a limit of time at the server.
        """
        if has_timeout:
            _run(connection, "SET statement_timeout = 0")
        try:
            for index in indexes:
                # A process killed during CREATE INDEX leaves an invalid index of that name.
                _run(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")
                _run(connection, create_index_sql(index, is_online=True))
        finally:
            if has_timeout:
                # The connection may be closed.
                with suppress(SQLAlchemyError, psycopg.Error):
                    _run(connection, "RESET statement_timeout")


def find_missing(state: State, table: Table) -> list[str]:
    """
    Return the names of missing columns and indexes, and of a missing or old layout table. Pure.
    """
    columns, indexes = state.columns or {}, state.indexes or {}
    missing = [name for name in column_types(table) if name not in columns]
    is_unreadable = state.has_layout and not state.may_read_layout
    if not is_unreadable and (state.version is None or state.version < LAYOUT):
        missing.append(layout_table(table).name)
    names = [str(index.name) for index in sorted_indexes(table)]
    return missing + [name for name in names if not indexes.get(name)]


def find_fault(state: State, table: Table) -> str | None:
    """
    Return the sentence for tables or rights with which a registry cannot work. Pure.
    """
    name = table.name
    if not state.is_there:
        return _find_create_fault(state, table)
    if state.version is not None and state.version > LAYOUT:
        return (
            f"the table {name} has layout {state.version}, and this version of idlanyard knows "
            f"{LAYOUT}: install the version that made it, or a later one"
        )
    wrong = _find_difference(state, table)
    if wrong is not None:
        return (
            f"the table {name} is not a registry's ({wrong}): "
            "give the registry a namespace of its own, as in namespace='sessions'"
        )
    if state.lacking_rights:
        return f"this role lacks rights: let the owner run: {grant_sql(table, state.role)}"
    missing = [name for name in find_missing(state, table) if name != layout_table(table).name]
    if not state.may_upgrade and any(not is_optional_index(name) for name in missing):
        sql = f"{add_columns_sql(table)} {create_layout_sql(table)}" + "".join(
            f"{create_index_sql(index, is_online=True)}; "
            for index in sorted_indexes(table)
            if index.name in missing
        )
        return (
            f"the table {name} is of an earlier layout, and this role may not change it: "
            f"let its owner run, statement by statement: {sql}{grant_sql(table, state.role)}"
        )
    return None


def setting_warnings(state: State, table: str) -> Iterator[str]:
    """
    Yield a sentence for each setting that voids a promise of the registry. Pure.
    """
    if state.is_asynchronous:
        yield (
            "synchronous_commit is off, so a crash of the server forgets sessions that it has "
            f"acknowledged: run ALTER ROLE {state.role} SET synchronous_commit = on"
        )
    for is_off, setting in ((state.is_unsynced, "fsync"), (state.is_torn, "full_page_writes")):
        if is_off:
            yield (
                f"{setting} is off, so a crash of the machine may lose or spoil every session: run "
                f"ALTER SYSTEM SET {setting} = on, and then SELECT pg_reload_conf()"
            )
    if state.is_unlogged:
        yield (
            f"the table {table} is unlogged, so a crash of the server empties it: "
            f"run ALTER TABLE {table} SET LOGGED"
        )


def index_warnings(state: State, table: Table) -> Iterator[str]:
    """
    Yield a sentence for each missing index that this role cannot create and can do without. Pure.
    """
    missing = find_missing(state, table)
    for index in sorted_indexes(table):
        if not state.may_upgrade and index.name in missing:
            yield (
                f"the table {table.name} lacks the index {index.name}, without which find is slow "
                "where many sessions have expired, and this role may not create it: let the "
                f"table's owner run: {create_index_sql(index, is_online=True)}"
            )


def _find_create_fault(state: State, table: Table) -> str | None:
    """
    Return the sentence for a missing table that this role cannot create.
    """
    if state.schema is None:
        return (
            f"there is no schema for the table {table.name}: create one, or write one that this "
            "role may use into the URL, as in options=-csearch_path%3Dpublic"
        )
    if not state.may_create:
        sql = create_sql(table) + grant_sql(table, state.role)
        return f"this role may not create the table {table.name}: let its owner run: {sql}"
    return None


def _find_difference(state: State, table: Table) -> str | None:
    """
    Return how a table differs from the table of a registry of any version.
    """
    if state.kind not in ("r", "p"):
        return "it is no table"
    columns = state.columns or {}
    for name, kind in column_types(table).items():
        if name not in columns:
            if not is_added_column(name):
                return f"it has no column {name}"
        elif columns[name] != kind:
            return f"its column {name} is of type {columns[name]}"
    return None


def _run(connection: Connection, statements: str) -> None:
    # Without parameters, several statements go in one message and are one transaction, also
    # through a pooler.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})

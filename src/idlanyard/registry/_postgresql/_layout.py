"""
Which layout a registry's tables have, and how an older one becomes today's while it is in use.

Columns are added in a moment, and may be null, so that processes of the version
before go on as they are. Indexes are made ``CONCURRENTLY``, by one process: its
verb waits for that until its time is up, and the server goes on without it.
Meanwhile all verbs work but a create with an idempotency key, which no index
keeps unique yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Final, NamedTuple

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
from idlanyard.registry._postgresql._table import (
    LAYOUT,
    changing,
    columns_of,
    grant_of,
    indexes_of,
    layout_of,
    making,
    making_columns,
    making_index,
    making_layout,
    turn_of,
)

_SCHEME: Final = "postgresql"
_VERBS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_PATIENCE: Final = 1.0
"""
The seconds until a process looks again whether another one has made the indexes.
"""
_TURN: Final = func.clock_timestamp(type_=DateTime(timezone=True))
# Whoever was killed before an index was begun holds others up for so long.
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
        -- to_regclass() also finds a table that was made since the statement began.
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
            SELECT array_agg(verb) FROM unnest(CAST(:verbs AS text[])) AS verb
            WHERE NOT has_table_privilege(at.sessions, verb)
        ) AS forbidden,
        EXISTS (
            SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
            WHERE datname = current_database() AND relation = at.sessions
            AND mode = 'ShareUpdateExclusiveLock'
        ) AS is_busy,
        current_setting('synchronous_commit') = 'off' AS is_asynchronous,
        current_setting('fsync') = 'off' AS is_unsynced,
        current_setting('full_page_writes') = 'off' AS is_torn,
        (SELECT source IN ('client', 'session') FROM pg_settings WHERE name = 'statement_timeout')
            AS is_hurried
    FROM at
""")


class State(NamedTuple):
    """
    What a server says of a registry's tables, and of what may be done with them.
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
    forbidden: list[str] | None
    is_busy: bool
    is_asynchronous: bool
    is_unsynced: bool
    is_torn: bool
    is_hurried: bool
    version: int | None = None


class Layout:
    """
    The layout of one namespace, as one process knows it. Threads may share it.

    Attributes:
        keeps_retries: whether creates may have idempotency keys.
        finds_by_term: whether there is an index of terms.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._layout = layout_of(table)
        self._look_at = -math.inf
        self.keeps_retries = False
        self.finds_by_term = False

    @property
    def is_due(self) -> bool:
        """
        Whether ``prepare`` is to be called before a verb.
        """
        return self._look_at < math.inf and monotonic() >= self._look_at

    def forget(self) -> None:
        """
        Look at the tables again before the next verb.
        """
        self._look_at = -math.inf

    def prepare(self, connection: Connection) -> list[str]:
        """
        Make the tables, or make them today's, and return a sentence for each setting at fault.

        Args:
            connection: one on which each statement is a transaction.

        Raises:
            RegistryMisconfigured: the registry cannot work here.
        """
        state = self._state_of(connection)
        if not state.is_there:
            _run(connection, turn_of(self._table) + making(self._table))
            state = self._state_of(connection)
        elif missing_in(state, self._table) and state.is_owner and state.may_create:
            self._migrate(connection, state)
            state = self._state_of(connection)
        missing = missing_in(state, self._table)
        self.keeps_retries = f"{self._table.name}_by_retry" not in missing
        self.finds_by_term = f"{self._table.name}_by_term" not in missing
        is_whole = not any("_by_" in name for name in missing)
        self._look_at = math.inf if is_whole else monotonic() + _PATIENCE
        sentences = list(sentences_of(state, self._table.name))
        for sentence in sentences:
            warn_once(sentence, "idlanyard: %s", sentence)
        return sentences

    def _state_of(self, connection: Connection) -> State:
        """
        Ask the server what there is.

        Raises:
            RegistryMisconfigured: the registry cannot work with that.
        """
        names = {"sessions": self._table.name, "layout": self._layout.name}
        row = connection.execute(_STATE, names | {"verbs": list(_VERBS)}).one()
        state = State(*row)
        if state.may_read_layout:
            version = connection.execute(select(func.max(self._layout.c.version))).scalar()
            state = state._replace(version=version)
        fault = fault_in(state, self._table)
        if fault is not None:
            raise RegistryMisconfigured(_SCHEME, fault)
        return state

    def _migrate(self, connection: Connection, state: State) -> None:
        """
        Make what is missing, unless another process is at it.
        """
        if any("_by_" not in name for name in missing_in(state, self._table)):
            _run(connection, changing(self._table))
        claim = (
            update(self._layout)
            .values(claimed=_TURN)
            .where(or_(self._layout.c.claimed.is_(None), self._layout.c.claimed < _TURN - _GRACE))
            .returning(self._layout.c.version)
        )
        if state.is_busy or not connection.execute(claim).all():
            return
        # Another process may have made them before this one had its turn.
        missing = missing_in(self._state_of(connection), self._table)
        wanted = [index for index in indexes_of(self._table) if index.name in missing]
        # Creates with idempotency keys wait for the unique one.
        wanted.sort(key=lambda index: not index.unique)
        if wanted:
            self._make(connection, wanted, is_hurried=state.is_hurried)
        connection.execute(update(self._layout).values(claimed=null()))

    def _make(self, connection: Connection, indexes: list[Index], *, is_hurried: bool) -> None:
        """
        Make indexes while the table is in use, however long that takes.
        """
        if is_hurried:
            _run(connection, "SET statement_timeout = 0")
        try:
            for index in indexes:
                # One that a killed process has left is not valid, and in the way.
                _run(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")
                _run(connection, making_index(index, is_online=True))
        finally:
            if is_hurried:
                # The connection may be gone.
                with suppress(SQLAlchemyError, psycopg.Error):
                    _run(connection, "RESET statement_timeout")


def missing_in(state: State, table: Table) -> list[str]:
    """
    Return what is not there yet: columns, indexes, the layout's version. Pure.
    """
    columns, indexes = state.columns or {}, state.indexes or {}
    missing = [name for name in columns_of(table) if name not in columns]
    is_known = state.has_layout and not state.may_read_layout
    if not is_known and (state.version is None or state.version < LAYOUT):
        missing.append(layout_of(table).name)
    names = [str(index.name) for index in indexes_of(table)]
    return missing + [name for name in names if not indexes.get(name)]


def fault_in(state: State, table: Table) -> str | None:
    """
    Return why a registry cannot work with what there is, and what to do. Pure.
    """
    name = table.name
    if not state.is_there:
        if state.schema is None:
            return (
                f"there is no schema for the table {name}: create one, or write one that this "
                "role may use into the URL, as in options=-csearch_path%3Dpublic"
            )
        if not state.may_create:
            sql = making(table) + grant_of(table, state.role)
            return f"this role may not create the table {name}: let its owner run: {sql}"
        return None
    if state.version is not None and state.version > LAYOUT:
        return (
            f"the table {name} has layout {state.version}, and this version of idlanyard knows "
            f"{LAYOUT}: install the version that made it, or a later one"
        )
    wrong = _wrong(state, table)
    if wrong is not None:
        return (
            f"the table {name} is not a registry's ({wrong}): "
            "give the registry a namespace of its own, as in namespace='sessions'"
        )
    if state.forbidden:
        return f"this role lacks rights: let the owner run: {grant_of(table, state.role)}"
    missing = [name for name in missing_in(state, table) if name != layout_of(table).name]
    if missing and not (state.is_owner and state.may_create):
        sql = f"{making_columns(table)} {making_layout(table)}" + "".join(
            f"{making_index(index, is_online=True)}; "
            for index in indexes_of(table)
            if index.name in missing
        )
        return (
            f"the table {name} is of an earlier layout, and this role may not change it: "
            f"let its owner run, statement by statement: {sql}{grant_of(table, state.role)}"
        )
    return None


def sentences_of(state: State, table: str) -> Iterator[str]:
    """
    Yield a sentence for each setting that voids what the registry promises. Pure.
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


def _wrong(state: State, table: Table) -> str | None:
    """
    Return how a table differs from what a registry of any version makes.
    """
    if state.kind not in ("r", "p"):
        return "it is no table"
    columns = state.columns or {}
    for name, (kind, is_new) in columns_of(table).items():
        if name not in columns:
            if not is_new:
                return f"it has no column {name}"
        elif columns[name] != kind:
            return f"its column {name} is of type {columns[name]}"
    return None


def _run(connection: Connection, statements: str) -> None:
    # Several at once, without parameters, are one transaction, by any pooler.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})

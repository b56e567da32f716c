"""
What a PostgreSQL registry asks: one statement a verb, by the server's clock.

``statement_timestamp()`` is one moment for the whole of a statement, so that a
session's creation and expiry are measured from the same one, and an index can
be searched for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Interval,
    Table,
    bindparam,
    cast,
    delete,
    extract,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from idlanyard.registry._record import Draft, Row

BATCH: Final = 1000
_NOW: Final = func.statement_timestamp(type_=DateTime(timezone=True))
_MICROSECOND: Final = literal_column("interval '1 microsecond'", Interval())


class Statements:
    """
    The statements on one table. Their parameters are named as in ``Draft``.

    Attributes:
        insert: keep a session where there is none, or only an expired one.
        read: by ``at``.
        extend: by ``at``, for ``lifetime`` or, where that is null, the time it had.
        delete: by ``at``, and ``created`` where that is not null.
        page: by ``whose``, behind ``after``, ``most`` of them.
        purge: the next expired sessions, and how many those were.
    """

    def __init__(self, table: Table) -> None:
        columns = table.c
        times = (_microseconds(columns.created_at), _microseconds(columns.expires_at))
        row = (columns.session_id, columns.client_id, columns.metadata, *times)
        live = or_(columns.expires_at.is_(None), columns.expires_at > _NOW)
        this = (columns.key == bindparam("at"), live)
        self.insert: Executable = _insert(table).returning(*times)
        self.read: Executable = select(*row).where(*this)
        self.extend: Executable = _extend(table).where(*this).returning(*row)
        created = func.coalesce(bindparam("created", type_=BigInteger), times[0])
        chosen = delete(table).where(*this, times[0] == created)
        self.delete: Executable = chosen.returning(*row)
        self.page: Executable = (
            select(*row)
            .where(
                columns.client_key == bindparam("whose"),
                columns.session_id > bindparam("after"),
                live,
            )
            .order_by(columns.session_id)
            .limit(bindparam("most", type_=BigInteger))
        )
        self.purge: Executable = _purge(table)


def values_of(draft: Draft) -> dict[str, Any]:
    """
    Return the parameters of ``Statements.insert``.
    """
    return {
        "key": draft.key,
        "session_id": draft.session_id,
        "client_key": draft.client_key,
        "client_id": draft.client_id,
        "metadata": draft.metadata,
        "lifetime": draft.ttl,
    }


def one(rows: Sequence[Any]) -> Row | None:
    """
    Return what was found of the one session that was asked about.
    """
    return Row(*rows[0]) if rows else None


def _insert(table: Table) -> Any:
    lifetime = bindparam("lifetime", type_=BigInteger)
    new = insert(table).values(ttl=lifetime, created_at=_NOW, expires_at=_after(lifetime))
    rest = {column.name: new.excluded[column.name] for column in table.c if column.name != "key"}
    return new.on_conflict_do_update(
        index_elements=[table.c.key], set_=rest, where=table.c.expires_at <= _NOW
    )


def _extend(table: Table) -> Any:
    lifetime = func.coalesce(bindparam("lifetime", type_=BigInteger), table.c.ttl)
    return update(table).values(ttl=lifetime, expires_at=_after(lifetime))


def _purge(table: Table) -> Any:
    # Who touches or replaces a session at this moment keeps it.
    expired = (
        select(table.c.key)
        .where(table.c.expires_at <= _NOW)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    gone = (
        delete(table)
        .where(table.c.key == func.any(func.array(expired.scalar_subquery())))
        .returning(table.c.key)
        .cte("gone")
    )
    return select(func.count()).select_from(gone)


def _after(lifetime: ColumnElement[int]) -> ColumnElement[Any]:
    return _NOW + lifetime * _MICROSECOND


def _microseconds(moment: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(extract("epoch", moment) * literal_column("1000000"), BigInteger)

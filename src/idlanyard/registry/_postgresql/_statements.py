"""
The SQL statements of a registry. Each is one atomic step, by the server's clock.

``statement_timestamp()`` is the same during a whole statement: creation and
expiry of a session are computed from one moment, and indexes can be searched
for it. A touch may wait for another touch of the same row, so its moment is
``clock_timestamp()``, which is read after that wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Interval,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    extract,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from idlanyard.registry._postgresql._schema import FOREVER, TERM
from idlanyard.registry._record import Draft, Kept

BATCH: Final = 1000
"""
The most expired sessions that one statement of a purge deletes.
"""
SWEPT: Final = 128
"""
The most expired sessions that a create deletes, if it deletes any.
"""
NEAR: Final = 250
"""
The most expired sessions among those of a page for which ``page`` reads in the order of IDs.
"""
ENDING: Final = 1000
"""
The most sessions of all clients that ``by_terms`` reads because they expire soon.
"""
TERMS: Final = 200
"""
The most terms of one client's living sessions for which ``by_terms`` finds them.
"""
_NOW: Final = func.statement_timestamp(type_=DateTime(timezone=True))
_TURN: Final = func.clock_timestamp(type_=DateTime(timezone=True))
_MICROSECOND: Final = literal_column("interval '1 microsecond'", Interval())
_ONE: Final = literal_column("1", BigInteger)
_EPOCH: Final = literal_column("timestamptz 'epoch'", DateTime(timezone=True))
_OF_RETRIES: Final = ("idempotency", "request", "requested_at")
_OF_DRAFTS: Final = ("key", "session_id", "client_key", "client_id", "metadata")


class Statement(NamedTuple):
    """
    A statement with its parameters.

    Attributes:
        sql: the statement; ``None`` only prepares the tables, and its answer has
            a sentence for each setting that voids a promise.
        values: its parameters.
    """

    sql: Executable | None
    values: dict[str, Any]


class Statements:
    """
    The statements on one table. Their parameters are named as in ``Draft``.

    Attributes:
        insert: insert a session if its key is free or belongs to an expired one.
        insert_sweeping: the same, and delete a few expired sessions.
        insert_once: insert a session if neither its key nor its idempotency key is there.
        insert_once_sweeping: the same, and delete a few expired sessions.
        made: select the living sessions with the key or the idempotency key of a draft.
        give_way: delete the expired sessions with either of them.
        read: select the session with the key ``at``.
        extend: extend the session with the key ``at`` by ``lifetime``, or by its own ttl.
        delete: delete the session with the key ``at``.
        page: select up to ``most`` sessions of a client with IDs behind ``after``. If too
            many expired ones are in between, a last row has only nulls or an ID.
        by_terms: the same, term by term. If there are too many terms, a last row has only nulls.
        ordered: the same, however many expired ones are in between.
        purge: delete the next expired sessions and select their number.
        count: select the number of living sessions.
        walk: select all sessions with keys above ``after``, and whether they are living.
        known: select the current moment and the living sessions among ``keys``.
        give_all_way: delete the expired sessions with one of ``idempotencies``.
        put: insert or replace sessions from another store, and select the keys of those kept.
        pause: wait for a moment at the server.
    """

    def __init__(self, table: Table) -> None:
        columns = table.c
        times = (_to_microseconds(columns.created_at), _to_microseconds(columns.expires_at))
        live = _is_live(columns.expires_at)
        this = (columns.key == bindparam("at"), live)
        self.insert: Executable = _build_insert(table).returning(*times)
        self.insert_sweeping: Executable = _add_sweep(table, _build_insert(table).returning(*times))
        once = _build_insert_once(table).returning(*times)
        self.insert_once: Executable = once
        self.insert_once_sweeping: Executable = _add_sweep(table, once)
        self.made: Executable = _build_made(table)
        self.give_way: Executable = _build_give_way(
            table, columns.idempotency == bindparam("idempotency"), columns.key == bindparam("at")
        )
        self.read: Executable = select(*_row_columns(columns)).where(*this)
        self.extend: Executable = _build_extend(table).returning(*_row_columns(columns))
        chosen = delete(table).where(*this, times[0] == _given_or(times[0]))
        self.delete: Executable = chosen.returning(*_row_columns(columns))
        self.page: Executable = _build_page(table)
        self.by_terms: Executable = _build_by_terms(table)
        ordered = select(*_row_columns(columns)).where(live, *_client_range(table))
        ordered = ordered.order_by(columns.client_key, columns.session_id)
        self.ordered: Executable = ordered.limit(bindparam("most", type_=BigInteger))
        gone = _delete_expired(table, BATCH)
        self.purge: Executable = select(func.count()).select_from(gone)
        self.count: Executable = select(func.count()).select_from(table).where(live)
        self.walk: Executable = _build_walk(table)
        self.known: Executable = _build_known(table)
        self.give_all_way: Executable = _build_give_way(
            table, columns.idempotency == func.any(_array_parameter("idempotencies"))
        )
        self.put: Executable = _build_put(table)
        self.pause: Executable = select(func.pg_sleep(literal_column("0.1")))


def insert_values(draft: Draft) -> dict[str, Any]:
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


def put_arrays(sessions: Sequence[tuple[bytes, bytes | None, Kept]]) -> dict[str, Any]:
    """
    Return the parameters of ``Statements.put``.

    Args:
        sessions: the sessions, each behind its key and its client's key.
    """
    return {
        "keys": [key for key, _, _ in sessions],
        "client_keys": [client_key for _, client_key, _ in sessions],
        **{name: [getattr(kept, name) for _, _, kept in sessions] for name in Kept._fields},
    }


def _row_columns(columns: Any) -> tuple[ColumnElement[Any], ...]:
    times = (_to_microseconds(columns.created_at), _to_microseconds(columns.expires_at))
    return (columns.session_id, columns.client_id, columns.metadata, *times)


def _build_insert(table: Table) -> Any:
    new = _build_new(table, dict.fromkeys(_OF_RETRIES, null()))
    rest = {column.name: new.excluded[column.name] for column in table.c if column.name != "key"}
    return new.on_conflict_do_update(
        index_elements=[table.c.key], set_=rest, where=table.c.expires_at <= _NOW
    )


def _build_insert_once(table: Table) -> Any:
    """
    Return a statement that does nothing if any unique index has a conflict.
    """
    return _build_new(table, {"requested_at": _NOW}).on_conflict_do_nothing()


def _build_new(table: Table, more: dict[str, Any]) -> Insert:
    lifetime = bindparam("lifetime", type_=BigInteger)
    times = {"ttl": lifetime, "created_at": _NOW, "expires_at": _add_time(_NOW, lifetime)}
    return insert(table).values(times | more)


def _add_sweep(table: Table, statement: Any) -> Any:
    # The new session's own key is left out: one statement cannot change a row twice.
    return statement.add_cte(_delete_expired(table, SWEPT, table.c.key != bindparam("at")))


def _build_made(table: Table) -> Any:
    columns = table.c
    is_made = _is_made_by_key(columns)
    made = and_(columns.idempotency == bindparam("idempotency"), is_made)
    return select(made, columns.request, *_row_columns(columns)).where(
        or_(made, columns.key == bindparam("at")), _is_live(columns.expires_at)
    )


def _is_made_by_key(columns: Any) -> ColumnElement[bool]:
    """
    Return whether a session was created with its idempotency key.

    Processes of layout 1 do not know the column: when they replace an expired
    session, its idempotency key remains in the row.
    """
    is_same: ColumnElement[bool] = columns.requested_at == columns.created_at
    return is_same


def _build_give_way(table: Table, idempotency: Any, *others: Any) -> Any:
    columns = table.c
    replaced = (
        update(table)
        .where(
            idempotency,
            columns.requested_at.is_distinct_from(columns.created_at),
            _is_live(columns.expires_at),
        )
        .values(dict.fromkeys(_OF_RETRIES, null()))
        .cte("replaced")
    )
    expired = delete(table).where(or_(idempotency, *others), columns.expires_at <= _NOW)
    return expired.add_cte(replaced).returning(columns.key)


def _build_extend(table: Table) -> Any:
    columns = table.c
    given = bindparam("lifetime", type_=BigInteger)
    metadata = func.coalesce(bindparam("metadata", type_=Text), columns.metadata)
    created = _to_microseconds(columns.created_at)
    # Without a given ttl the end never moves backwards. greatest() ignores nulls.
    ends = case(
        (given.is_(None), func.greatest(columns.expires_at, _add_time(_TURN, columns.ttl))),
        else_=_add_time(_TURN, given),
    )
    return (
        update(table)
        .where(
            columns.key == bindparam("at"),
            _is_live(columns.expires_at, _TURN),
            created == _given_or(created),
        )
        .values(ttl=func.coalesce(given, columns.ttl), expires_at=ends, metadata=metadata)
    )


def _client_range(table: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    # One range of the index, so that the planner reads it in order. With two conditions it would
    # sort all sessions of the client while it has no statistics of a table just filled.
    columns = table.c
    client = bindparam("client", type_=LargeBinary)
    after = bindparam("after", type_=columns.session_id.type)
    behind = tuple_(columns.client_key, columns.session_id) > tuple_(client, after)
    return behind, columns.client_key <= client


def _build_page(table: Table) -> Any:
    most = bindparam("most", type_=BigInteger)
    near = bindparam("near", type_=BigInteger)
    in_order = (table.c.client_key, table.c.session_id)
    behind = select(table).where(*_client_range(table)).order_by(*in_order)
    looked = behind.limit(near).subquery("looked").c
    found = select(*_row_columns(looked)).where(_is_live(looked.expires_at))
    found = found.order_by(looked.client_key, looked.session_id).limit(most)
    # PostgreSQL runs this part only if the page is not full.
    beyond = select(table.c.session_id).where(*_client_range(table))
    beyond = beyond.order_by(*in_order).offset(near).limit(_ONE)
    return _add_marker(found, beyond, most)


def _build_by_terms(table: Table) -> Any:
    columns = table.c
    most, many = bindparam("most", type_=BigInteger), bindparam("many", type_=BigInteger)
    is_theirs = columns.client_key == bindparam("client")
    is_behind = columns.session_id > bindparam("after")
    soonest, terms = _find_terms(table)
    ending, are_few = _find_ending(table, soonest)
    soon = select(*_row_columns(ending)).where(
        are_few,
        ending.client_key == bindparam("client"),
        ending.session_id > bindparam("after"),
        ending.term == soonest,
    )
    near = select(terms.c.term).limit(many).subquery("near")
    # Only the index by term has both conditions, so each term is read in the order of IDs.
    living = select(table).where(is_theirs, near.c.term == TERM, is_behind)
    living = living.where(_is_live(columns.expires_at)).order_by(columns.session_id)
    each = living.limit(most).lateral("each")
    later = select(*_row_columns(each.c)).select_from(near.join(each, true()))
    later = later.where(or_(near.c.term > soonest, ~are_few))
    found: Any = union_all(soon, later).subquery("living")
    found = select(found).order_by(found.c.session_id).limit(most)
    beyond = select(null().label("session_id")).select_from(terms).offset(many).limit(_ONE)
    return _add_marker(found, beyond, most + _ONE)


def _find_terms(table: Table) -> tuple[Any, Any]:
    """
    Return the first term of a client that is not over, and all such terms.
    """
    # A recursive query jumps from term to term in the index; DISTINCT would read every entry.
    of_client = select(TERM.label("term")).where(table.c.client_key == bindparam("client"))
    of_client = of_client.order_by(TERM).limit(_ONE)
    first = of_client.where(_to_microseconds(_NOW) <= TERM).cte("soonest")
    terms = select(first.c.term).cte("terms", recursive=True)
    following: Any = of_client.where(terms.c.term < TERM).lateral("following")
    terms = terms.union_all(select(following.c.term).select_from(terms.join(following, true())))
    return select(first.c.term).scalar_subquery(), terms


def _find_ending(table: Table, soonest: Any) -> tuple[Any, Any]:
    """
    Return the sessions of all clients that expire until the end of a term, and whether all fit.

    In the first term, most sessions may already have expired. Reading the
    others by expiry avoids reading those.
    """
    columns = table.c
    # The term of sessions that never expire is beyond PostgreSQL's timestamps.
    until = _to_moment(func.least(soonest, literal_column("253402300800000000", BigInteger)))
    ending = (
        select(table, TERM.label("term"))
        .where(columns.expires_at > _NOW, columns.expires_at <= until)
        .order_by(columns.expires_at)
        .limit(literal_column(str(ENDING)))
        .cte("ending")
    )
    number = select(func.count()).select_from(ending).scalar_subquery()
    return ending.c, and_(number < ENDING, soonest < FOREVER)


def _add_marker(found: Any, beyond: Any, most: Any) -> Any:
    more = beyond.subquery("beyond")
    nothing = (null(), null(), cast(null(), BigInteger), cast(null(), BigInteger))
    either = union_all(select(found.subquery("found")), select(more.c.session_id, *nothing))
    return either.limit(most)


def _delete_expired(table: Table, most: int, *only: Any) -> Any:
    # A session that another statement touches or replaces right now is skipped.
    expired = (
        select(table.c.key)
        .where(table.c.expires_at <= _NOW, *only)
        # Without an order the planner may scan the whole table for the last few.
        .order_by(table.c.expires_at)
        .limit(literal_column(str(most)))
        .with_for_update(skip_locked=True)
    )
    return (
        delete(table)
        .where(table.c.key == func.any(func.array(expired.scalar_subquery())))
        .returning(table.c.key)
        .cte("gone")
    )


def _build_walk(table: Table) -> Any:
    columns = table.c
    is_made = _is_made_by_key(columns)
    return (
        select(
            columns.key,
            _is_live(columns.expires_at),
            columns.session_id,
            columns.client_id,
            columns.metadata,
            columns.ttl,
            _to_microseconds(columns.created_at),
            _to_microseconds(columns.expires_at),
            case((is_made, columns.idempotency)),
            case((is_made, columns.request)),
        )
        .where(columns.key > bindparam("after"))
        .order_by(columns.key)
        .limit(bindparam("most", type_=BigInteger))
    )


def _build_known(table: Table) -> Any:
    columns = table.c
    moment = select(_to_microseconds(_NOW).label("now")).subquery("moment")
    there = and_(columns.key == func.any(_array_parameter("keys")), _is_live(columns.expires_at))
    return select(moment.c.now, columns.key, _to_microseconds(columns.created_at)).select_from(
        moment.outerjoin(table, there)
    )


def _build_put(table: Table) -> Any:
    columns = table.c
    new = _unnest_sessions()
    created, expires = _to_moment(new.created), _to_moment(new.expires)
    values: dict[str, Any] = {
        **{name: new[name] for name in (*_OF_DRAFTS, "ttl", "idempotency", "request")},
        "created_at": created,
        "expires_at": expires,
        "requested_at": case((new.idempotency.is_not(None), created)),
    }
    other = table.alias("other").c
    another = select(true()).where(other.idempotency == new.idempotency, other.key != new.key)
    kept = select(*values.values()).where(_is_live(expires), ~another.exists())
    statement = insert(table).from_select(list(values), kept)
    rest = {name: statement.excluded[name] for name in values if name != "key"}
    return statement.on_conflict_do_update(
        index_elements=[columns.key],
        set_=rest,
        where=or_(columns.expires_at <= _NOW, columns.created_at == statement.excluded.created_at),
    ).returning(columns.key)


def _unnest_sessions() -> Any:
    """
    Return the parameters of ``put_arrays`` as the columns of rows.
    """
    arrays = {
        "key": _array_parameter("keys"),
        "session_id": _array_parameter("session_id", Text),
        "client_key": _array_parameter("client_keys"),
        "client_id": _array_parameter("client_id", Text),
        "metadata": _array_parameter("metadata", Text),
        "ttl": _array_parameter("ttl", BigInteger),
        "created": _array_parameter("created", BigInteger),
        "expires": _array_parameter("expires", BigInteger),
        "idempotency": _array_parameter("idempotency"),
        "request": _array_parameter("request"),
    }
    named = [column(name, array.type.item_type) for name, array in arrays.items()]
    return func.unnest(*arrays.values()).table_valued(*named, name="new").render_derived().c


def _array_parameter(name: str, of: Any = LargeBinary) -> Any:
    return bindparam(name, type_=ARRAY(of))


def _given_or(there: ColumnElement[Any]) -> Any:
    return func.coalesce(bindparam("created", type_=BigInteger), there)


def _is_live(expires: ColumnElement[Any], moment: ColumnElement[Any] = _NOW) -> Any:
    return or_(expires.is_(None), expires > moment)


def _add_time(moment: ColumnElement[Any], lifetime: ColumnElement[Any]) -> ColumnElement[Any]:
    return moment + lifetime * _MICROSECOND


def _to_moment(microseconds: ColumnElement[Any]) -> ColumnElement[Any]:
    return _EPOCH + microseconds * _MICROSECOND


def _to_microseconds(moment: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(extract("epoch", moment) * literal_column("1000000"), BigInteger)

"""
What a PostgreSQL registry asks, by the server's clock; each statement is one atomic step.

``statement_timestamp()`` is one moment for the whole of a statement, so that a
session's creation and expiry are measured from the same one, and an index can
be searched for it. A touch that has waited for another one is measured by
``clock_timestamp()``, when it has its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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

from idlanyard.registry._postgresql._table import FOREVER, TERM
from idlanyard.registry._record import Draft, Kept, Row

BATCH: Final = 1000
SWEPT: Final = 128
"""
How many expired sessions a create gives up in passing, where it does.
"""
NEAR: Final = 250
"""
How many sessions more than a page has are looked at in the order of their IDs.
"""
ENDING: Final = 1000
"""
How many sessions of all clients are looked at that are about to end.
"""
TERMS: Final = 200
"""
How many terms the living sessions of a client may have to be found by them.
"""
_NOW: Final = func.statement_timestamp(type_=DateTime(timezone=True))
_TURN: Final = func.clock_timestamp(type_=DateTime(timezone=True))
_MICROSECOND: Final = literal_column("interval '1 microsecond'", Interval())
_ONE: Final = literal_column("1", BigInteger)
_EPOCH: Final = literal_column("timestamptz 'epoch'", DateTime(timezone=True))
_OF_RETRIES: Final = ("idempotency", "request", "requested_at")
_OF_DRAFTS: Final = ("key", "session_id", "client_key", "client_id", "metadata")


class Statements:
    """
    The statements on one table. Their parameters are named as in ``Draft``.

    Attributes:
        insert: keep a session where there is none, or only an expired one.
        insert_sweeping: the same, and give up a few that have expired.
        insert_once: keep a session where neither its ID nor its idempotency key is there.
        insert_once_sweeping: the same, and give up a few that have expired.
        made: the living sessions with the ID or the idempotency key of a draft.
        give_way: forget the expired sessions with either of them.
        read: by ``at``.
        extend: by ``at`` and ``created``, for ``lifetime`` or, where that is null, the time it had.
        delete: by ``at``, and ``created`` where that is not null.
        page: by ``whose``, behind ``after``, ``most`` of them, unless too many are in
            between that have expired: then the last row has nothing but a session ID.
        by_terms: the same, term by term; of too many terms the last row has nothing but a key.
        ordered: the same, however many are in between.
        purge: the next expired sessions, and how many those were.
        count: how many are living.
        walk: all from ``after`` on, in the order of their keys, and whether they live.
        known: the moment, and which of ``keys`` live, with their moments of creation.
        give_all_way: forget the expired sessions with one of ``idempotencies``.
        put: keep sessions as they were elsewhere, and return the keys of those that are kept.
        pause: wait for a moment, at the server.
    """

    def __init__(self, table: Table) -> None:
        columns = table.c
        times = (_microseconds(columns.created_at), _microseconds(columns.expires_at))
        live = _is_live(columns.expires_at)
        this = (columns.key == bindparam("at"), live)
        self.insert: Executable = _insert(table).returning(*times)
        self.insert_sweeping: Executable = _sweeping(table, _insert(table).returning(*times))
        once = _insert_once(table).returning(*times)
        self.insert_once: Executable = once
        self.insert_once_sweeping: Executable = _sweeping(table, once)
        self.made: Executable = _made(table)
        self.give_way: Executable = _give_way(
            table, columns.idempotency == bindparam("idempotency"), columns.key == bindparam("at")
        )
        self.read: Executable = select(*_row(columns)).where(*this)
        self.extend: Executable = _extend(table).returning(*_row(columns))
        chosen = delete(table).where(*this, times[0] == _created(times[0]))
        self.delete: Executable = chosen.returning(*_row(columns))
        self.page: Executable = _page(table)
        self.by_terms: Executable = _by_terms(table)
        ordered = select(*_row(columns)).where(live, *_whose(table))
        ordered = ordered.order_by(columns.client_key, columns.session_id)
        self.ordered: Executable = ordered.limit(bindparam("most", type_=BigInteger))
        gone = _gone(table, BATCH)
        self.purge: Executable = select(func.count()).select_from(gone)
        self.count: Executable = select(func.count()).select_from(table).where(live)
        self.walk: Executable = _walk(table)
        self.known: Executable = _known(table)
        self.give_all_way: Executable = _give_way(
            table, columns.idempotency == func.any(_array("idempotencies"))
        )
        self.put: Executable = _put(table)
        self.pause: Executable = select(func.pg_sleep(literal_column("0.1")))


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


def arrays_of(sessions: Sequence[tuple[bytes, bytes | None, Kept]]) -> dict[str, Any]:
    """
    Return the parameters of ``Statements.put``: sessions with their keys and their clients'.
    """
    return {
        "keys": [key for key, _, _ in sessions],
        "client_keys": [client_key for _, client_key, _ in sessions],
        **{name: [getattr(kept, name) for _, _, kept in sessions] for name in Kept._fields},
    }


def one(rows: Sequence[Any]) -> Row | None:
    """
    Return what was found of the one session that was asked about.
    """
    return Row(*rows[0]) if rows else None


def _row(columns: Any) -> tuple[ColumnElement[Any], ...]:
    times = (_microseconds(columns.created_at), _microseconds(columns.expires_at))
    return (columns.session_id, columns.client_id, columns.metadata, *times)


def _insert(table: Table) -> Any:
    new = _new(table, dict.fromkeys(_OF_RETRIES, null()))
    rest = {column.name: new.excluded[column.name] for column in table.c if column.name != "key"}
    return new.on_conflict_do_update(
        index_elements=[table.c.key], set_=rest, where=table.c.expires_at <= _NOW
    )


def _insert_once(table: Table) -> Any:
    """
    Return a statement that does nothing where anything is in its way.
    """
    return _new(table, {"requested_at": _NOW}).on_conflict_do_nothing()


def _new(table: Table, more: dict[str, Any]) -> Insert:
    lifetime = bindparam("lifetime", type_=BigInteger)
    times = {"ttl": lifetime, "created_at": _NOW, "expires_at": _after(_NOW, lifetime)}
    return insert(table).values(times | more)


def _sweeping(table: Table, statement: Any) -> Any:
    # It is swept after the new session is there, and waits for nobody.
    return statement.add_cte(_gone(table, SWEPT, table.c.key != bindparam("at")))


def _made(table: Table) -> Any:
    columns = table.c
    is_made = _is_made(columns)
    made = and_(columns.idempotency == bindparam("idempotency"), is_made)
    return select(made, columns.request, *_row(columns)).where(
        or_(made, columns.key == bindparam("at")), _is_live(columns.expires_at)
    )


def _is_made(columns: Any) -> ColumnElement[bool]:
    """
    Return whether a session is the one that its idempotency key has made.

    Versions before this one leave the key there when they replace an expired session.
    """
    held: ColumnElement[bool] = columns.requested_at == columns.created_at
    return held


def _give_way(table: Table, idempotency: Any, *others: Any) -> Any:
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


def _extend(table: Table) -> Any:
    columns = table.c
    given = bindparam("lifetime", type_=BigInteger)
    metadata = func.coalesce(bindparam("metadata", type_=Text), columns.metadata)
    created = _microseconds(columns.created_at)
    # Its own time may bring an end nearer; greatest() passes over nulls.
    ends = case(
        (given.is_(None), func.greatest(columns.expires_at, _after(_TURN, columns.ttl))),
        else_=_after(_TURN, given),
    )
    return (
        update(table)
        .where(
            columns.key == bindparam("at"),
            _is_live(columns.expires_at, _TURN),
            created == _created(created),
        )
        .values(ttl=func.coalesce(given, columns.ttl), expires_at=ends, metadata=metadata)
    )


def _whose(table: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    # As one range of an index, which the planner then reads in order, whatever it knows of a
    # table that has just been filled; by two conditions it would rather sort all of them.
    columns = table.c
    whose = bindparam("whose", type_=LargeBinary)
    after = bindparam("after", type_=columns.session_id.type)
    behind = tuple_(columns.client_key, columns.session_id) > tuple_(whose, after)
    return behind, columns.client_key <= whose


def _page(table: Table) -> Any:
    most = bindparam("most", type_=BigInteger)
    near = bindparam("near", type_=BigInteger)
    in_order = (table.c.client_key, table.c.session_id)
    behind = select(table).where(*_whose(table)).order_by(*in_order)
    looked = behind.limit(near).subquery("looked").c
    found = select(*_row(looked)).where(_is_live(looked.expires_at))
    found = found.order_by(looked.client_key, looked.session_id).limit(most)
    # It is looked for only where the page is not full.
    beyond = select(table.c.session_id).where(*_whose(table))
    beyond = beyond.order_by(*in_order).offset(near).limit(_ONE)
    return _or_more(found, beyond, most)


def _by_terms(table: Table) -> Any:
    columns = table.c
    most, many = bindparam("most", type_=BigInteger), bindparam("many", type_=BigInteger)
    is_theirs = columns.client_key == bindparam("whose")
    is_behind = columns.session_id > bindparam("after")
    soonest, terms = _terms(table)
    ending, are_few = _ending(table, soonest)
    soon = select(*_row(ending)).where(
        are_few,
        ending.client_key == bindparam("whose"),
        ending.session_id > bindparam("after"),
        ending.term == soonest,
    )
    near = select(terms.c.term).limit(many).subquery("near")
    # The planner reads each term in order: no other index has both of these conditions.
    living = select(table).where(is_theirs, near.c.term == TERM, is_behind)
    living = living.where(_is_live(columns.expires_at)).order_by(columns.session_id)
    each = living.limit(most).lateral("each")
    later = select(*_row(each.c)).select_from(near.join(each, true()))
    later = later.where(or_(near.c.term > soonest, ~are_few))
    found: Any = union_all(soon, later).subquery("living")
    found = select(found).order_by(found.c.session_id).limit(most)
    beyond = select(null().label("session_id")).select_from(terms).offset(many).limit(_ONE)
    return _or_more(found, beyond, most + _ONE)


def _terms(table: Table) -> tuple[Any, Any]:
    """
    Return a client's first term that is not over, and all of them, one by one.
    """
    of_client = select(TERM.label("term")).where(table.c.client_key == bindparam("whose"))
    of_client = of_client.order_by(TERM).limit(_ONE)
    first = of_client.where(_microseconds(_NOW) <= TERM).cte("soonest")
    terms = select(first.c.term).cte("terms", recursive=True)
    following: Any = of_client.where(terms.c.term < TERM).lateral("following")
    terms = terms.union_all(select(following.c.term).select_from(terms.join(following, true())))
    return select(first.c.term).scalar_subquery(), terms


def _ending(table: Table, soonest: Any) -> tuple[Any, Any]:
    """
    Return the next sessions of anyone that end in a term, and whether those are all of them.

    Most sessions of a term may just have expired; these are what is left of it.
    """
    columns = table.c
    # A term without an end is no moment.
    until = _moment(func.least(soonest, literal_column("253402300800000000", BigInteger)))
    ending = (
        select(table, TERM.label("term"))
        .where(columns.expires_at > _NOW, columns.expires_at <= until)
        .order_by(columns.expires_at)
        .limit(literal_column(str(ENDING)))
        .cte("ending")
    )
    number = select(func.count()).select_from(ending).scalar_subquery()
    return ending.c, and_(number < ENDING, soonest < FOREVER)


def _or_more(found: Any, beyond: Any, most: Any) -> Any:
    more = beyond.subquery("beyond")
    nothing = (null(), null(), cast(null(), BigInteger), cast(null(), BigInteger))
    either = union_all(select(found.subquery("found")), select(more.c.session_id, *nothing))
    return either.limit(most)


def _gone(table: Table, most: int, *only: Any) -> Any:
    # Who touches or replaces a session at this moment keeps it.
    expired = (
        select(table.c.key)
        .where(table.c.expires_at <= _NOW, *only)
        # Else the planner may look through the whole table for the last few.
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


def _walk(table: Table) -> Any:
    columns = table.c
    is_made = _is_made(columns)
    return (
        select(
            columns.key,
            _is_live(columns.expires_at),
            columns.session_id,
            columns.client_id,
            columns.metadata,
            columns.ttl,
            _microseconds(columns.created_at),
            _microseconds(columns.expires_at),
            case((is_made, columns.idempotency)),
            case((is_made, columns.request)),
        )
        .where(columns.key > bindparam("after"))
        .order_by(columns.key)
        .limit(bindparam("most", type_=BigInteger))
    )


def _known(table: Table) -> Any:
    columns = table.c
    moment = select(_microseconds(_NOW).label("now")).subquery("moment")
    there = and_(columns.key == func.any(_array("keys")), _is_live(columns.expires_at))
    return select(moment.c.now, columns.key, _microseconds(columns.created_at)).select_from(
        moment.outerjoin(table, there)
    )


def _put(table: Table) -> Any:
    columns = table.c
    new = _given()
    created, expires = _moment(new.created), _moment(new.expires)
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


def _given() -> Any:
    """
    Return the rows that the parameters of ``arrays_of`` are.
    """
    arrays = {
        "key": _array("keys"),
        "session_id": _array("session_id", Text),
        "client_key": _array("client_keys"),
        "client_id": _array("client_id", Text),
        "metadata": _array("metadata", Text),
        "ttl": _array("ttl", BigInteger),
        "created": _array("created", BigInteger),
        "expires": _array("expires", BigInteger),
        "idempotency": _array("idempotency"),
        "request": _array("request"),
    }
    named = [column(name, array.type.item_type) for name, array in arrays.items()]
    return func.unnest(*arrays.values()).table_valued(*named, name="new").render_derived().c


def _array(name: str, of: Any = LargeBinary) -> Any:
    return bindparam(name, type_=ARRAY(of))


def _created(there: ColumnElement[Any]) -> Any:
    return func.coalesce(bindparam("created", type_=BigInteger), there)


def _is_live(expires: ColumnElement[Any], moment: ColumnElement[Any] = _NOW) -> Any:
    return or_(expires.is_(None), expires > moment)


def _after(moment: ColumnElement[Any], lifetime: ColumnElement[Any]) -> ColumnElement[Any]:
    return moment + lifetime * _MICROSECOND


def _moment(microseconds: ColumnElement[Any]) -> ColumnElement[Any]:
    return _EPOCH + microseconds * _MICROSECOND


def _microseconds(moment: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(extract("epoch", moment) * literal_column("1000000"), BigInteger)

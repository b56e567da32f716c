"""
What each verb asks of a PostgreSQL server, and makes of the rows.

Each is a generator that yields statements with their parameters, and is sent
the rows. It decides, and never waits; see ``_verbs.py``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from idlanyard.registry._exceptions import RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME
from idlanyard.registry._postgresql._layout import Layout
from idlanyard.registry._postgresql._statements import (
    BATCH,
    NEAR,
    TERMS,
    Statements,
    arrays_of,
    one,
    values_of,
)
from idlanyard.registry._questions import (
    Count,
    Delete,
    Extend,
    Insert,
    Page,
    Put,
    Question,
    Read,
    Walk,
)
from idlanyard.registry._record import Draft, Kept, PutResult, Repeated, Row, Stretch

if TYPE_CHECKING:
    from sqlalchemy import Executable

T = TypeVar("T")
Statement: TypeAlias = "tuple[Executable, dict[str, Any]]"
Asking: TypeAlias = Generator[Statement, Sequence[Any], T]

_SWEEPS_EVERY: Final = 32
"""
One of so many creates gives up what has expired; the first of each process is one.
"""
_ATTEMPTS: Final = 5
_LOOKS: Final = 10
_KEY: Final = 32


class Questions:
    """
    The questions about one table. Threads may share it.
    """

    def __init__(self, statements: Statements, layout: Layout) -> None:
        self._statements = statements
        self._layout = layout
        self._creates = count()

    def steps(self, question: Question[Any]) -> Asking[Any]:
        """
        Return the statements that answer a question other than ``Check``.
        """
        match question:
            case Read(key):
                return self.read(key)
            case Insert(draft):
                return self.insert(draft)
            case Extend(key, ttl, metadata, created):
                return self.extend(key, ttl, metadata, created)
            case Delete(key, created):
                return self.delete(key, created)
            case Page(client_key, after, limit):
                return self.page(client_key, after, limit)
            case Count():
                return self.count()
            case Walk(after, limit):
                return self.walk(after, limit)
            case Put(sessions):
                return self.put(sessions)
            case _:
                return self.purge()

    def insert(self, draft: Draft) -> Asking[Row | Repeated | None]:
        """
        As ``Store.insert``.
        """
        statements = self._statements
        sweeps = next(self._creates) % _SWEEPS_EVERY == 0
        if draft.idempotency is not None:
            insert = statements.insert_once_sweeping if sweeps else statements.insert_once
            return (yield from self._insert_once(insert, draft))
        insert = statements.insert_sweeping if sweeps else statements.insert
        values = values_of(draft)
        return _new(draft, (yield insert, values | {"at": draft.key} if sweeps else values))

    def read(self, key: bytes) -> Asking[Row | None]:
        """
        As ``Store.read``.
        """
        return one((yield self._statements.read, {"at": key}))

    def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Asking[Row | None]:
        """
        As ``Store.extend``.
        """
        values = {"at": key, "lifetime": ttl, "metadata": metadata, "created": created}
        return one((yield self._statements.extend, values))

    def delete(self, key: bytes, created: int | None) -> Asking[Row | None]:
        """
        As ``Store.delete``.
        """
        return one((yield self._statements.delete, {"at": key, "created": created}))

    def page(self, client_key: bytes, after: str | None, limit: int) -> Asking[list[Row]]:
        """
        As ``Store.page``.

        Sessions are looked at in the order of their IDs. Where most of those
        have expired, the living ones are looked up, by the terms in which
        they will end; so the cost does not grow with what has expired.
        """
        statements = self._statements
        values: dict[str, Any] = {"whose": client_key, "after": after or "", "most": limit}
        rows = yield statements.page, {**values, "near": limit + NEAR}
        found = _rows(rows)
        if len(found) == len(rows):
            return found
        if self._layout.finds_by_term:
            rows = yield statements.by_terms, {**values, "many": TERMS}
            found = _rows(rows)
            if len(found) == len(rows):
                return found
        return _rows((yield statements.ordered, values))

    def purge(self) -> Asking[int]:
        """
        As ``Store.purge``: in batches, each of them a question of its own.
        """
        purged = 0
        while True:
            batch: int = (yield self._statements.purge, {})[0][0]
            purged += batch
            if batch < BATCH:
                return purged

    def count(self) -> Asking[int]:
        """
        As ``Store.count``.
        """
        counted: int = (yield self._statements.count, {})[0][0]
        return counted

    def walk(self, after: str | None, limit: int) -> Asking[Stretch]:
        """
        As ``Store.walk``: in the order of keys.
        """
        place = b"" if after is None else _place_of(after)
        rows = yield self._statements.walk, {"after": place, "most": limit}
        living = [Kept(*kept) for _, is_live, *kept in rows if is_live]
        return Stretch(living, rows[-1][0].hex() if len(rows) == limit else None)

    def put(self, sessions: Sequence[Kept]) -> Asking[list[PutResult]]:
        """
        As ``Store.put``.
        """
        outcomes: dict[int, PutResult] = {}
        for batch in _apart(sessions):
            outcomes |= yield from self._put(batch)
        return [outcomes[number] for number in range(len(sessions))]

    def _insert_once(self, insert: Executable, draft: Draft) -> Asking[Row | Repeated | None]:
        """
        Insert a session unless its idempotency key has made one, whatever others do meanwhile.
        """
        values = values_of(draft) | {"idempotency": draft.idempotency, "request": draft.request}
        both = {"at": draft.key, "idempotency": draft.idempotency}
        if insert is self._statements.insert_once_sweeping:
            values["at"] = draft.key
        yield from self._keep_retries(both)
        for _ in range(_ATTEMPTS):
            row = _new(draft, (yield insert, values))
            if row is not None:
                return row
            there = yield self._statements.made, both
            for is_made, request, *found in there:
                if is_made:
                    return Repeated(Row(*found), request)
            if there:
                return None
            # What was in the way has expired, or has just ended.
            yield self._statements.give_way, both
        return None

    def _keep_retries(self, both: dict[str, Any]) -> Asking[None]:
        """
        Wait for the index that keeps idempotency keys unique, where it is being made.

        Raises:
            RegistryUnavailable: that takes longer than a moment.
        """
        layout = self._layout
        if not layout.keeps_retries:
            # Any question has the layout looked at first.
            yield self._statements.made, both
        for _ in range(_LOOKS):
            if layout.keeps_retries:
                return
            yield self._statements.pause, {}
            layout.forget()
            yield self._statements.made, both
        raise RegistryUnavailable(SCHEME) from TimeoutError(
            "the index for idempotency keys is being made"
        )

    def _put(self, batch: dict[int, Kept]) -> Asking[dict[int, PutResult]]:
        """
        Put sessions of which no two have an ID or an idempotency key in common.
        """
        keyed = {_digest(kept.session_id): number for number, kept in batch.items()}
        known = yield self._statements.known, {"keys": list(keyed)}
        now = known[0][0]
        moments = {key: created for _, key, created in known}
        idempotencies = [one.idempotency for one in batch.values() if one.idempotency is not None]
        if idempotencies:
            yield self._statements.give_all_way, {"idempotencies": idempotencies}
        rows = [
            (key, None if kept.client_id is None else _digest(kept.client_id), kept)
            for key, kept in zip(keyed, batch.values(), strict=True)
        ]
        stored = {key for (key,) in (yield self._statements.put, arrays_of(rows))}
        outcomes: dict[int, PutResult] = {}
        for key, _, kept in rows:
            if key in stored:
                outcome: PutResult = "same" if moments.get(key) == kept.created else "kept"
            else:
                is_over = kept.expires is not None and kept.expires <= now
                outcome = "expired" if is_over else "taken"
            outcomes[keyed[key]] = outcome
        return outcomes


def _new(draft: Draft, times: Sequence[Any]) -> Row | None:
    return Row(draft.session_id, draft.client_id, draft.metadata, *times[0]) if times else None


def _rows(rows: Sequence[Any]) -> list[Row]:
    """
    Return the sessions on a page, without the row which says that there are more.
    """
    found = [Row(*row) for row in rows if row[2] is not None]
    # The parts of a union come in no order that SQL would promise.
    return sorted(found, key=_by_id)


def _by_id(row: Row) -> bytes:
    return row.session_id.encode()


def _apart(sessions: Sequence[Kept]) -> list[dict[int, Kept]]:
    """
    Return sessions by number, such that two with one ID or key in common are one after another.
    """
    batches: list[dict[int, Kept]] = []
    turns: dict[str | bytes, int] = {}
    for number, kept in enumerate(sessions):
        names = [name for name in (kept.session_id, kept.idempotency) if name is not None]
        turn = max(turns.get(name, 0) for name in names)
        if turn == len(batches):
            batches.append({})
        batches[turn][number] = kept
        turns.update(dict.fromkeys(names, turn + 1))
    return batches


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _place_of(after: str) -> bytes:
    try:
        place = bytes.fromhex(after)
    except ValueError:
        place = b""
    if len(place) != _KEY:
        raise ValueError("this place is not one of postgresql://: begin anew")
    return place

"""
The statements that answer each question to the store, and the answer from their rows.

Each question is answered by a generator. It yields statements, is sent their
rows, and returns the answer. It decides and never waits.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME
from idlanyard.registry._postgresql._faults import is_table_missing
from idlanyard.registry._postgresql._migration import Migration
from idlanyard.registry._postgresql._statements import (
    BATCH,
    NEAR,
    TERMS,
    Statement,
    Statements,
    insert_values,
    put_arrays,
)
from idlanyard.registry._questions import (
    Check,
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
    from sqlalchemy import Executable, Table

T = TypeVar("T")
Asking: TypeAlias = Generator[Statement, Any, T]

_SWEEP_EVERY: Final = 32
"""
One of so many creates deletes expired sessions, and so does the first of each process.
"""
_INSERT_ATTEMPTS: Final = 5
_INDEX_CHECKS: Final = 10
_KEY_BYTES: Final = 32


class Commands:
    """
    The commands of one namespace. Threads may share it.

    Args:
        table: the table of sessions.
        migration: the state of its tables.
    """

    def __init__(self, table: Table, migration: Migration) -> None:
        self._statements = Statements(table)
        self._migration = migration
        self._creates = count()

    def steps(self, question: Question[Any]) -> Asking[Any]:
        """
        Yield the statements that answer a question, and return the answer.

        If the table was dropped, a statement is repeated once, and the table
        created before it.
        """
        asking = self._start(question)
        try:
            statement = next(asking)
            while True:
                try:
                    rows = yield statement
                except RegistryMisconfigured as error:
                    if not is_table_missing(error.__cause__):
                        raise
                    self._migration.reset()
                    rows = yield statement
                statement = asking.send(rows)
        except StopIteration as done:
            return done.value

    def _start(self, question: Question[Any]) -> Asking[Any]:
        match question:
            case Read(key):
                return self._read(key)
            case Insert(draft):
                return self._insert(draft)
            case Extend(key, ttl, metadata, created):
                return self._extend(key, ttl, metadata, created)
            case Delete(key, created):
                return self._delete(key, created)
            case Page(client_key, after, limit):
                return self._page(client_key, after, limit)
            case Count():
                return self._count()
            case Walk(after, limit):
                return self._walk(after, limit)
            case Put(sessions):
                return self._put(sessions)
            case Check():
                return self._check()
            case _:
                return self._purge()

    def _insert(self, draft: Draft) -> Asking[Row | Repeated | None]:
        statements = self._statements
        sweeps = next(self._creates) % _SWEEP_EVERY == 0
        if draft.idempotency is not None:
            insert = statements.insert_once_sweeping if sweeps else statements.insert_once
            return (yield from self._insert_once(insert, draft))
        insert = statements.insert_sweeping if sweeps else statements.insert
        values = insert_values(draft)
        times = yield Statement(insert, values | {"at": draft.key} if sweeps else values)
        return _inserted_row(draft, times)

    def _insert_once(self, insert: Executable, draft: Draft) -> Asking[Row | Repeated | None]:
        """
        Insert a session unless a living one has its idempotency key.
        """
        values = insert_values(draft) | {"idempotency": draft.idempotency, "request": draft.request}
        both = {"at": draft.key, "idempotency": draft.idempotency}
        if insert is self._statements.insert_once_sweeping:
            values["at"] = draft.key
        yield from self._await_retry_index(both)
        for _ in range(_INSERT_ATTEMPTS):
            row = _inserted_row(draft, (yield Statement(insert, values)))
            if row is not None:
                return row
            living = yield Statement(self._statements.made, both)
            for is_made, request, *columns in living:
                if is_made:
                    return Repeated(Row(*columns), request)
            if living:
                return None
            # The conflicting session has expired, or has ended since.
            yield Statement(self._statements.give_way, both)
        return None

    def _await_retry_index(self, both: dict[str, Any]) -> Asking[None]:
        """
        Wait for the index that keeps idempotency keys unique, if it is being created.

        Raises:
            RegistryUnavailable: it was not created in time.
        """
        migration = self._migration
        if not migration.has_retry_index:
            # Any statement prepares the tables first, and updates the attribute.
            yield Statement(self._statements.made, both)
        for _ in range(_INDEX_CHECKS):
            if migration.has_retry_index:
                return
            yield Statement(self._statements.pause, {})
            migration.reset()
            yield Statement(self._statements.made, both)
        raise RegistryUnavailable(SCHEME) from TimeoutError(
            "the index for idempotency keys is being made"
        )

    def _read(self, key: bytes) -> Asking[Row | None]:
        return row_or_none((yield Statement(self._statements.read, {"at": key})))

    def _extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Asking[Row | None]:
        values = {"at": key, "lifetime": ttl, "metadata": metadata, "created": created}
        return row_or_none((yield Statement(self._statements.extend, values)))

    def _delete(self, key: bytes, created: int | None) -> Asking[Row | None]:
        values = {"at": key, "created": created}
        return row_or_none((yield Statement(self._statements.delete, values)))

    def _page(self, client_key: bytes, after: str | None, limit: int) -> Asking[list[Row]]:
        """
        Read a page in the order of IDs or, if most sessions in between have expired, by terms.

        Each is a statement of its own and sees one moment, so no session that
        is touched meanwhile is missed.
        """
        statements = self._statements
        values: dict[str, Any] = {"client": client_key, "after": after or "", "most": limit}
        rows = yield Statement(statements.page, {**values, "near": limit + NEAR})
        found = _sort_rows(rows)
        if len(found) == len(rows):
            return found
        if self._migration.has_term_index:
            rows = yield Statement(statements.by_terms, {**values, "many": TERMS})
            found = _sort_rows(rows)
            if len(found) == len(rows):
                return found
        return _sort_rows((yield Statement(statements.ordered, values)))

    def _purge(self) -> Asking[int]:
        purged = 0
        while True:
            rows = yield Statement(self._statements.purge, {})
            batch: int = rows[0][0]
            purged += batch
            if batch < BATCH:
                return purged

    def _count(self) -> Asking[int]:
        rows = yield Statement(self._statements.count, {})
        counted: int = rows[0][0]
        return counted

    def _walk(self, after: str | None, limit: int) -> Asking[Stretch]:
        """
        Read sessions in the order of their keys.
        """
        place = b"" if after is None else _parse_place(after)
        rows = yield Statement(self._statements.walk, {"after": place, "most": limit})
        living = [Kept(*columns) for _, is_live, *columns in rows if is_live]
        return Stretch(living, rows[-1][0].hex() if len(rows) == limit else None)

    def _put(self, sessions: Sequence[Kept]) -> Asking[list[PutResult]]:
        results: dict[int, PutResult] = {}
        for batch in _split_batches(sessions):
            results |= yield from self._put_batch(batch)
        return [results[number] for number in range(len(sessions))]

    def _put_batch(self, batch: dict[int, Kept]) -> Asking[dict[int, PutResult]]:
        """
        Put sessions of which no two have the same ID or idempotency key.
        """
        numbers = {_hash_id(kept.session_id): number for number, kept in batch.items()}
        known = yield Statement(self._statements.known, {"keys": list(numbers)})
        now = known[0][0]
        moments = {key: created for _, key, created in known}
        keys = [kept.idempotency for kept in batch.values() if kept.idempotency is not None]
        if keys:
            yield Statement(self._statements.give_all_way, {"idempotencies": keys})
        sessions = [
            (key, None if kept.client_id is None else _hash_id(kept.client_id), kept)
            for key, kept in zip(numbers, batch.values(), strict=True)
        ]
        rows = yield Statement(self._statements.put, put_arrays(sessions))
        stored = {key for (key,) in rows}
        results: dict[int, PutResult] = {}
        for key, _, kept in sessions:
            if key in stored:
                result: PutResult = "same" if moments.get(key) == kept.created else "kept"
            else:
                is_over = kept.expires is not None and kept.expires <= now
                result = "expired" if is_over else "taken"
            results[numbers[key]] = result
        return results

    def _check(self) -> Asking[list[str]]:
        sentences: list[str] = yield Statement(None, {})
        return sentences


def row_or_none(rows: Sequence[Any]) -> Row | None:
    """
    Return the row of the only session, if there is one.
    """
    return Row(*rows[0]) if rows else None


def _inserted_row(draft: Draft, times: Sequence[Any]) -> Row | None:
    return Row(draft.session_id, draft.client_id, draft.metadata, *times[0]) if times else None


def _sort_rows(rows: Sequence[Any]) -> list[Row]:
    """
    Return the sessions of a page in order, without the row that marks an incomplete page.
    """
    found = [Row(*row) for row in rows if row[2] is not None]
    # SQL promises no order for the rows of a UNION ALL.
    return sorted(found, key=_sort_key)


def _sort_key(row: Row) -> bytes:
    return row.session_id.encode()


def _split_batches(sessions: Sequence[Kept]) -> list[dict[int, Kept]]:
    """
    Split sessions into batches, by number, of which none has an ID or idempotency key twice.
    """
    batches: list[dict[int, Kept]] = []
    next_batch: dict[str | bytes, int] = {}
    for number, kept in enumerate(sessions):
        names = [name for name in (kept.session_id, kept.idempotency) if name is not None]
        batch = max(next_batch.get(name, 0) for name in names)
        if batch == len(batches):
            batches.append({})
        batches[batch][number] = kept
        next_batch.update(dict.fromkeys(names, batch + 1))
    return batches


def _hash_id(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _parse_place(after: str) -> bytes:
    try:
        place = bytes.fromhex(after)
    except ValueError:
        place = b""
    if len(place) != _KEY_BYTES:
        raise ValueError("this place is not one of postgresql://: begin anew")
    return place

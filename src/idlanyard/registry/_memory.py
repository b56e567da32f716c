"""
``memory://``: sessions in this process, for tests and for a single worker.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from hashlib import sha256
from heapq import heappop, heappush
from threading import Lock
from typing import Any, Final, NamedTuple, TypeVar

from idlanyard.exceptions import PolicyError
from idlanyard.registry._questions import (
    Check,
    Count,
    Delete,
    Extend,
    Insert,
    Page,
    Purge,
    Put,
    Question,
    Read,
    Walk,
)
from idlanyard.registry._record import Kept, PutResult, Repeated, Row, Stretch

T = TypeVar("T")

_SWEPT: Final = 4
"""
The most expired sessions that one create removes: more than it adds, so that none pile up.
"""
_BATCH: Final = 1000


class _Held(NamedTuple):
    kept: Kept
    client_key: bytes | None

    def is_live(self, now: int) -> bool:
        return self.kept.expires is None or self.kept.expires > now


class _Index:
    """
    One client's sessions, sorted when they are read.
    """

    __slots__ = ("gone", "keys", "order")

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.order: list[bytes] | None = None
        self.gone = 0

    def add(self, name: bytes, key: bytes) -> None:
        self.keys[name] = key
        if self.order is not None and (not self.order or self.order[-1] < name):
            self.order.append(name)
        else:
            self.order = None

    def remove(self, name: bytes) -> None:
        del self.keys[name]
        self.gone += 1
        # Removed names stay in the order until they are more than the others: a removal is O(1).
        if self.gone > len(self.keys):
            self.order, self.gone = None, 0

    def sorted_names(self, after: str | None) -> tuple[list[bytes], int]:
        if self.order is None:
            self.order, self.gone = sorted(self.keys), 0
        return self.order, 0 if after is None else bisect_right(self.order, after.encode())


class Sessions:
    """
    A dictionary and a lock, with one method for each question.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[bytes, _Held] = {}
        self._clients: dict[bytes, _Index] = {}
        self._creates: dict[bytes, bytes] = {}
        # A heap of the moments at which sessions may have expired; some were extended since.
        self._ends: list[tuple[int, bytes]] = []
        self._order: list[bytes] = []

    def page_swept(self, question: Page) -> list[Row]:
        """
        Return a page of sessions, after a purge.
        """
        rows: list[Row] = []
        with self._lock:
            index = self._clients.get(question.client_key)
            if index is None:
                return rows
            now = time.time_ns() // 1000
            order, start = index.sorted_names(question.after)
            for place in range(start, len(order)):
                # An ended session stays in the order until the order is sorted again.
                held = self._held.get(index.keys.get(order[place], b""))
                if held is not None and held.is_live(now):
                    rows.append(held.kept.row())
                    if len(rows) == question.limit:
                        break
        return rows

    def purge_batches(self) -> Iterator[int]:
        """
        Remove the expired sessions in batches, and yield the number of each batch.
        """
        now = time.time_ns() // 1000
        while True:
            with self._lock:
                if not self._ends or self._ends[0][0] > now:
                    return
                swept = self._sweep(now, _BATCH)
            yield swept

    def insert(self, question: Insert) -> Row | Repeated | None:
        draft = question.draft
        with self._lock:
            now = time.time_ns() // 1000
            self._sweep(now, _SWEPT)
            before = self._find_repeated(draft.idempotency, now)
            if before is not None:
                return Repeated(before.kept.row(), before.kept.request or b"")
            if self._is_taken(draft.key, now):
                return None
            expires = None if draft.ttl is None else now + draft.ttl
            _, session_id, client_key, client_id, metadata, ttl, idempotency, request = draft
            kept = Kept(session_id, client_id, metadata, ttl, now, expires, idempotency, request)
            self._hold(draft.key, _Held(kept, client_key))
            return kept.row()

    def read(self, question: Read) -> Row | None:
        held = self._held.get(question.key)
        return held.kept.row() if held and held.is_live(time.time_ns() // 1000) else None

    def extend(self, question: Extend) -> Row | None:
        key, ttl, created = question.key, question.ttl, question.created
        with self._lock:
            now = time.time_ns() // 1000
            held = self._held.get(key)
            if held is None or not held.is_live(now) or created not in (None, held.kept.created):
                return None
            kept = held.kept
            if question.metadata is not None:
                kept = kept._replace(metadata=question.metadata)
            lifetime = kept.ttl if ttl is None else ttl
            if lifetime is not None:
                ends = now + lifetime
                if ttl is None and kept.expires is not None:
                    ends = max(ends, kept.expires)
                kept = kept._replace(ttl=lifetime, expires=ends)
                if held.kept.expires is None or ends < held.kept.expires:
                    heappush(self._ends, (ends, key))
            self._held[key] = _Held(kept, held.client_key)
            return kept.row()

    def delete(self, question: Delete) -> Row | None:
        with self._lock:
            held = self._held.get(question.key)
            if held is None or question.created not in (None, held.kept.created):
                return None
            self._forget(question.key, held)
            return held.kept.row() if held.is_live(time.time_ns() // 1000) else None

    def page(self, question: Page) -> list[Row]:
        # Otherwise each page would pass over the same expired sessions again.
        self.purge()
        return self.page_swept(question)

    def purge(self, _: Purge | None = None) -> int:
        return sum(self.purge_batches())

    def count(self, _: Count) -> int:
        with self._lock:
            now = time.time_ns() // 1000
            return sum(held.is_live(now) for held in self._held.values())

    def walk(self, question: Walk) -> Stretch:
        """
        Return the next sessions, in the order of the keys at the start of the walk.
        """
        after, limit = question.after, question.limit
        with self._lock:
            now = time.time_ns() // 1000
            if after is None or not self._order:
                self._order = sorted(self._held)
            start = 0 if after is None else bisect_right(self._order, _parse_place(after))
            keys = self._order[start : start + limit]
            held = filter(None, map(self._held.get, keys))
            live = [one.kept for one in held if one.is_live(now)]
            if start + limit < len(self._order):
                return Stretch(live, keys[-1].hex())
            self._order = []
            return Stretch(live, None)

    def put(self, question: Put) -> list[PutResult]:
        with self._lock:
            now = time.time_ns() // 1000
            return [self._put_one(kept, now) for kept in question.sessions]

    def check(self, _: Check) -> list[str]:
        return []

    def _put_one(self, kept: Kept, now: int) -> PutResult:
        if kept.expires is not None and kept.expires <= now:
            return "expired"
        key = sha256(kept.session_id.encode()).digest()
        there = self._held.get(key)
        is_same = there is not None and there.is_live(now) and there.kept.created == kept.created
        before = self._find_repeated(kept.idempotency, now)
        if before is not None and before.kept.session_id != kept.session_id:
            return "taken"
        if there is not None and is_same:
            self._forget(key, there)
        elif self._is_taken(key, now):
            return "taken"
        client_key = None if kept.client_id is None else sha256(kept.client_id.encode()).digest()
        self._hold(key, _Held(kept, client_key))
        return "same" if is_same else "kept"

    def _is_taken(self, key: bytes, now: int) -> bool:
        there = self._held.get(key)
        if there is not None and not there.is_live(now):
            self._forget(key, there)
            return False
        return there is not None

    def _find_repeated(self, idempotency: bytes | None, now: int) -> _Held | None:
        """
        Return the living session of this idempotency key.
        """
        if idempotency is None:
            return None
        held = self._held.get(self._creates.get(idempotency, b""))
        return held if held is not None and held.is_live(now) else None

    def _hold(self, key: bytes, held: _Held) -> None:
        kept = held.kept
        self._held[key] = held
        if held.client_key is not None:
            index = self._clients.setdefault(held.client_key, _Index())
            index.add(kept.session_id.encode(), key)
        if kept.idempotency is not None:
            self._creates[kept.idempotency] = key
        if kept.expires is not None:
            heappush(self._ends, (kept.expires, key))

    def _sweep(self, now: int, most: int) -> int:
        """
        Remove at most so many expired sessions, and return their number.
        """
        swept = 0
        for _ in range(most):
            if not self._ends or self._ends[0][0] > now:
                break
            _, key = heappop(self._ends)
            held = self._held.get(key)
            if held is None or held.kept.expires is None:
                continue
            if held.is_live(now):
                heappush(self._ends, (held.kept.expires, key))
                continue
            self._forget(key, held)
            swept += 1
        return swept

    def _forget(self, key: bytes, held: _Held) -> None:
        del self._held[key]
        kept = held.kept
        if self._creates.get(kept.idempotency or b"") == key:
            del self._creates[kept.idempotency or b""]
        if held.client_key is not None:
            index = self._clients[held.client_key]
            index.remove(kept.session_id.encode())
            if not index.keys:
                del self._clients[held.client_key]


_ANSWERS: dict[type[Question[Any]], Callable[[Sessions, Any], Any]] = {
    Insert: Sessions.insert,
    Read: Sessions.read,
    Extend: Sessions.extend,
    Delete: Sessions.delete,
    Page: Sessions.page,
    Purge: Sessions.purge,
    Count: Sessions.count,
    Walk: Sessions.walk,
    Put: Sessions.put,
    Check: Sessions.check,
}


class MemoryStore:
    """
    Sessions that threads share; see ``Store``.
    """

    def __init__(self) -> None:
        self._sessions = Sessions()

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        answer: T = _ANSWERS[type(question)](self._sessions, question)
        return answer

    def close(self) -> None:
        """
        Do nothing: the sessions live as long as the registry.
        """


class AsyncMemoryStore:
    """
    Sessions on an event loop, which no question blocks for long; see ``AsyncStore``.
    """

    def __init__(self) -> None:
        self._sessions = Sessions()

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question. A purge yields to the event loop between batches.
        """
        answer: T = await self._answer(question)
        return answer

    async def close(self) -> None:
        """
        Do nothing: the sessions live as long as the registry.
        """

    async def _answer(self, question: Question[Any]) -> Any:
        if isinstance(question, Purge):
            return await self._purge()
        if isinstance(question, Page):
            await self._purge()
            return self._sessions.page_swept(question)
        return _ANSWERS[type(question)](self._sessions, question)

    async def _purge(self) -> int:
        purged = 0
        for batch in self._sessions.purge_batches():
            purged += batch
            await asyncio.sleep(0)
        return purged


def store(url: str, **_: object) -> MemoryStore:
    """
    Return the store of ``memory://``.

    Raises:
        PolicyError: the URL has more than a scheme.
    """
    _check_url(url)
    return MemoryStore()


def async_store(url: str, **_: object) -> AsyncMemoryStore:
    """
    Return the store of ``memory://`` for an event loop.

    Raises:
        PolicyError: the URL has more than a scheme.
    """
    _check_url(url)
    return AsyncMemoryStore()


def _check_url(url: str) -> None:
    if url not in ("memory:", "memory://"):
        raise PolicyError.about("url", "has more than memory:// takes: write 'memory://'")


def _parse_place(after: str) -> bytes:
    try:
        return bytes.fromhex(after)
    except ValueError:
        raise ValueError("this place is not one of memory://: begin anew") from None

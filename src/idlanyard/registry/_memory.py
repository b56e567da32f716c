"""
``memory://``: sessions in this process, for tests and for a single worker.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from threading import Lock
from typing import NamedTuple

from idlanyard.exceptions import PolicyError
from idlanyard.registry._record import Draft, Row


class _Kept(NamedTuple):
    row: Row
    client_key: bytes | None
    ttl: int | None

    def is_live(self, now: int) -> bool:
        return self.row.expires is None or self.row.expires > now


class _Index:
    """
    One client's sessions, put in order when somebody looks.
    """

    __slots__ = ("keys", "order")

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.order: list[bytes] | None = None

    def add(self, name: bytes, key: bytes) -> None:
        self.keys[name] = key
        if self.order is not None and (not self.order or self.order[-1] < name):
            self.order.append(name)
        else:
            self.order = None

    def behind(self, after: str | None) -> tuple[list[bytes], int]:
        if self.order is None:
            self.order = sorted(self.keys)
        return self.order, 0 if after is None else bisect_right(self.order, after.encode())


class MemoryStore:
    """
    A dictionary and a lock; see ``Store``.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[bytes, _Kept] = {}
        self._clients: dict[bytes, _Index] = {}

    def insert(self, draft: Draft) -> Row | None:
        """
        As ``Store.insert``.
        """
        with self._lock:
            now = time.time_ns() // 1000
            there = self._kept.get(draft.key)
            if there is not None:
                if there.is_live(now):
                    return None
                self._forget(draft.key, there)
            expires = None if draft.ttl is None else now + draft.ttl
            row = Row(draft.session_id, draft.client_id, draft.metadata, now, expires)
            self._kept[draft.key] = _Kept(row, draft.client_key, draft.ttl)
            if draft.client_key is not None:
                index = self._clients.setdefault(draft.client_key, _Index())
                index.add(draft.session_id.encode(), draft.key)
            return row

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        kept = self._kept.get(key)
        return kept.row if kept is not None and kept.is_live(time.time_ns() // 1000) else None

    def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``Store.extend``.
        """
        with self._lock:
            now = time.time_ns() // 1000
            kept = self._kept.get(key)
            if kept is None or not kept.is_live(now):
                return None
            ttl = kept.ttl if ttl is None else ttl
            row = kept.row._replace(expires=None if ttl is None else now + ttl)
            self._kept[key] = _Kept(row, kept.client_key, ttl)
            return row

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or created not in (None, kept.row.created):
                return None
            self._forget(key, kept)
            return kept.row if kept.is_live(time.time_ns() // 1000) else None

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        rows: list[Row] = []
        with self._lock:
            index = self._clients.get(client_key)
            if index is None:
                return rows
            now = time.time_ns() // 1000
            order, start = index.behind(after)
            for place in range(start, len(order)):
                # What was ended since stays in the order until it is made anew.
                kept = self._kept.get(index.keys.get(order[place], b""))
                if kept is not None and kept.is_live(now):
                    rows.append(kept.row)
                    if len(rows) == limit:
                        break
        return rows

    def purge(self) -> int:
        """
        As ``Store.purge``.
        """
        with self._lock:
            now = time.time_ns() // 1000
            dead = [(key, kept) for key, kept in self._kept.items() if not kept.is_live(now)]
            for key, kept in dead:
                self._forget(key, kept)
            return len(dead)

    def close(self) -> None:
        """
        As ``Store.close``: the sessions stay until the registry goes.
        """

    def _forget(self, key: bytes, kept: _Kept) -> None:
        del self._kept[key]
        if kept.client_key is not None:
            index = self._clients[kept.client_key]
            del index.keys[kept.row.session_id.encode()]
            if not index.keys:
                del self._clients[kept.client_key]


class AsyncMemoryStore:
    """
    The same for an event loop, which it never makes wait; see ``AsyncStore``.
    """

    def __init__(self) -> None:
        self._store = MemoryStore()

    async def insert(self, draft: Draft) -> Row | None:
        """
        As ``AsyncStore.insert``.
        """
        return self._store.insert(draft)

    async def read(self, key: bytes) -> Row | None:
        """
        As ``AsyncStore.read``.
        """
        return self._store.read(key)

    async def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``AsyncStore.extend``.
        """
        return self._store.extend(key, ttl)

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``AsyncStore.delete``.
        """
        return self._store.delete(key, created)

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``AsyncStore.page``.
        """
        return self._store.page(client_key, after, limit)

    async def purge(self) -> int:
        """
        As ``AsyncStore.purge``.
        """
        return self._store.purge()

    async def close(self) -> None:
        """
        As ``AsyncStore.close``.
        """


def store(url: str, **_: object) -> MemoryStore:
    """
    Return the store of ``memory://``.

    Raises:
        PolicyError: the URL says more.
    """
    _only(url)
    return MemoryStore()


def async_store(url: str, **_: object) -> AsyncMemoryStore:
    """
    Return the same for an event loop.

    Raises:
        PolicyError: the URL says more.
    """
    _only(url)
    return AsyncMemoryStore()


def _only(url: str) -> None:
    if url not in ("memory:", "memory://"):
        raise PolicyError.about("url", "names nothing in memory: write 'memory://'")

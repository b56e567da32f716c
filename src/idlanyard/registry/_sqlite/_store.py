"""
The stores of ``sqlite://``: one waits, the other has threads that wait.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import time_ns
from typing import Final

from idlanyard.registry._record import Draft, Row
from idlanyard.registry._sqlite._address import path_of, refuse_old, refuse_reserved
from idlanyard.registry._sqlite._file import File, Place
from idlanyard.registry._sqlite._layout import Layout
from idlanyard.registry._sqlite._threaded import ThreadedStore

_BATCH: Final = 200


class SQLiteStore:
    """
    One file; see ``Store``.

    It has two connections, so that no reader waits for a writer's disk. What
    is asked after ``close`` connects anew.
    """

    def __init__(self, path: Path, *, timeout: float, namespace: str) -> None:
        self._place = Place(path)
        self._sql = Layout(namespace)
        self._writer = File(self._place, self._sql.prepare, timeout)
        self._reader = File(self._place, self._sql.prepare, timeout)
        self._closings = 0

    def insert(self, draft: Draft) -> Row | None:
        """
        As ``Store.insert``.
        """
        return self._writer.ask(self._insert, draft)

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return self._reader.ask(self._read, key)

    def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        As ``Store.extend``.
        """
        return self._writer.ask(self._extend, key, ttl)

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        return self._writer.ask(self._delete, key, created)

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        return self._reader.ask(self._page, client_key, after or "", limit)

    def purge(self) -> int:
        """
        As ``Store.purge``: in batches, between which others have their turn; ``close`` ends it.
        """
        now, closings, purged = time_ns() // 1000, self._closings, 0
        while closings == self._closings:
            batch = self._writer.ask(self._purge, now)
            purged += batch
            if batch < _BATCH:
                break
        return purged

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        self._closings += 1
        self._writer.close()
        self._reader.close()
        self._place.known = False

    def _insert(self, connection: sqlite3.Connection, draft: Draft) -> Row | None:
        now = time_ns() // 1000
        expires = None if draft.ttl is None else now + draft.ttl
        done = connection.execute(self._sql.insert, (*draft, now, expires))
        if not done.rowcount:
            return None
        return Row(draft.session_id, draft.client_id, draft.metadata, now, expires)

    def _read(self, connection: sqlite3.Connection, key: bytes) -> Row | None:
        found = connection.execute(self._sql.read, (key, time_ns() // 1000)).fetchone()
        return None if found is None else Row._make(found)

    def _extend(self, connection: sqlite3.Connection, key: bytes, ttl: int | None) -> Row | None:
        values = {"key": key, "ttl": ttl, "now": time_ns() // 1000}
        found = connection.execute(self._sql.extend, values).fetchone()
        return None if found is None else Row._make(found)

    def _delete(
        self, connection: sqlite3.Connection, key: bytes, created: int | None
    ) -> Row | None:
        now = time_ns() // 1000
        found = connection.execute(self._sql.delete, (key, created)).fetchone()
        if found is None:
            return None
        row = Row._make(found)
        return row if row.expires is None or row.expires > now else None

    def _page(
        self, connection: sqlite3.Connection, client_key: bytes, after: str, limit: int
    ) -> list[Row]:
        values = (client_key, after, time_ns() // 1000, limit)
        return [Row._make(found) for found in connection.execute(self._sql.page, values)]

    def _purge(self, connection: sqlite3.Connection, now: int) -> int:
        return connection.execute(self._sql.purge, (now, _BATCH)).rowcount


def store(url: str, *, timeout: float, namespace: str, **_: object) -> SQLiteStore:
    """
    Return the store of a file.

    Raises:
        PolicyError: the URL names no file, or the namespace no table.
    """
    refuse_old()
    refuse_reserved(namespace)
    return SQLiteStore(path_of(url), timeout=timeout, namespace=namespace)


def async_store(url: str, *, scheme: str, timeout: float, namespace: str) -> ThreadedStore:
    """
    Return the same for an event loop.

    Raises:
        PolicyError: the URL names no file, or the namespace no table.
    """
    waiting = store(url, timeout=timeout, namespace=namespace)
    return ThreadedStore(waiting, scheme=scheme, timeout=timeout)

"""
The store of ``sqlite://``, for code that waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import Final

from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch
from idlanyard.registry._sqlite._faults import sentences_on
from idlanyard.registry._sqlite._file import File
from idlanyard.registry._sqlite._layout import Layout
from idlanyard.registry._sqlite._patience import Patience
from idlanyard.registry._sqlite._place import Place
from idlanyard.registry._sqlite._questions import Questions

_BATCH: Final = 200


class Files:
    """
    The connections to one file, so that who looks one session up waits for nobody.

    Attributes:
        writer: for what changes the file, which waits for the disk.
        reader: for what looks up one session.
        finder: for what goes through many.
        closings: how often they have been closed.
    """

    def __init__(self, path: Path, layout: Layout, timeout: float) -> None:
        self.place = Place(path)
        self.layout = layout
        self.timeout = timeout
        self.writer = File(self.place, layout.prepare, timeout)
        self.reader = File(self.place, layout.prepare, timeout, reads_only=True)
        self.finder = File(self.place, layout.prepare, timeout, reads_only=True)
        self.closings = 0

    def close(self) -> None:
        """
        End the connections; what is asked later begins new ones.
        """
        self.closings += 1
        for one in (self.writer, self.reader, self.finder):
            one.close()
        self.place.known = False


class Verbs:
    """
    What a file is asked, by who has so much patience.

    Args:
        files: the connections.
        questions: what they are asked.
        patience: how long a verb may take; ``None`` is the timeout of the files.
    """

    __slots__ = ("_files", "_patience", "_questions")

    def __init__(self, files: Files, questions: Questions, patience: Patience | None) -> None:
        self._files = files
        self._questions = questions
        self._patience = patience

    def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``Store.insert``.
        """
        return self._files.writer.ask(self._patience, self._questions.insert, draft)

    def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        return self._files.reader.ask(self._patience, self._questions.read, key)

    def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``Store.extend``.
        """
        question = self._questions.extend
        return self._files.writer.ask(self._patience, question, key, ttl, metadata, created)

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        return self._files.writer.ask(self._patience, self._questions.delete, key, created)

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        question = self._questions.page
        return self._files.finder.ask(self._patience, question, client_key, after or "", limit)

    def purge(self) -> int:
        """
        As ``Store.purge``: in batches, between which others have their turn; ``close`` ends it.
        """
        files = self._files
        now, closings, purged = time_ns() // 1000, files.closings, 0
        while closings == files.closings:
            batch = files.writer.ask(self._patience, self._questions.purge, now, _BATCH)
            purged += batch
            if batch < _BATCH:
                patience = self._patience or Patience.of(files.timeout)
                files.writer.ask(patience, files.layout.index, patience)
                break
        return purged

    def count(self) -> int:
        """
        As ``Store.count``.
        """
        return self._files.finder.ask(self._patience, self._questions.count)

    def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``Store.walk``: in the order of keys.
        """
        place = b"" if after is None else _place_of(after)
        return self._files.finder.ask(self._patience, self._questions.walk, place, limit)

    def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``Store.put``: all of them in one transaction.
        """
        return self._files.writer.ask(self._patience, self._questions.put, sessions)

    def check(self) -> list[str]:
        """
        As ``Store.check``: reads, and writes what is there already.
        """
        self._files.reader.ask(self._patience, self._questions.read, b"")
        return self._files.writer.ask(self._patience, self._check)

    def _check(self, connection: sqlite3.Connection) -> list[str]:
        self._questions.attempt(connection)
        sentences = sentences_on(connection, self._files.place.path)
        if not self._files.layout.is_indexed(connection):
            sentences.append(
                "the session registry's file has an index of an older version, with which find "
                "is slow: run purge_expired() once, or 'python -m idlanyard registry purge'"
            )
        return sentences


class SQLiteStore(Verbs):
    """
    One file; see ``Store``. What is asked after ``close`` connects anew.
    """

    __slots__ = ()

    def __init__(self, path: Path, *, timeout: float, namespace: str) -> None:
        files = Files(path, Layout(namespace), timeout)
        super().__init__(files, Questions(namespace), None)

    def within(self, patience: Patience) -> Verbs:
        """
        Return the verbs for who has so much patience.
        """
        return Verbs(self._files, self._questions, patience)

    def close(self) -> None:
        """
        As ``Store.close``.
        """
        self._files.close()


def _place_of(after: str) -> bytes:
    try:
        return bytes.fromhex(after)
    except ValueError:
        raise ValueError("this place is not one of sqlite://: begin anew") from None

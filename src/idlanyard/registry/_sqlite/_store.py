"""
The store of ``sqlite://``, for code that waits.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import time_ns
from typing import Any, Final, TypeVar

from idlanyard.registry._questions import (
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
from idlanyard.registry._sqlite._faults import sentences_on
from idlanyard.registry._sqlite._file import File
from idlanyard.registry._sqlite._layout import Layout
from idlanyard.registry._sqlite._patience import Patience
from idlanyard.registry._sqlite._place import Place
from idlanyard.registry._sqlite._questions import Questions

T = TypeVar("T")
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


class SQLiteStore:
    """
    One file; see ``Store``. A question after ``close`` connects anew.
    """

    def __init__(self, path: Path, *, timeout: float, namespace: str) -> None:
        self._files = Files(path, Layout(namespace), timeout)
        self._questions = Questions(namespace)

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        return self.answer(question, None)

    def answer(self, question: Question[T], patience: Patience | None) -> T:
        """
        Return the answer to a question, unless *patience* ends first; ``None`` is the timeout.
        """
        answer: T = self._answer(question, patience)
        return answer

    def close(self) -> None:
        """
        Close the connections.
        """
        self._files.close()

    def _answer(self, question: Question[Any], patience: Patience | None) -> Any:
        files, asked = self._files, self._questions
        match question:
            case Read(key):
                return files.reader.ask(patience, asked.read, key)
            case Insert(draft):
                return files.writer.ask(patience, asked.insert, draft)
            case Extend(key, ttl, metadata, created):
                return files.writer.ask(patience, asked.extend, key, ttl, metadata, created)
            case Delete(key, created):
                return files.writer.ask(patience, asked.delete, key, created)
            case Page(client_key, after, limit):
                return files.finder.ask(patience, asked.page, client_key, after or "", limit)
            case Count():
                return files.finder.ask(patience, asked.count)
            case Walk(after, limit):
                place = b"" if after is None else _place_of(after)
                return files.finder.ask(patience, asked.walk, place, limit)
            case Put(sessions):
                return files.writer.ask(patience, asked.put, sessions)
            case Purge():
                return self._purge(patience)
            case _:
                files.reader.ask(patience, asked.read, b"")
                return files.writer.ask(patience, self._check)

    def _purge(self, patience: Patience | None) -> int:
        """
        Purge in batches, between which other questions are answered; ``close`` ends it.
        """
        files = self._files
        now, closings, purged = time_ns() // 1000, files.closings, 0
        while closings == files.closings:
            batch = files.writer.ask(patience, self._questions.purge, now, _BATCH)
            purged += batch
            if batch < _BATCH:
                patience = patience or Patience.of(files.timeout)
                files.writer.ask(patience, files.layout.index, patience)
                break
        return purged

    def _check(self, connection: sqlite3.Connection) -> list[str]:
        self._questions.attempt(connection)
        sentences = sentences_on(connection, self._files.place.path)
        if not self._files.layout.is_indexed(connection):
            sentences.append(
                "the session registry's file has an index of an older version, with which find "
                "is slow: run purge_expired() once, or 'python -m idlanyard registry purge'"
            )
        return sentences


def _place_of(after: str) -> bytes:
    try:
        return bytes.fromhex(after)
    except ValueError:
        raise ValueError("this place is not one of sqlite://: begin anew") from None

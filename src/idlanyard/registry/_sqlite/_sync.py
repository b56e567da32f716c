"""
The store of ``sqlite://`` for sync code.
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
from idlanyard.registry._sqlite._commands import Commands
from idlanyard.registry._sqlite._connections import Connections, Patience
from idlanyard.registry._sqlite._files import list_weaknesses
from idlanyard.registry._sqlite._schema import Schema

T = TypeVar("T")

_BATCH: Final = 200


class SQLiteStore:
    """
    A store in one file; see ``Store``. A question after ``close`` connects again.
    """

    def __init__(self, path: Path, *, timeout: float, namespace: str) -> None:
        self._schema = Schema(namespace)
        self._commands = Commands(namespace)
        self._connections = Connections(path, self._schema.prepare, timeout)

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
        self._connections.close()

    def _answer(self, question: Question[Any], patience: Patience | None) -> Any:
        connections, commands = self._connections, self._commands
        match question:
            case Read(key):
                return connections.reader.ask(patience, commands.read, key)
            case Insert(draft):
                return connections.writer.ask(patience, commands.insert, draft)
            case Extend(key, ttl, metadata, created):
                extend = commands.extend
                return connections.writer.ask(patience, extend, key, ttl, metadata, created)
            case Delete(key, created):
                return connections.writer.ask(patience, commands.delete, key, created)
            case Page(client_key, after, limit):
                page = commands.page
                return connections.finder.ask(patience, page, client_key, after or "", limit)
            case Count():
                return connections.finder.ask(patience, commands.count)
            case Walk(after, limit):
                start = b"" if after is None else _parse_after(after)
                return connections.finder.ask(patience, commands.walk, start, limit)
            case Put(sessions):
                return connections.writer.ask(patience, commands.put, sessions)
            case Purge():
                return self._purge(patience)
            case _:
                connections.reader.ask(patience, commands.read, b"")
                return connections.writer.ask(patience, self._check)

    def _purge(self, patience: Patience | None) -> int:
        """
        Purge in batches, between which others may write; ``close`` ends it.
        """
        connections = self._connections
        now, closings, purged = time_ns() // 1000, connections.closings, 0
        while closings == connections.closings:
            batch = connections.writer.ask(patience, self._commands.purge, now, _BATCH)
            purged += batch
            if batch < _BATCH:
                patience = patience or Patience.of(connections.timeout)
                connections.writer.ask(patience, self._schema.make_indexes, patience)
                break
        return purged

    def _check(self, connection: sqlite3.Connection) -> list[str]:
        self._commands.attempt(connection)
        sentences = list_weaknesses(connection, self._connections.path)
        if not self._schema.is_indexed(connection):
            sentences.append(
                "the session registry's file has an index of an older version, with which find "
                "is slow: run purge_expired() once, or 'python -m idlanyard registry purge'"
            )
        return sentences


def _parse_after(after: str) -> bytes:
    try:
        return bytes.fromhex(after)
    except ValueError:
        raise ValueError("this place is not one of sqlite://: begin anew") from None

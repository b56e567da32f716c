"""
One connection of the pool, and what can be seen of it without asking the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

if TYPE_CHECKING:
    from psycopg import BaseConnection

_TELLS: Final = (b"in_hot_standby", b"default_transaction_read_only")


class Link:
    """
    A connection, detached from the pools of SQLAlchemy and of psycopg.

    Attributes:
        connection: SQLAlchemy's ``Connection`` or ``AsyncConnection``.
        generation: the generation of the pool in which it was opened.
        has_answered: whether the server has answered a question by it.
        is_new: whether it was opened for the question at hand.
    """

    __slots__ = ("_driver", "_was_writable", "connection", "generation", "has_answered", "is_new")

    def __init__(self, connection: Any, driver: BaseConnection[Any], generation: int) -> None:
        self.connection = connection
        self.generation = generation
        self.has_answered = False
        self.is_new = True
        self._driver = driver
        self._was_writable = self._is_writable()

    def is_alive(self) -> bool:
        """
        Return whether it can be asked: the server has not ended it, as far as has arrived here.

        What is read first may be its last words, and only what is read next the end.
        """
        wire = self._driver.pgconn
        try:
            if wire.status == ConnStatus.OK:
                wire.consume_input()
                wire.consume_input()
        except psycopg.OperationalError:
            return False
        return wire.status == ConnStatus.OK and wire.transaction_status == TransactionStatus.IDLE

    def is_demoted(self) -> bool:
        """
        Return whether the server took writes before, and now says that it does not.

        PostgreSQL 14 and later say so beside their answers.
        """
        is_writable = self._is_writable()
        if is_writable:
            self._was_writable = True
        return self._was_writable and not is_writable

    def close(self) -> None:
        """
        Hang up, at once and from any thread. Twice is harmless.
        """
        self._driver.pgconn.finish()

    def _is_writable(self) -> bool:
        wire = self._driver.pgconn
        return all(wire.parameter_status(name) != b"on" for name in _TELLS)

"""
The connections that threads share, and how they take the steps of a question.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._drive import drive
from idlanyard.registry._postgresql._attempts import (
    PATIENCE,
    ROOM,
    Ask,
    Attempts,
    Look,
    NoPlace,
    Step,
    Wait,
    failure_of,
)
from idlanyard.registry._postgresql._connections import deadline, engine_of, link_of, opening
from idlanyard.registry._postgresql._links import Link
from idlanyard.registry._postgresql._places import Places

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from idlanyard.registry._urls import Pool

T = TypeVar("T")


class _Home(NamedTuple):
    """
    What belongs to one process.
    """

    engine: Engine
    places: Places


class SyncPool:
    """
    The pool of each process. After a fork, the child leaves its parent's alone.

    Args:
        parameters: what libpq is told.
        pool: how many connections, and how long to wait for one.
        table: the name of the registry's table, for messages.
    """

    def __init__(self, parameters: dict[str, Any], pool: Pool, *, table: str) -> None:
        self._parameters = parameters
        self._table = table
        self._pool = pool
        self._homes: dict[int, _Home] = {}

    def ask(
        self, question: Callable[[Connection], T], *, until: float, is_fresh: bool = False
    ) -> T:
        """
        Return the answer to a question.

        Args:
            question: asks it by a connection; twice, where it was refused at first.
            until: the moment at which it has taken too long.
            is_fresh: whether only a new connection will do.

        Raises:
            RegistryUnavailable: there was no answer in time.
            RegistryMisconfigured: there will be none.
        """
        home, now = self._home(), monotonic()
        patience = now + min((until - now) * PATIENCE, self._pool.wait)
        attempts = Attempts(home.places, Event, until=patience, is_fresh=is_fresh)
        token = deadline.set(until)
        try:
            answer: T = drive(attempts.steps(), partial(self._step, home, question))
            return answer
        except (SQLAlchemyError, psycopg.Error, NoPlace) as error:
            reason = attempts.reason(error)
            raise failure_of(reason, attempts.link, self._table) from reason
        finally:
            deadline.reset(token)

    def close(self) -> None:
        """
        Hang up; what is in use hangs up when it is back.
        """
        home = self._homes.pop(os.getpid(), None)
        if home is not None:
            home.places.renew(home.places.generation)

    def _home(self) -> _Home:
        process = os.getpid()
        home = self._homes.get(process)
        if home is None:
            made = _Home(engine_of(self._parameters), Places(self._pool))
            home = self._homes.setdefault(process, made)
        return home

    def _step(self, home: _Home, question: Callable[[Connection], Any], step: Step) -> Any:
        if isinstance(step, Ask):
            return question(step.link.connection)
        if isinstance(step, Wait):
            return step.event.wait(step.seconds)
        if isinstance(step, Look):
            return step.link.connection.scalar(ROOM)
        return self._opened(home.engine, step.generation)

    def _opened(self, engine: Engine, generation: int) -> Link:
        with opening(self._parameters):
            connection = engine.connect()
            return link_of(connection, connection, generation)

"""
The connections of an event loop, and how tasks take the steps of a question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from idlanyard.registry._drive import drive_async
from idlanyard.registry._loops import OnLoop
from idlanyard.registry._postgresql._attempts import (
    PATIENCE,
    ROOM,
    Ask,
    Attempts,
    Look,
    Step,
    Wait,
    failure_of,
)
from idlanyard.registry._postgresql._connections import (
    async_engine_of,
    deadline,
    link_of,
    opening,
)
from idlanyard.registry._postgresql._links import Link
from idlanyard.registry._postgresql._places import Places

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from idlanyard.registry._urls import Pool

T = TypeVar("T")
# A statement ends before its task does: a connection that is found dead by
# itself takes the others of its pool with it.
_SHARE = 0.95


class _Home(NamedTuple):
    """
    What belongs to one event loop.
    """

    engine: AsyncEngine
    places: Places


class AsyncPool:
    """
    The pool of the event loop that uses it; begun anew where that loop is gone.

    Args:
        parameters: what libpq is told.
        pool: how many connections, and how long to wait for one.
        table: the name of the registry's table, for messages.
    """

    def __init__(self, parameters: dict[str, Any], pool: Pool, *, table: str) -> None:
        self._parameters = parameters
        self._table = table
        self._pool = pool
        self._homes = OnLoop(self._begun, _hang_up)

    async def ask(
        self,
        question: Callable[[AsyncConnection], Awaitable[T]],
        *,
        until: float,
        is_fresh: bool = False,
    ) -> T:
        """
        Return the answer to a question; see ``SyncPool.ask``.
        """
        home, now = self._homes.get(), monotonic()
        end = now + (until - now) * _SHARE
        patience = now + min((end - now) * PATIENCE, self._pool.wait)
        attempts = Attempts(home.places, asyncio.Event, until=patience, is_fresh=is_fresh)
        token = deadline.set(end)
        try:
            async with asyncio.timeout(until - now):
                take = partial(self._step, home, question)
                answer: T = await drive_async(attempts.steps(), take)
                return answer
        except (SQLAlchemyError, psycopg.Error, TimeoutError) as error:
            reason = attempts.reason(error)
            raise failure_of(reason, attempts.link, self._table) from reason
        finally:
            deadline.reset(token)

    async def close(self) -> None:
        """
        Hang up, from any event loop; what is in use hangs up when it is back.
        """
        held = self._homes.take()
        if held is not None:
            _hang_up(held.state)

    def _begun(self) -> _Home:
        return _Home(async_engine_of(self._parameters), Places(self._pool))

    async def _step(
        self, home: _Home, question: Callable[[AsyncConnection], Awaitable[Any]], step: Step
    ) -> Any:
        if isinstance(step, Ask):
            return await question(step.link.connection)
        if isinstance(step, Wait):
            with suppress(TimeoutError):
                async with asyncio.timeout(step.seconds):
                    await step.event.wait()
            return None
        if isinstance(step, Look):
            return await step.link.connection.scalar(ROOM)
        return await self._opened(home.engine, step.generation)

    async def _opened(self, engine: AsyncEngine, generation: int) -> Link:
        with opening(self._parameters):
            connection = await engine.connect()
            return link_of(connection, connection.sync_connection, generation)


def _hang_up(home: _Home) -> None:
    home.places.renew(home.places.generation)

"""
The store for code on an event loop.
"""

from __future__ import annotations

from typing import TypeVar

from idlanyard.registry._pools import Pool
from idlanyard.registry._questions import Question
from idlanyard.registry._redis._address import Target, target_of
from idlanyard.registry._redis._async_asker import AsyncAsker
from idlanyard.registry._redis._commands import LONG, Commands
from idlanyard.registry._redis._layout import Layout

T = TypeVar("T")


class AsyncRedisStore:
    """
    A pool of connections that tasks share; see ``AsyncStore``.
    """

    def __init__(self, target: Target, timeout: float, namespace: str, pool: Pool) -> None:
        layout = Layout(namespace)
        self._commands = Commands(layout, timeout)
        self._asker = AsyncAsker(target, timeout, pool, layout)

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        steps = self._commands.steps(question)
        return await self._asker.follow(steps, anew=isinstance(question, LONG))

    async def close(self) -> None:
        """
        Close the connections; those in use are closed when they come back.
        """
        await self._asker.close()


def async_store(
    url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool
) -> AsyncRedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return AsyncRedisStore(target_of(url, scheme), timeout, namespace, pool)

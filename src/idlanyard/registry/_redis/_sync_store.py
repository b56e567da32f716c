"""
The store for code that waits.
"""

from __future__ import annotations

from typing import TypeVar

from idlanyard.registry._pools import Pool
from idlanyard.registry._questions import Question
from idlanyard.registry._redis._address import Target, target_of
from idlanyard.registry._redis._asker import Asker
from idlanyard.registry._redis._commands import LONG, Commands
from idlanyard.registry._redis._layout import Layout

T = TypeVar("T")


class RedisStore:
    """
    A pool of connections that threads share; see ``Store``.

    After a fork, the child connects anew and leaves its parent's connections alone.
    """

    def __init__(self, target: Target, timeout: float, namespace: str, pool: Pool) -> None:
        layout = Layout(namespace)
        self._commands = Commands(layout, timeout)
        self._asker = Asker(target, timeout, pool, layout)

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        steps = self._commands.steps(question)
        return self._asker.follow(steps, anew=isinstance(question, LONG))

    def close(self) -> None:
        """
        Close the connections; those in use are closed when they come back.
        """
        self._asker.close()


def store(url: str, *, scheme: str, timeout: float, namespace: str, pool: Pool) -> RedisStore:
    """
    Return the store that a URL names; it connects when it is first asked.

    Raises:
        PolicyError: the URL cannot be followed.
    """
    return RedisStore(target_of(url, scheme), timeout, namespace, pool)

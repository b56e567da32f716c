"""
The steps at the server that answer each question. Pure.
"""

from __future__ import annotations

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
from idlanyard.registry._redis import _moving, _questions, _settings
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._layout import Layout
from idlanyard.registry._redis._paging import page

T = TypeVar("T")

LONG: Final = (Purge, Count, Put)
"""
Questions that are answered in batches, each of which has the whole timeout.
"""


class Commands:
    """
    The steps of one store.

    Args:
        layout: the layout of its keys.
        timeout: the most seconds that a question may take.
    """

    def __init__(self, layout: Layout, timeout: float) -> None:
        self._layout = layout
        self._timeout = timeout
        self._looked = _settings.Looked()

    def steps(self, question: Question[T]) -> Steps[T]:
        """
        Return the steps to an answer; the first question looks at the server before.
        """
        steps: Steps[Any] = self._steps(question)
        return _settings.begun(self._looked, self._layout, steps)

    def _steps(self, question: Question[Any]) -> Steps[Any]:
        layout, timeout = self._layout, self._timeout
        match question:
            case Read(key):
                return _questions.read(layout, key)
            case Insert(draft):
                return _questions.insert(layout, draft, timeout)
            case Extend(key, ttl, metadata, created):
                return _questions.extend(layout, key, ttl, metadata, created, timeout)
            case Delete(key, created):
                return _questions.delete(layout, key, created, timeout)
            case Page(client_key, after, limit):
                return page(layout, client_key, after, limit)
            case Count():
                return _moving.count(layout)
            case Walk(after, limit):
                return _moving.walk(layout, after, limit)
            case Put(sessions):
                return _moving.put(layout, sessions, timeout)
            case Purge():
                return _questions.purge(layout)
            case _:
                return _settings.check(layout, timeout)

"""
Context variables that keep an ID of a request that is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import Context
from typing import Any, Final, cast

from idlanyard._binding.state import UNBOUND, bound

_OURS: Final = "idlanyard"
_MOST: Final = 1000


def list_left(context: Context, session: str) -> list[str]:
    """
    Return the names of the context variables that have an ID.

    Args:
        context: the context that the next request of a thread or connection begins in.
        session: the session ID of the request that is over.
    """
    left: list[str] = []
    for variable, value in context.items():
        if variable is bound:
            if value is not UNBOUND:
                left.append(_OURS)
        elif session and any(session in text for text in _list_texts(value)):
            left.append(variable.name)
    return sorted(left)


def _list_texts(value: Any, depth: int = 3) -> Iterator[str]:
    """
    Return the texts in a value of built-in types; no code of the application is run.
    """
    if type(value) is str:
        yield value[:_MOST]
    elif type(value) is bytes:
        yield value[:_MOST].decode("latin-1")
    elif depth and type(value) in (dict, list, tuple, set):
        found = cast("Mapping[Any, Any]", value).values() if type(value) is dict else value
        for inner in [*found][:_MOST]:
            yield from _list_texts(inner, depth - 1)

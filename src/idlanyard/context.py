"""
The smallest API: one session ID. Use it as ``from idlanyard import context``.

``get`` answers ``"unknown"`` where none is bound; nothing else in the package
uses a placeholder. Everything here is the same binding as the rest.
"""

from __future__ import annotations

from idlanyard._binding.changing import clear_session_id, set_session_id
from idlanyard._binding.functions import bind
from idlanyard._binding.reading import get_session_id

__all__ = ["bind", "clear", "get", "set"]


def set(session_id: str | None) -> None:
    """
    Bind a session ID here and below; ``None`` and ``""`` are ``clear``.

    Raises:
        TypeError: the value is not a ``str``.
        ValueError: the value is no ID.
    """
    set_session_id(session_id)


def get(default: str = "unknown") -> str:
    """
    Return the session ID in force here, or *default*.
    """
    return get_session_id(default)


def clear() -> None:
    """
    Hide the session ID here and below, as ``clear_session_id`` does.
    """
    clear_session_id()

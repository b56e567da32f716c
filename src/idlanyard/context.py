"""
The smallest API: one session ID. Use it as ``from idlanyard import context``.

``get`` returns ``"unknown"`` if no session ID is bound; no other function of the
package has a placeholder. All functions share the binding with the rest of the package.
"""

from __future__ import annotations

from idlanyard._binding.changing import clear_session_id, set_session_id
from idlanyard._binding.functions import bind
from idlanyard._binding.reading import get_session_id

__all__ = ["bind", "clear", "get", "set"]


def set(session_id: str | None) -> None:
    """
    Bind a session ID as ``set_session_id`` does; ``None`` and ``""`` clear it.

    Raises:
        TypeError: the value is not a ``str``.
        ValueError: the value is not a valid ID.
    """
    set_session_id(session_id)


def get(default: str = "unknown") -> str:
    """
    Return the current session ID, or *default*.
    """
    return get_session_id(default)


def clear() -> None:
    """
    Hide the session ID, as ``clear_session_id`` does.
    """
    clear_session_id()

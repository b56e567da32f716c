"""
Change what is bound: here and below, or for the whole request (R2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idlanyard import _events
from idlanyard._access import get_session_context
from idlanyard._binding import (
    UNSET,
    Delta,
    Overlay,
    Unset,
    bound,
    current,
    overlay,
    replace,
    scope_here,
)
from idlanyard._snapshot import one_tenant
from idlanyard.ids import Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping


def checked(given: Mapping[str, object]) -> Delta:
    """
    Return the delta of what code gave, each value checked.

    ``None`` and ``""`` mean "not given", ``UNSET`` removes.

    Args:
        given: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID.
    """
    policy = current().policy
    delta: dict[str, tuple[str | None, Provenance | None]] = {}
    for name, value in one_tenant(given).items():
        check = policy.check(name)
        if value is UNSET:
            delta[name] = None, None
        elif value not in (None, ""):
            delta[name] = check.require(name, value), Provenance.CODE
    return delta


def tell(event: str) -> None:
    """
    Emit an event about what is in force here, where somebody listens.
    """
    if event in _events.subscribers:
        _events.emit(_events.Event(event, get_session_context()))


def set_session_context(
    session_id: str | Unset | None = None,
    user_id: str | Unset | None = None,
    tenant_id: str | Unset | None = None,
    *,
    customer_id: str | Unset | None = None,
    **extra: str | Unset | None,
) -> None:
    """
    Bind the given IDs here and below, until something else is (R2).

    For scripts and consumers. In a request, ``identify`` sets IDs for the
    whole request and ``session_context`` for a block. ``None`` and ``""``
    mean "not given", ``UNSET`` hides an ID.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID (R7).
    """
    given = {"session_id": session_id, "user_id": user_id, "tenant_id": tenant_id}
    bound.set(overlay(checked(given | {"customer_id": customer_id} | extra)))
    tell("bind")


def set_session_id(id: str | Unset | None) -> None:
    """
    Bind a session ID here and below; ``None`` and ``""`` hide it.
    """
    if id in (None, ""):
        clear_session_id()
    else:
        set_session_context(session_id=id)


def clear_session_id() -> None:
    """
    Hide the session ID here and below; the scope, and so the echo, keep it.
    """
    set_session_context(session_id=UNSET)


def clear_session_context() -> None:
    """
    Hide every ID here and below; the scope, and so the echo, stay.
    """
    bound.set(overlay(dict.fromkeys(current().policy.names, (None, None))))
    tell("bind")


def identify(**ids: str | Unset | None) -> None:
    """
    Set IDs for the whole request, from any thread or task of it.

    Endpoint, echo, access log and later log lines see them. ``None`` and
    ``""`` mean "not given"; ``UNSET`` removes an ID, as a logout does. Once
    the response has started its header changes no more. Outside a request
    this is ``set_session_context``.

    Args:
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID (R7).
    """
    delta = checked(ids)
    scope = scope_here()
    if scope is None:
        bound.set(overlay(delta))
    else:
        replace(scope, delta)
        if isinstance(current(), Overlay):
            bound.set(overlay({}, without=frozenset(delta)))
    tell("identify")


def rotate_session_id() -> str:
    """
    Give the request a fresh session ID, as after a login, and return it (S9).
    """
    fresh = current().policy.mint("session_id")
    identify(session_id=fresh)
    return fresh


def new_session_id() -> str:
    """
    Return a fresh session ID; nothing is bound.
    """
    return current().policy.mint("session_id")

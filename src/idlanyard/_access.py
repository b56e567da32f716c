"""
What application code calls: read an ID, ask for one, change what is bound.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar, overload

from idlanyard import _events, ids
from idlanyard._binding import (
    UNSET,
    Delta,
    Overlay,
    Unset,
    bound,
    current,
    effective,
    from_environment,
    get_session_context,
    mint,
    overlay,
    replace,
    scope_here,
)
from idlanyard._snapshot import one_tenant
from idlanyard.exceptions import MissingID, UntrustedID
from idlanyard.ids import Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping

Default = TypeVar("Default")
_process: dict[str, str] = {}
os.register_at_fork(after_in_child=_process.clear)


@overload
def get_session_id() -> str | None: ...
@overload
def get_session_id(default: Default) -> str | Default: ...
def get_session_id(default: object = None) -> object:
    """
    Return the session ID in force here, or *default*.
    """
    value = current().values[0]
    if value is not None:
        return value
    return _otherwise("session_id", default)


@overload
def get_user_id() -> str | None: ...
@overload
def get_user_id(default: Default) -> str | Default: ...
def get_user_id(default: object = None) -> object:
    """
    Return the user ID in force here, or *default*.
    """
    value = current().values[1]
    if value is not None:
        return value
    return _otherwise("user_id", default)


@overload
def get_tenant_id() -> str | None: ...
@overload
def get_tenant_id(default: Default) -> str | Default: ...
def get_tenant_id(default: object = None) -> object:
    """
    Return the tenant ID in force here, or *default*.
    """
    value = current().values[2]
    if value is not None:
        return value
    return _otherwise("tenant_id", default)


@overload
def get_id(name: str) -> str | None: ...
@overload
def get_id(name: str, default: Default) -> str | Default: ...
def get_id(name: str, default: object = None) -> object:
    """
    Return the ID *name* in force here, or *default*.

    Raises:
        TypeError: no such ID is declared.
    """
    value, _ = effective("tenant_id" if name == "customer_id" else name)
    return default if value is None else value


def _otherwise(name: str, default: object) -> object:
    value, _ = from_environment(current(), name)
    return default if value is None else value


def require(name: str, *, proven: bool | None = None) -> str:
    """
    Return the ID *name*, or raise.

    Args:
        name: as in ``"user_id"``.
        proven: ``None`` asks for what the ID's rules ask for: a field that
            anyone may set is returned with any provenance, another must be
            proven. ``True`` refuses what only a client or the environment
            says, ``False`` takes anything.

    Raises:
        MissingID: nothing is bound.
        UntrustedID: nobody vouches for the value.
        TypeError: no such ID is declared.
    """
    name = "tenant_id" if name == "customer_id" else name
    value, how = effective(name)
    if value is None or how is None:
        raise MissingID(name)
    if proven is None:
        spec = current().policy.specs.get(name)
        proven = spec is None or spec.accept == "proven"
    if proven and not how.proven:
        raise UntrustedID(name, how)
    return value


def checked(given: Mapping[str, object], *, empty_removes: bool) -> Delta:
    """
    Return what code gave as a delta, each value checked (R7).

    Args:
        given: IDs by name.
        empty_removes: whether ``None`` and ``""`` remove, as in
            ``identify``, or mean "not given".

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID.
    """
    policy = current().policy
    delta: dict[str, tuple[str | None, Provenance | None]] = {}
    for name, value in one_tenant(given).items():
        check = policy.check(name)
        if value is UNSET or (empty_removes and value in (None, "")):
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
    bound.set(overlay(checked(given | {"customer_id": customer_id} | extra, empty_removes=False)))
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
    Set IDs for the whole request, from any thread or task of it (R2).

    Endpoint, echo, access log and later log lines see them. ``None``, ``""``
    and ``UNSET`` remove an ID. Once the response has started its header
    changes no more. Outside a request this is ``set_session_context``.

    Args:
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID (R7).
    """
    delta = checked(ids, empty_removes=True)
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
    fresh = mint(current().policy, "session_id")
    identify(session_id=fresh)
    return fresh


def new_session_id() -> str:
    """
    Return a fresh session ID; nothing is bound.
    """
    return mint(current().policy, "session_id")


def process_session_id() -> str:
    """
    Return the session ID of this process, minted on first use and after a fork.
    """
    found = _process.get("session_id")
    return found or _process.setdefault("session_id", ids.token())


def effective_session_id() -> str:
    """
    Return the session ID bound here, else the environment's, else the process-wide one.
    """
    return get_session_id() or process_session_id()

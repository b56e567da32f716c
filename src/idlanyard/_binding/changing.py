"""
Change what is bound: here and below, or for the whole request.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.functions import is_coroutine_function
from idlanyard._binding.inheritance import in_main_thread, runs_event_loop
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.snapshot import UNSET, Unset, one_tenant
from idlanyard._binding.state import (
    UNBOUND,
    Delta,
    Overlay,
    bound,
    current,
    overlay,
    replace,
    scope_here,
    unit_here,
)
from idlanyard._policy.callables import signature_of
from idlanyard.ids import Provenance

ID: TypeAlias = str | Unset | Callable[[], str | Unset | None] | None
"""
What a verb takes for an ID.
"""


def checked(given: Mapping[str, object]) -> Delta:
    """
    Return the delta of what code gave, each value checked.

    ``None`` and ``""`` mean "not given", ``UNSET`` removes, and a function
    without arguments is called for its value.

    Args:
        given: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID.
    """
    policy = current().policy
    delta: dict[str, tuple[str | None, Provenance | None]] = {}
    for name, said in one_tenant(given).items():
        check = policy.check(name)
        value = value_of(name, said) if callable(said) else said
        if value is UNSET:
            delta[name] = None, None
        elif value not in (None, ""):
            delta[name] = check.require(name, value), Provenance.CODE
    return delta


def value_of(name: str, fn: Callable[..., object]) -> object:
    """
    Return what a function gives for the ID *name*.

    Raises:
        TypeError: the function cannot give an ID.
    """
    try:
        value = fn()
    except TypeError:
        # A function that cannot be called so is the fault; else the error is its own.
        check_function(name, fn)
        raise
    if isinstance(value, str) or value is None or value is UNSET:
        return value
    if inspect.iscoroutine(value):
        value.close()
    check_function(name, fn)
    raise TypeError(
        f"the function given for {name} returned {type(value).__name__}, not str: "
        f"write {name}=lambda: str(...)"
    )


def check_function(name: str, fn: Callable[..., object]) -> None:
    """
    Check that a call of *fn* without arguments may give an ID.

    Raises:
        TypeError: it cannot; the message says how a decorator is written.
    """
    kind = _unfit(fn)
    if kind is not None:
        raise TypeError(
            f"{name} is an ID or a function without arguments that returns one, not {kind}: "
            f"write {name}=lambda: ..., and as a decorator @session_context({name}=...) above a "
            f"function or method"
        )


def _unfit(fn: Callable[..., object]) -> str | None:
    """
    Return in words why *fn* gives no ID, or ``None`` where it may.
    """
    if isinstance(fn, type):
        return f"the class {fn.__name__}"
    if isinstance(fn, staticmethod):
        return "a staticmethod"
    if is_coroutine_function(fn):
        return "an async function"
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return "a generator function"
    try:
        signature = signature_of(fn)
    except Exception:
        # The call itself will tell.
        return None
    try:
        signature.bind()
    except TypeError:
        return "a function that needs arguments"
    return None


def tell(event: str, *, begins: Literal["job"] | None = None) -> None:
    """
    Emit an event about what is in force here, where somebody listens.
    """
    if event in events.subscribers:
        events.emit(events.Event(event, get_session_context(), begins=begins))


def set_session_context(
    session_id: ID = None,
    user_id: ID = None,
    tenant_id: ID = None,
    *,
    customer_id: ID = None,
    **extra: ID,
) -> None:
    """
    Bind the given IDs here and below, until something else is.

    For scripts and consumers. In a request, ``identify`` sets IDs for the
    whole request and ``session_context`` for a block. ``None`` and ``""``
    mean "not given", ``UNSET`` hides an ID. A function without arguments is
    called for its value, once.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID.
    """
    given = {"session_id": session_id, "user_id": user_id, "tenant_id": tenant_id}
    bound.set(overlay(checked(given | {"customer_id": customer_id} | extra)))
    tell("bind")


def set_session_id(id: ID) -> None:
    """
    Bind a session ID here and below; ``None`` and ``""`` are ``clear_session_id``.
    """
    if id in (None, ""):
        clear_session_id()
    else:
        set_session_context(session_id=id)


def clear_session_id() -> None:
    """
    Hide the session ID here and below; the request, and so the echo, keeps it.

    Outside a request this takes back what was set here, and the environment
    speaks again.
    """
    _clear(frozenset({"session_id"}))


def clear_session_context() -> None:
    """
    Hide every ID here and below; the request, and so the echo, keeps them.

    Outside a request this takes back what was set here, and the environment
    speaks again.
    """
    _clear(frozenset(current().policy.names))


def _clear(names: frozenset[str]) -> None:
    if scope_here() is not None:
        bound.set(overlay(dict.fromkeys(names, (None, None))))
    else:
        rest = overlay({}, without=names)
        bound.set(rest if rest.delta else UNBOUND)
    tell("bind")


def identify(**ids: ID) -> None:
    """
    Set IDs for the whole request, from any thread or task of it.

    Endpoint, echo, access log and later log lines see them. ``None`` and
    ``""`` mean "not given"; ``UNSET`` removes an ID, as a logout does. Once
    the response has started its header changes no more. A function without
    arguments is called for its value, once.

    Outside a request this is ``set_session_context``. In a thread that has
    no request, such as one of a plain pool, that is logged once: write
    ``carry(fn)``, or use ``ContextThreadPoolExecutor``.

    Args:
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID.
    """
    identify_by(checked(ids))


def identify_by(delta: Delta) -> None:
    """
    Set IDs as ``identify`` does, each with its own provenance; the values are checked already.
    """
    scope = scope_here()
    if scope is None:
        _warn_of_lost_request()
        bound.set(overlay(delta, unit=unit_here()))
    else:
        replace(scope, delta)
        if isinstance(current(), Overlay):
            bound.set(overlay({}, without=frozenset(delta)))
    tell("identify")


def _warn_of_lost_request() -> None:
    """
    Warn once where ``identify`` runs in a thread that a request may have handed work to.

    A task is no such thread: the loop's thread has requests of its own, and
    a task of theirs has their scope.
    """
    if in_main_thread() or runs_event_loop():
        return
    _failures.warn_once(
        "identify in a thread",
        "idlanyard: identify() in the thread %s found no request, so the IDs stay in this "
        "thread: hand work to threads by carry(fn), ContextThreadPoolExecutor or "
        "asyncio.to_thread",
        threading.current_thread().name,
    )


def rotate_session_id() -> str:
    """
    Give the request a fresh session ID, as after a login, and return it.
    """
    fresh = current().policy.mint("session_id")
    identify(session_id=fresh)
    return fresh


def new_session_id() -> str:
    """
    Return a fresh session ID; nothing is bound.
    """
    return current().policy.mint("session_id")

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
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.runtime import is_event_loop_running, is_main_thread
from idlanyard._binding.snapshot import UNSET, Unset, merge_tenant_names
from idlanyard._binding.state import (
    UNBOUND,
    Delta,
    Overlay,
    bound,
    find_request_ids,
    find_unit_of_work,
    get_binding,
    make_overlay,
    update_request_ids,
)
from idlanyard._policy.callables import signature_of
from idlanyard.ids import Provenance

ID: TypeAlias = str | Unset | Callable[[], str | Unset | None] | None
"""
What a verb takes for an ID.
"""


def check_ids(given: Mapping[str, object]) -> Delta:
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
    policy = get_binding().policy
    delta: dict[str, tuple[str | None, Provenance | None]] = {}
    for name, said in merge_tenant_names(given).items():
        check = policy.check(name)
        value = call_for_id(name, said) if callable(said) else said
        if value is UNSET:
            delta[name] = None, None
        elif value not in (None, ""):
            delta[name] = check.require(name, value), Provenance.CODE
    return delta


def call_for_id(name: str, fn: Callable[..., object]) -> object:
    """
    Return what a function gives for the ID *name*.

    Raises:
        TypeError: the function cannot give an ID.
    """
    try:
        value = fn()
    except TypeError:
        # A function that cannot be called so is the fault; else the error is its own.
        check_id_function(name, fn)
        raise
    if isinstance(value, str) or value is None or value is UNSET:
        return value
    if inspect.iscoroutine(value):
        value.close()
    check_id_function(name, fn)
    raise TypeError(
        f"the function given for {name} returned {type(value).__name__}, not str: "
        f"write {name}=lambda: str(...)"
    )


def check_id_function(name: str, fn: Callable[..., object]) -> None:
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


def emit_event(event: str, *, begins: Literal["job"] | None = None) -> None:
    """
    Emit an event about what is in force here, where somebody listens.
    """
    if event in events.subscribers:
        events.notify_subscribers(events.Event(event, get_session_context(), begins=begins))


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
    bound.set(make_overlay(check_ids(given | {"customer_id": customer_id} | extra)))
    emit_event("bind")


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
    _clear(frozenset(get_binding().policy.names))


def _clear(names: frozenset[str]) -> None:
    if find_request_ids() is not None:
        bound.set(make_overlay(dict.fromkeys(names, (None, None))))
    else:
        rest = make_overlay({}, without=names)
        bound.set(rest if rest.delta else UNBOUND)
    emit_event("bind")


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
    identify_delta(check_ids(ids))


def identify_delta(delta: Delta) -> None:
    """
    Set IDs as ``identify`` does, each with its own provenance; the values are checked already.
    """
    request_ids = find_request_ids()
    if request_ids is None:
        _warn_of_lost_request()
        bound.set(make_overlay(delta, unit=find_unit_of_work()))
    else:
        update_request_ids(request_ids, delta)
        if isinstance(get_binding(), Overlay):
            bound.set(make_overlay({}, without=frozenset(delta)))
    emit_event("identify")


def _warn_of_lost_request() -> None:
    """
    Warn once where ``identify`` runs in a thread that a request may have handed work to.

    A task is no such thread: the loop's thread has requests of its own, and
    a task of theirs has their scope.
    """
    if is_main_thread() or is_event_loop_running():
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
    fresh = get_binding().policy.mint("session_id")
    identify(session_id=fresh)
    return fresh


def new_session_id() -> str:
    """
    Return a fresh session ID; nothing is bound.
    """
    return get_binding().policy.mint("session_id")

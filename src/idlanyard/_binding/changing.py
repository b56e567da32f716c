"""
Change the current IDs: for this code and the code that it calls, or for the whole request.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.functions import is_coroutine_function, resolve_signature
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.runtime import is_event_loop_running, is_main_thread
from idlanyard._binding.snapshot import UNSET, Unset, merge_tenant_names
from idlanyard._binding.state import (
    UNBOUND,
    Delta,
    Overlay,
    RequestIDs,
    bound,
    find_request_ids,
    find_unit_of_work,
    get_binding,
    make_overlay,
    update_request_ids,
)
from idlanyard.ids import Provenance

ID: TypeAlias = str | Unset | Callable[[], str | Unset | None] | None
"""
An ID as the verbs take it; ``None`` and ``""`` mean "not given".
"""


def check_ids(given: Mapping[str, object], proof: Provenance = Provenance.CODE) -> Delta:
    """
    Return the changes that code asks for, each value checked.

    ``None`` and ``""`` mean "not given", ``UNSET`` removes, and a function
    without arguments is called for its value.

    Args:
        given: IDs by name.
        proof: the provenance of the values.

    Raises:
        TypeError: an ID is not declared, or its value is not a ``str``.
        ValueError: a value is not a valid ID.
    """
    policy = get_binding().policy
    delta: dict[str, tuple[str | None, Provenance | None]] = {}
    for name, given_value in merge_tenant_names(given).items():
        check = policy.check(name)
        value = call_for_id(name, given_value) if callable(given_value) else given_value
        if value is UNSET:
            delta[name] = None, None
        elif value not in (None, ""):
            delta[name] = check.require(name, value), proof
    return delta


def call_for_id(name: str, fn: Callable[..., object]) -> object:
    """
    Return the ID *name* that a function returns.

    Raises:
        TypeError: the function cannot return an ID.
    """
    try:
        value = fn()
    except TypeError:
        # If the function needs arguments, say so; otherwise the error is from inside it.
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
    Check that a call of *fn* without arguments may return an ID.

    Raises:
        TypeError: it cannot return one; the message shows how to write a decorator.
    """
    kind = _describe_unfit(fn)
    if kind is not None:
        raise TypeError(
            f"{name} is an ID or a function without arguments that returns one, not {kind}: "
            f"write {name}=lambda: ..., and as a decorator @session_context({name}=...) above a "
            f"function or method"
        )


def _describe_unfit(fn: Callable[..., object]) -> str | None:
    """
    Return in words the kind of a function that returns no ID, or ``None`` if *fn* may.
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
        signature = resolve_signature(fn)
    except Exception:
        # Without a signature only the call can show it.
        return None
    try:
        signature.bind()
    except TypeError:
        return "a function that needs arguments"
    return None


def emit_event(event: str, *, begins: Literal["job"] | None = None) -> None:
    """
    Emit an event about the current IDs, if the event has subscribers.
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
    Bind the given IDs for this code and the code that it calls, until others are bound.

    For scripts and consumers. In a request use ``identify`` to set IDs for
    the whole request, or ``session_context`` for a block. ``None`` and ``""``
    mean "not given", ``UNSET`` hides an ID. A function without arguments is
    called once for its value.

    Args:
        session_id: the session.
        user_id: the user.
        tenant_id: the tenant, also called ``customer_id``.
        customer_id: the tenant.
        extra: further declared IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value is not a ``str``.
        ValueError: a value is not a valid ID.
    """
    given = {"session_id": session_id, "user_id": user_id, "tenant_id": tenant_id}
    bound.set(make_overlay(check_ids(given | {"customer_id": customer_id} | extra)))
    emit_event("bind")


def set_session_id(id: ID) -> None:
    """
    Bind a session ID as ``set_session_context`` does; ``None`` and ``""`` clear it.
    """
    if id in (None, ""):
        clear_session_id()
    else:
        set_session_context(session_id=id)


def clear_session_id() -> None:
    """
    Hide the session ID from this code and the code that it calls.

    The request keeps it, and so does the echo. Outside a request this removes
    the ID that was set, and a static ID of the environment is current again.
    """
    _clear_ids(frozenset({"session_id"}))


def clear_session_context() -> None:
    """
    Hide every ID from this code and the code that it calls.

    The request keeps them, and so does the echo. Outside a request this
    removes the IDs that were set, and static IDs of the environment are
    current again.
    """
    _clear_ids(frozenset(get_binding().policy.names))


def _clear_ids(names: frozenset[str]) -> None:
    if find_request_ids() is not None:
        bound.set(make_overlay(dict.fromkeys(names, (None, None))))
    else:
        rest = make_overlay({}, without=names)
        bound.set(rest if rest.delta else UNBOUND)
    emit_event("bind")


# The type of *proof* is that of an ID, so that checkers of types take identify(**ids).
def identify(*, proof: ID = Provenance.CODE, **ids: ID) -> None:
    """
    Set IDs for the whole request, from any thread or task of it.

    Endpoint, echo, access log and later log lines have them. ``None`` and
    ``""`` mean "not given"; ``UNSET`` removes an ID, as a logout does. Once
    the response has started, its header changes no more. A function without
    arguments is called once for its value.

    Outside a request this does the same as ``set_session_context``. In a
    thread without a request, such as that of a plain pool, a warning is
    logged once: write ``carry(fn)``, or use ``ContextThreadPoolExecutor``.

    Args:
        proof: the proof that the caller has for them: ``Provenance.SIGNED``
            if it has verified a signature, else ``Provenance.CODE``.
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, its value is not a ``str``, or
            *proof* is none of the two.
        ValueError: a value is not a valid ID.
    """
    if proof is not Provenance.CODE and proof is not Provenance.SIGNED:
        raise TypeError(
            f"identify(proof={proof!r}) is no proof: write proof=Provenance.SIGNED for a "
            f"signature that you have verified, or leave it out"
        )
    identify_delta(check_ids(ids, Provenance(proof)))


def identify_delta(delta: Delta) -> None:
    """
    Set IDs as ``identify`` does, with their provenances; the values have been checked.
    """
    request_ids = find_request_ids()
    if request_ids is None:
        _warn_of_lost_request()
        bound.set(make_overlay(delta, unit=find_unit_of_work()))
    else:
        if "session_id" in delta:
            _warn_of_late_change(request_ids, delta["session_id"][0])
        update_request_ids(request_ids, delta)
        if isinstance(get_binding(), Overlay):
            bound.set(make_overlay({}, without=frozenset(delta)))
    emit_event("identify")


def _warn_of_lost_request() -> None:
    """
    Warn once if ``identify`` runs in a thread that a request may have passed work to.

    A thread with an event loop is no such thread: it has requests of its own,
    whose tasks share their IDs.
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


def _warn_of_late_change(request_ids: RequestIDs, session: str | None) -> None:
    """
    Warn once if the session changes when the response, which has its cookie, has begun.
    """
    # Unset unless there is a session cookie.
    if not getattr(request_ids, "begun", False) or session == request_ids.look_up("session_id")[0]:
        return
    _failures.warn_once(
        "session cookie late",
        "idlanyard: the session has changed after the response began, so the browser keeps the one "
        "from before: call rotate_session_id(), forget_session_id() and identify(session_id=...) "
        "before the response begins",
    )


def rotate_session_id() -> str:
    """
    Give the request a fresh session ID, as after a login, and return it.
    """
    fresh = get_binding().policy.mint("session_id")
    identify(session_id=fresh)
    return fresh


def forget_session_id() -> None:
    """
    Remove the session ID from the request, as after a logout.

    If the policy has a session cookie, the response deletes it; the next
    request then gets a fresh session ID.
    """
    identify(session_id=UNSET)


def new_session_id() -> str:
    """
    Return a fresh session ID; nothing is bound.
    """
    return get_binding().policy.mint("session_id")

"""
Read what is in force here: one ID, all of them, or an error.
"""

from __future__ import annotations

from typing import TypeVar, overload

from idlanyard import ids
from idlanyard._binding.runtime import call_after_fork
from idlanyard._binding.snapshot import SessionContext, make_snapshot
from idlanyard._binding.state import (
    UNBOUND,
    Binding,
    Overlay,
    RequestIDs,
    get_binding,
    ids_of_error,
)
from idlanyard._policy.environment import read_static_id
from idlanyard._policy.id_check import IDCheck
from idlanyard.exceptions import MissingID, UntrustedID
from idlanyard.ids import Provenance

Default = TypeVar("Default")
_process: dict[str, str] = {}
call_after_fork(_process.clear)


def find_id(name: str) -> tuple[str | None, Provenance | None]:
    """
    Return an ID and its provenance: bound here, or else from the environment.

    Raises:
        TypeError: no such ID is declared.
    """
    binding = get_binding()
    found = binding.look_up(name)
    if found[0] is not None and binding.__class__ is RequestIDs:
        return found
    check = binding.policy.check(name)
    return found if found[0] is not None else find_environment_id(binding, name, check)


def find_environment_id(
    binding: Binding, name: str, check: IDCheck
) -> tuple[str | None, Provenance | None]:
    """
    Return a static ID where no scope and no overlay says anything about it.
    """
    if isinstance(binding, RequestIDs):
        return None, None
    if isinstance(binding, Overlay) and (binding.over is not None or name in binding.delta):
        return None, None
    value = read_static_id(name, check)
    return (None, None) if value is None else (value, Provenance.ENVIRONMENT)


def get_session_context() -> SessionContext:
    """
    Return what is in force here; never ``None``.
    """
    binding = get_binding()
    if isinstance(binding, RequestIDs):
        return make_snapshot(binding.values, binding.policy)
    if isinstance(binding, Overlay) and binding.over is not None:
        return make_snapshot(binding.values, binding.over.policy)
    policy = binding.policy
    pairs = [find_id(name) for name in policy.names]
    return make_snapshot((*(v for v, _ in pairs), *(how for _, how in pairs)), policy)


def get_context_for(error: BaseException | None) -> SessionContext:
    """
    Return what is in force here; where nothing is bound, what *error* has carried out of a request.
    """
    carried = ids_of_error(error) if error is not None and get_binding() is UNBOUND else None
    return get_session_context() if carried is None else carried


@overload
def get_session_id() -> str | None: ...
@overload
def get_session_id(default: Default) -> str | Default: ...
def get_session_id(default: object = None) -> object:
    """
    Return the session ID in force here, or *default*.
    """
    value = get_binding().values[0]
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
    value = get_binding().values[1]
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
    value = get_binding().values[2]
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
    value, _ = find_id("tenant_id" if name == "customer_id" else name)
    return default if value is None else value


def _otherwise(name: str, default: object) -> object:
    binding = get_binding()
    value, _ = find_environment_id(binding, name, binding.policy.check(name))
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
    value, how = find_id(name)
    if value is None or how is None:
        raise MissingID(name)
    if proven is None:
        spec = get_binding().policy.specs.get(name)
        proven = spec is None or spec.accept == "proven"
    if proven and not how.proven:
        raise UntrustedID(name, how)
    return value


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

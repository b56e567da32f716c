"""
Read the current IDs: one of them, all of them, or an error.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from idlanyard._policy.spec import IDSpec
from idlanyard.exceptions import MissingID, UntrustedID
from idlanyard.ids import Provenance

Default = TypeVar("Default")
_process: dict[str, str] = {}
call_after_fork(_process.clear)


def find_id(name: str) -> tuple[str | None, Provenance | None]:
    """
    Return a current ID and its provenance: the bound one, else the environment's.

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
    Return the static ID of the environment, unless a request or an overlay decides about it.
    """
    if isinstance(binding, RequestIDs):
        return None, None
    if isinstance(binding, Overlay) and (binding.over is not None or name in binding.delta):
        return None, None
    value = read_static_id(name, check)
    return (None, None) if value is None else (value, Provenance.ENVIRONMENT)


def iterate_current(sink: str) -> Iterator[tuple[IDSpec, str, Provenance]]:
    """
    Yield each current ID that is declared for the sink.
    """
    for spec in get_binding().policy.specs.values():
        value, how = find_id(spec.name)
        if getattr(spec, sink) and value is not None and how is not None:
            yield spec, value, how


def get_session_context() -> SessionContext:
    """
    Return the current IDs; never ``None``.
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
    Return the current IDs, or outside a request those that a middleware attached to *error*.
    """
    carried = ids_of_error(error) if error is not None and get_binding() is UNBOUND else None
    return get_session_context() if carried is None else carried


@overload
def get_session_id() -> str | None: ...
@overload
def get_session_id(default: Default) -> str | Default: ...
def get_session_id(default: object = None) -> object:
    """
    Return the current session ID, or *default*.
    """
    value = get_binding().values[0]
    if value is not None:
        return value
    return _find_static("session_id", default)


@overload
def get_user_id() -> str | None: ...
@overload
def get_user_id(default: Default) -> str | Default: ...
def get_user_id(default: object = None) -> object:
    """
    Return the current user ID, or *default*.
    """
    value = get_binding().values[1]
    if value is not None:
        return value
    return _find_static("user_id", default)


@overload
def get_tenant_id() -> str | None: ...
@overload
def get_tenant_id(default: Default) -> str | Default: ...
def get_tenant_id(default: object = None) -> object:
    """
    Return the current tenant ID, or *default*.
    """
    value = get_binding().values[2]
    if value is not None:
        return value
    return _find_static("tenant_id", default)


@overload
def get_id(name: str) -> str | None: ...
@overload
def get_id(name: str, default: Default) -> str | Default: ...
def get_id(name: str, default: object = None) -> object:
    """
    Return the current ID *name*, or *default*.

    Raises:
        TypeError: no such ID is declared.
    """
    value, _ = find_id("tenant_id" if name == "customer_id" else name)
    return default if value is None else value


def _find_static(name: str, default: object) -> object:
    binding = get_binding()
    value, _ = find_environment_id(binding, name, binding.policy.check(name))
    return default if value is None else value


def require(name: str, *, proven: bool | None = None) -> str:
    """
    Return the current ID *name*, or raise.

    Args:
        name: as in ``"user_id"``.
        proven: ``None`` follows the rules of the ID: one that anyone may set
            is returned with any provenance, any other must be proven.
            ``True`` refuses a value that only a client or the environment
            has given, ``False`` accepts every value.

    Raises:
        MissingID: there is no such ID.
        UntrustedID: the value is not proven.
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


def session_key() -> str:
    """
    Return the current tenant, user and session as one text, for what is stored per session.

    A session ID alone is the client's word by default, and two users who send
    the same one would share an agent's memory or a cache. In the key they do
    not: it is ``tenant/user/session``, each percent-encoded (RFC 3986), empty
    where there is none, so that no two triples have the same key.

    Raises:
        MissingID: there is no session ID.
        UntrustedID: a user or tenant ID is there that has to be proven and is not.
    """
    from urllib.parse import quote

    session = require("session_id")
    owners = (require(name) if get_id(name) else "" for name in ("tenant_id", "user_id"))
    return "/".join(quote(text, safe="") for text in (*owners, session))


def process_session_id() -> str:
    """
    Return the session ID of this process, minted on first use and after a fork.
    """
    found = _process.get("session_id")
    return found or _process.setdefault("session_id", ids.token())


def effective_session_id() -> str:
    """
    Return the bound session ID, else the environment's, else the process-wide one.
    """
    return get_session_id() or process_session_id()

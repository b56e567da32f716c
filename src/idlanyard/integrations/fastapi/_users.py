"""
``identified``: a dependency that identifies the user whom another dependency returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import Depends, HTTPException, WebSocketException

from idlanyard._binding.logins import PLAIN, identify_login
from idlanyard.integrations.fastapi._parameters import warn_of_no_request

_ID_NAMES: Final = ("user_id", "id", "pk", "sub")
_MEANT: Final = {
    "user": "user_id",
    "session": "session_id",
    "tenant": "tenant_id",
    "customer": "customer_id",
}
_REMEDY: Final = "write identified(..., {}=lambda user: ...)"


def identified(
    dependency: Callable[..., Any], **ids: Callable[[Any], object]
) -> Callable[..., Any]:
    """
    Return a dependency that identifies the user whom *dependency* returns.

    Use it in place of *dependency*, as in
    ``Depends(identified(current_user))``: it returns the same user. ``None``
    identifies nobody and leaves the IDs as they are. If a user is found and
    has no valid ID, or if one of *ids* raises, the reason is logged once, and
    the request goes on without these IDs, also if a proxy has sent some. An
    ``HTTPException`` that one of *ids* raises is answered.

    Args:
        dependency: returns the current user; sync, async or with ``yield``.
        ids: a function for each ID that takes the user and returns the ID, as
            in ``tenant_id=lambda user: user.organisation_id``: text, a number,
            a UUID, or ``None`` if this user has no such ID. Left out, the user
            ID is the user itself if it is text, a number or a UUID, or else
            its ``user_id``, ``id``, ``pk`` or ``sub``, as attribute or key.

    Raises:
        TypeError: *dependency* or one of *ids* is no function, or an ID is
            misspelt.
    """
    _check_arguments(dependency, ids)
    takes = ids or {"user_id": _id_of}
    remedy = _REMEDY.format(next(iter(takes)))

    async def identified_user(user: Any = Depends(dependency)) -> Any:
        def find() -> dict[str, object]:
            return {} if user is None else {name: take(user) for name, take in takes.items()}

        warn_of_no_request("identified")
        refusals = HTTPException, WebSocketException
        identify_login("identified", takes, find, remedy=remedy, refusals=refusals)
        return user

    return identified_user


def _check_arguments(dependency: object, ids: Mapping[str, object]) -> None:
    if not callable(dependency):
        kind = type(dependency).__name__
        raise TypeError(
            f"identified takes the dependency itself, not {kind}: write identified(current_user)"
        )
    for name, take in ids.items():
        if name in _MEANT:
            raise TypeError(f"{name} is no ID: write {_MEANT[name]}=lambda user: ...")
        if not callable(take):
            kind = type(take).__name__
            raise TypeError(f"{name} takes a function, not {kind}: write {name}=lambda user: ...")


def _id_of(user: Any) -> object:
    if isinstance(user, PLAIN):
        return user
    keyed = isinstance(user, Mapping)
    for name in _ID_NAMES:
        value = _read_part(user, name, keyed=keyed)
        if value is not None:
            return value
    kind, names = user.__class__.__name__, ", ".join(_ID_NAMES)
    raise TypeError(f"no {names} on {kind}: {_REMEDY.format('user_id')}")


def _read_part(user: Any, name: str, *, keyed: bool) -> object:
    return user.get(name) if keyed else getattr(user, name, None)

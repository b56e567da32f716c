"""
``identified``: the application's own current-user dependency names its user.
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
    Return a dependency that names the user whom the application's own one returns.

    Use it in its place, as in ``Depends(identified(current_user))``: it
    returns the same user, for whom the request is then identified. ``None``
    identifies nobody, and the IDs stay as they are. A user who is found and
    cannot be named leaves nobody's name: the reason is logged once, and the
    request goes on without each of these IDs, whatever a proxy has said
    before. The same holds where one of the functions raises; an
    ``HTTPException`` of theirs is answered.

    Args:
        dependency: returns the current user; sync, async or with ``yield``.
        ids: what to take from the user for each ID, as in
            ``tenant_id=lambda user: user.organisation_id``: text, a number, a
            UUID, or ``None`` for an ID that this user does not have. Left
            out, the user ID is the user where it is text, a number or a UUID,
            and else its ``user_id``, ``id``, ``pk`` or ``sub``, as attribute
            or key.

    Raises:
        TypeError: *dependency* or one of *ids* is no function, or an ID is
            misspelt.
    """
    _check(dependency, ids)
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


def _check(dependency: object, ids: Mapping[str, object]) -> None:
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
        value = _part(user, name, keyed=keyed)
        if value is not None:
            return value
    kind, names = user.__class__.__name__, ", ".join(_ID_NAMES)
    raise TypeError(f"no {names} on {kind}: {_REMEDY.format('user_id')}")


def _part(user: Any, name: str, *, keyed: bool) -> object:
    return user.get(name) if keyed else getattr(user, name, None)

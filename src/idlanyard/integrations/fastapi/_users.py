"""
``identified``: the application's own current-user dependency names its user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from fastapi import Depends

from idlanyard import _events
from idlanyard._binding import UNSET
from idlanyard._change import identify

_ID_NAMES: Final = ("user_id", "id", "pk", "sub")


def identified(
    dependency: Callable[..., Any], **ids: Callable[[Any], object]
) -> Callable[..., Any]:
    """
    Return a dependency that names whom the application's own one returns.

    Use it in its place, as in ``Depends(identified(current_user))``: it
    returns the same user, for whom the request is then identified. ``None``
    identifies nobody. A value that is no ID (R7) is logged, and the request
    goes on without.

    Args:
        dependency: returns the current user; sync, async or with ``yield``.
        ids: what to take from the user for each ID, as in
            ``tenant_id=lambda user: user.organisation_id``. Left out, the
            user ID is the user where it is text, a number or a UUID, and
            else its ``user_id``, ``id``, ``pk`` or ``sub``, as attribute or
            key.
    """

    async def identified_user(user: Any = Depends(dependency)) -> Any:
        if user is not None:
            found = {name: take(user) for name, take in (ids or {"user_id": _id_of}).items()}
            texts = {name: _text(value) or UNSET for name, value in found.items()}
            try:
                identify(**texts)
            except ValueError as error:
                _events.failed("identified", error)
        return user

    return identified_user


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        raise TypeError(
            "True and False name nobody: let the dependency return the user, or None, or write "
            "identified(..., user_id=lambda user: ...)"
        )
    return None if value is None else str(value)


def _id_of(user: Any) -> object:
    if isinstance(user, str | int | UUID):
        return user
    keyed = isinstance(user, Mapping)
    for name in _ID_NAMES:
        value = _part(user, name, keyed=keyed)
        if value is not None:
            return value
    kind, names = user.__class__.__name__, ", ".join(_ID_NAMES)
    raise TypeError(f"no {names} on {kind}: write identified(..., user_id=lambda user: ...)")


def _part(user: Any, name: str, *, keyed: bool) -> object:
    return user.get(name) if keyed else getattr(user, name, None)

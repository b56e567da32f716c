"""
The IDs of one request as they are now, for integrations that hang them on it.
"""

from __future__ import annotations

from typing import Any, Final

from idlanyard._binding import Scope
from idlanyard._policy import Policy
from idlanyard._snapshot import SessionContext, Values

_set: Final = object.__setattr__


class RequestContext(SessionContext):
    """
    What a request has, read when it is read: unlike a snapshot it follows ``identify``.

    It reads the scope and never an overlay, and so says the same in every
    task and thread, also where nothing is bound. A pickled one is a snapshot.

    Args:
        scope: the request's.
    """

    __slots__ = ("_scope",)

    _scope: Scope

    def __init__(self, scope: Scope) -> None:
        _set(self, "_scope", scope)

    # These stand in the place of what a snapshot has stored.
    @property
    def _names(self) -> tuple[str, ...]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._scope.policy.names

    @property
    def _policy(self) -> Policy:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._scope.policy

    @property
    def _values(self) -> Values:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._scope.values

    def is_of(self, scope: Scope | None) -> bool:
        """
        Say whether this is what *scope* has.
        """
        return self._scope is scope

    def __hash__(self) -> Any:
        raise TypeError("a request's context changes with identify(): hash get_session_context()")

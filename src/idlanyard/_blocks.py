"""
Blocks that bind and put back: ``session_context`` and ``without``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Final, ParamSpec, TypeVar

from idlanyard._access import get_session_context
from idlanyard._binding import (
    UNBOUND,
    UNSET,
    Node,
    Unset,
    bound,
    current,
    overlay,
    put_back,
)
from idlanyard._change import checked, tell
from idlanyard._snapshot import SessionContext, one_tenant
from idlanyard._steps import Held, around
from idlanyard.ids import IDCheck

P = ParamSpec("P")
R = TypeVar("R")

_ANY_ID: Final = IDCheck("visible", 1024)


class session_context:  # noqa: N801 - it reads as a verb where it is used
    """
    Bind IDs for a block: ``with``, ``async with`` or as a decorator (R2, R3).

    Only the IDs given change; leaving the block restores what was there.
    ``None`` and ``""`` mean "not given", ``UNSET`` hides an ID. The block
    yields the ``SessionContext`` in force in it. As a decorator it binds
    anew per call and keeps the function's kind; a decorated generator has
    the binding during its steps and never between them (R4).

    A plain ``with`` inside a generator is open while the generator waits:
    decorate the generator instead.

    Args:
        session_id: the session.
        user_id: the user.
        tenant_id: the tenant, also called ``customer_id``.
        customer_id: the tenant.
        extra: further declared IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID (R7).
        RuntimeError: this instance is entered while it is open.
    """

    __slots__ = ("_given", "_token")

    def __init__(
        self,
        session_id: str | Unset | None = None,
        user_id: str | Unset | None = None,
        tenant_id: str | Unset | None = None,
        *,
        customer_id: str | Unset | None = None,
        **extra: str | Unset | None,
    ) -> None:
        given = {"session_id": session_id, "user_id": user_id, "tenant_id": tenant_id}
        self._given = one_tenant(given | {"customer_id": customer_id} | extra)
        self._token: Token[Node] | None = None
        for name, value in self._given.items():
            if value is not UNSET and value not in (None, ""):
                _ANY_ID.require(name, value)

    def __enter__(self) -> SessionContext:
        if self._token is not None:
            raise RuntimeError(
                "this session_context is open already: write session_context(...) anew per block"
            )
        self._token = bound.set(overlay(checked(self._given, empty_removes=False)))
        try:
            tell("bind")
        except BaseException:
            # A hook that raises, as under test, is followed by no __exit__.
            self.__exit__()
            raise
        return get_session_context()

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            put_back(token)

    async def __aenter__(self) -> SessionContext:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        return around(fn, enter=self._anew, hold=self._hold)

    def _anew(self) -> session_context:
        return session_context(**self._given)

    def _hold(self) -> Held:
        with self._anew():
            return Held(current())


class without:  # noqa: N801 - it reads as a preposition where it is used
    """
    A block in which nothing is bound, to start long-lived tasks in.

    A task started in a request shares its scope for as long as it lives;
    started in this block it has none. ``with`` and ``async with``.
    """

    __slots__ = ("_token",)

    _token: Token[Node]

    def __enter__(self) -> None:
        self._token = bound.set(UNBOUND)

    def __exit__(self, *_: object) -> None:
        put_back(self._token)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

"""
For tests: force IDs, speak as a trusted peer, fail loudly.

Nothing here can be switched on by a header or an environment variable (S30).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import TYPE_CHECKING, Any

from idlanyard._access import get_session_context
from idlanyard._binding import (
    UNSET,
    Node,
    Unset,
    bound,
    current,
    forced,
    overlay,
    put_back,
)
from idlanyard._change import checked
from idlanyard._events import Strictly
from idlanyard._policy import Policy
from idlanyard._snapshot import SessionContext

__all__ = ["client_headers", "override", "raise_failures", "session_ids"]

raise_failures = Strictly
"""
A block in which a failing hook or sink of ours raises instead of being logged
(R14).
"""


if TYPE_CHECKING:
    session_ids: Callable[..., SessionContext]


class override:  # noqa: N801 - it reads as a verb where it is used
    """
    Let every request handled meanwhile have these IDs, and this code too.

    The requests may run in any thread of this process. The IDs have the
    provenance ``CODE``; ``UNSET`` makes one absent, ``None`` and ``""`` mean
    "not given". Failures of hooks are raised meanwhile.

    Args:
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID (R7).
    """

    __slots__ = ("_before", "_ids", "_strictly", "_token")

    _before: dict[str, Any]
    _token: Token[Node]

    def __init__(self, **ids: str | Unset | None) -> None:
        self._ids = ids
        self._strictly = Strictly()

    def __enter__(self) -> SessionContext:
        delta = checked(self._ids)
        self._strictly.__enter__()
        self._before = dict(forced)
        forced.update(delta)
        self._token = bound.set(overlay(delta))
        return get_session_context()

    def __exit__(self, *_: object) -> None:
        put_back(self._token)
        forced.clear()
        forced.update(self._before)
        self._strictly.__exit__()


def client_headers(policy: Policy | None = None, **ids: str | Unset | None) -> dict[str, str]:
    """
    Return request headers that carry *ids* as a proxy would send them.

    ``None``, ``""`` and ``UNSET`` leave a header out.

    Args:
        policy: the application's; its headers are used, and its shared
            secret is added where it has one. Left out, the one in force.
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value not a ``str``.
        ValueError: a value is no ID (R7).
    """
    policy = policy or current().policy
    headers: dict[str, str] = {}
    for name, value in ids.items():
        spec = policy.specs.get("tenant_id" if name == "customer_id" else name)
        if spec is None:
            policy.check(name)
            raise TypeError(f"{name} is left out of this policy, so no header carries it")
        if value not in (None, "", UNSET):
            headers[spec.header] = spec.check.require(name, value)
    if policy.shared_secret is not None:
        headers[policy.shared_secret[0]] = policy.secrets[0].decode("latin-1")
    return headers


def __getattr__(name: str) -> Any:
    if name == "session_ids":
        return _fixture()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _fixture() -> Any:
    """
    Make the pytest fixture ``session_ids``: a function that calls ``override`` for the test.

    Put ``from idlanyard.testing import session_ids`` into ``conftest.py``.
    """
    import contextlib

    import pytest

    @pytest.fixture
    def session_ids() -> Any:
        """
        Return a function that forces IDs until the test ends, as ``session_ids(user_id="a")``.
        """
        with contextlib.ExitStack() as stack:

            def force(**ids: Any) -> SessionContext:
                return stack.enter_context(override(**ids))

            yield force

    return session_ids

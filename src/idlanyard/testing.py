"""
For tests: force IDs, send headers as a trusted proxy does, raise failures.

No header and no environment variable switches any of this on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Any

from idlanyard._binding.blocks import Block
from idlanyard._binding.changing import ID, call_for_id, check_ids
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.snapshot import UNSET, SessionContext, Values
from idlanyard._binding.state import (
    Binding,
    Delta,
    Overlay,
    bound,
    find_request_ids,
    forced,
    get_binding,
    reset_binding,
)
from idlanyard._failures import FailuresRaised
from idlanyard._policy.policy import Policy, checked_policy
from idlanyard._policy.spec import check_of
from idlanyard.ids import Provenance

__all__ = ["client_headers", "override", "raise_failures", "session_ids"]

raise_failures = FailuresRaised
"""
A block in which a failing hook or sink raises instead of being logged.
"""


if TYPE_CHECKING:
    session_ids: Callable[..., SessionContext]


class override(Block):  # noqa: N801 - it reads as a verb where it is used
    """
    Force these IDs for the block and for every request handled during it, in any thread.

    The IDs have the provenance ``CODE``; ``UNSET`` makes one absent, ``None``
    and ``""`` mean "not given". Failures of hooks are raised during the
    block. The IDs are forced until the block ends; several blocks may end in
    any order.

    Args:
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value is not a ``str``.
        ValueError: a value is not a valid ID.
        RuntimeError: this instance is entered while it is open.
    """

    __slots__ = ("_entry", "_given", "_layer", "_raised")

    _if_open = "this override is open already: write override(...) anew per block"
    _entry: _Entry
    _layer: _Layer

    def __init__(self, **ids: ID) -> None:
        super().__init__()
        self._given = ids
        self._raised = FailuresRaised()

    def __enter__(self) -> SessionContext:
        self._enter(None)
        return get_session_context()

    def _make_binding(self) -> Binding:
        self._entry = _Entry(check_ids(self._given))
        self._layer = _Layer(get_binding(), self._entry)
        self._raised.__enter__()
        forced.append(self._entry)
        return self._layer

    def _leave(self, token: Token[Binding]) -> None:
        forced.remove(self._entry)
        self._raised.__exit__()
        if get_binding() is self._layer:
            reset_binding(token)
        binding = get_binding()
        # Blocks may end in any order: one below may have ended before.
        while isinstance(binding, _Layer) and binding.entry not in forced:
            binding = binding.under
        if binding is not get_binding():
            bound.set(binding)


class _Entry(dict[str, tuple[str | None, Provenance | None]]):
    """
    The IDs that one block forces; equal to no other entry, also with the same IDs.
    """

    __slots__ = ()

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__  # type: ignore[assignment]


class _Changes(Mapping[str, tuple[str | None, Provenance | None]]):
    """
    The changes of the binding below, and the IDs that the block still forces.
    """

    __slots__ = ("_below", "_entry")

    def __init__(self, under: Binding, entry: _Entry) -> None:
        self._below: Delta = under.delta if isinstance(under, Overlay) else {}
        self._entry = entry

    def _current_changes(self) -> Delta:
        return {**self._below, **self._entry} if self._entry in forced else self._below

    def __getitem__(self, name: str) -> tuple[str | None, Provenance | None]:
        return self._current_changes()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current_changes())

    def __len__(self) -> int:
        return len(self._current_changes())


class _Layer(Overlay):
    """
    The overlay of a block; it changes no ID once the block has ended.
    """

    __slots__ = ("entry", "under")

    def __init__(self, under: Binding, entry: _Entry) -> None:
        super().__init__(find_request_ids(), _Changes(under, entry))
        self.under = under
        self.entry = entry

    @property
    def values(self) -> Values:
        """
        The values of the request below with the IDs that are still forced, made anew each time.
        """
        return Overlay(self.over, self.delta).values


def client_headers(policy: Policy | None = None, **ids: ID) -> dict[str, str]:
    """
    Return the request headers by which a trusted proxy would send *ids*.

    ``None``, ``""`` and ``UNSET`` leave a header out.

    Args:
        policy: the application's; its headers are used, and its shared
            secret is added if it has one. Left out, the current policy.
        ids: IDs by name.

    Raises:
        TypeError: an ID is not declared, or its value is not a ``str``.
        ValueError: a value is not a valid ID.
    """
    rules = checked_policy(policy) if policy else get_binding().policy
    headers: dict[str, str] = {}
    for name, given in ids.items():
        spec = rules.specs.get("tenant_id" if name == "customer_id" else name)
        if spec is None:
            rules.check(name)
            raise TypeError(f"{name} is left out of this policy, so no header carries it")
        value = call_for_id(name, given) if callable(given) else given
        if value not in (None, "", UNSET):
            headers[spec.header] = check_of(spec).require(name, value)
    if rules.secret_header is not None:
        headers[rules.secret_header] = rules.secrets[0].decode("latin-1")
    return headers


def __getattr__(name: str) -> Any:
    if name == "session_ids":
        return _make_fixture()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _make_fixture() -> Any:
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

"""
Blocks that bind IDs and restore what was bound before, and ``scoped_iter`` for the
steps of an iterable.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextvars import Token
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, ParamSpec, TypeVar, overload

from idlanyard._binding.changing import ID, check_id_function, check_ids, emit_event
from idlanyard._binding.functions import SteppedBinding, is_wrappable, wrap_function
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.snapshot import UNSET, SessionContext, merge_tenant_names
from idlanyard._binding.state import (
    UNBOUND,
    Binding,
    bound,
    get_binding,
    make_overlay,
    reset_binding,
)
from idlanyard._policy.id_check import IDCheck

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ANY_ID: Final = IDCheck("visible", 1024)


class Block:
    """
    A block that binds something on entry and restores the binding from before on exit.
    """

    __slots__ = ("_token",)

    _if_open: ClassVar[str]
    """
    The message for an instance that is entered while it is open.
    """

    def __init__(self) -> None:
        self._token: Token[Binding] | None = None

    def _make_binding(self) -> Binding | None:
        """
        Return the binding of this block, or ``None`` if nothing is to change.
        """

    def _enter(
        self, event: Literal["bind"] | None = "bind", *, begins: Literal["job"] | None = None
    ) -> None:
        """
        Bind, and emit *event*.

        Raises:
            RuntimeError: this instance is open.
        """
        if self._token is not None:
            raise RuntimeError(self._if_open)
        binding = self._make_binding()
        if binding is None:
            return
        self._token = bound.set(binding)
        if event is not None:
            try:
                emit_event(event, begins=begins)
            except BaseException:
                # Python calls no __exit__ after an __enter__ that raises, as hooks do under test.
                self.__exit__()
                raise

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            self._leave(token)

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def _leave(self, token: Token[Binding]) -> None:
        reset_binding(token)


class session_context(Block):  # noqa: N801 - it reads as a verb where it is used
    """
    Bind IDs for a block: ``with``, ``async with`` or as a decorator.

    Only the given IDs change; leaving the block restores the IDs from before.
    ``None`` and ``""`` mean "not given", ``UNSET`` hides an ID. A function
    without arguments is called for its value at each entry, so that
    ``@session_context(new_session_id)`` mints an ID per call. The block
    yields the IDs that are current in it. As a decorator it binds the IDs for
    each call, and a function of any kind (plain, coroutine, generator) keeps
    its kind; the IDs are bound during the steps of a decorated generator and
    never between them.

    A plain ``with`` inside a generator is open while the generator waits:
    decorate the generator instead.

    Args:
        session_id: the session.
        user_id: the user.
        tenant_id: the tenant, also called ``customer_id``.
        customer_id: the tenant.
        extra: further declared IDs by name.

    Raises:
        TypeError: an ID is not declared, its value is not a ``str``, or a
            class is decorated.
        ValueError: a value is not a valid ID.
        RuntimeError: this instance is entered while it is open.
    """

    __slots__ = ("_block", "_given")

    _if_open = "this session_context is open already: write session_context(...) anew per block"
    _block: list[None]

    def __init__(
        self,
        session_id: ID = None,
        user_id: ID = None,
        tenant_id: ID = None,
        *,
        customer_id: ID = None,
        **extra: ID,
    ) -> None:
        super().__init__()
        given = {"session_id": session_id, "user_id": user_id, "tenant_id": tenant_id}
        self._given = merge_tenant_names(given | {"customer_id": customer_id} | extra)
        for name, value in self._given.items():
            _check_early(name, value)

    def __enter__(self) -> SessionContext:
        self._enter()
        return get_session_context()

    async def __aenter__(self) -> SessionContext:
        return self.__enter__()

    def _make_binding(self) -> Binding:
        layer = make_overlay(check_ids(self._given))
        layer.block = self._block = [None]
        return layer

    def _leave(self, token: Token[Binding]) -> None:
        self._block.clear()
        reset_binding(token)

    if TYPE_CHECKING:

        def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    else:

        def __call__(self, *given: Any, **named: Any) -> Any:
            # @session_context without parentheses has taken the function for the session ID.
            if len(given) != 1 or named or not is_wrappable(fn := given[0]) or isinstance(fn, type):
                raise TypeError(_HOW_TO_DECORATE)
            return wrap_function(fn, enter=self._make_equal, make_stepped=self._make_stepped)

    def _make_equal(self) -> session_context:
        block = session_context()
        block._given = self._given
        return block

    def _make_stepped(self) -> SteppedBinding:
        with self._make_equal():
            return SteppedBinding(get_binding())


_HOW_TO_DECORATE: Final = (
    "session_context decorates a function or a method: write @session_context(session_id=...) "
    "above it, below @staticmethod, @classmethod and @property; a class has no IDs, its methods do"
)


def _check_early(name: str, value: object) -> None:
    """
    Check that some policy may accept a value, at once and not only when the block is entered.

    Raises:
        TypeError: the value is neither a ``str`` nor a function that may return one.
        ValueError: no policy accepts the value.
    """
    if isinstance(value, property | classmethod):
        raise TypeError(_HOW_TO_DECORATE)
    if callable(value):
        check_id_function(name, value)
    elif value in (None, "", UNSET):
        return
    elif not isinstance(value, str) or _ANY_ID.reason(value) is not None:
        # The current policy is narrower, and its message says what to write.
        get_binding().policy.check(name).require(name, value)


class without(Block):  # noqa: N801 - it reads as a preposition where it is used
    """
    A block in which no IDs are bound, to start long-lived tasks in.

    A task that is started in a request shares the IDs of that request for as
    long as it lives; a task that is started in this block has none. Use
    ``with`` or ``async with``.

    Raises:
        RuntimeError: this instance is entered while it is open.
    """

    __slots__ = ()

    _if_open = "this block is open already: write without() anew per block"

    def __enter__(self) -> None:
        self._enter(None)

    async def __aenter__(self) -> None:
        self.__enter__()

    def _make_binding(self) -> Binding:
        return UNBOUND


class ScopedIterator(Iterator[T]):
    """
    An iterator whose steps run with the IDs that were current where it was made.
    """

    __slots__ = ("_binding", "_inner")

    def __init__(self, iterable: Iterable[T]) -> None:
        self._binding = get_binding()
        self._inner = iter(iterable)

    def __next__(self) -> T:
        # Steps may overlap in several threads: each restores the binding of its own thread.
        stepped = SteppedBinding(self._binding)
        try:
            with stepped:
                return next(self._inner)
        finally:
            self._binding = stepped.binding

    def close(self) -> None:
        """
        Close the iterable, if it has a method for that.
        """
        close = getattr(self._inner, "close", None)
        if close is not None:
            with SteppedBinding(self._binding):
                close()


class AsyncScopedIterator(AsyncIterator[T]):
    """
    An async iterator whose steps run with the IDs that were current where it was made.
    """

    __slots__ = ("_binding", "_inner")

    def __init__(self, iterable: AsyncIterable[T]) -> None:
        self._binding = get_binding()
        self._inner = aiter(iterable)

    async def __anext__(self) -> T:
        stepped = SteppedBinding(self._binding)
        try:
            with stepped:
                return await anext(self._inner)
        finally:
            self._binding = stepped.binding

    async def aclose(self) -> None:
        """
        Close the iterable, if it has a method for that.
        """
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            with SteppedBinding(self._binding):
                await close()


@overload
def scoped_iter(iterable: AsyncIterable[T]) -> AsyncScopedIterator[T]: ...
@overload
def scoped_iter(iterable: Iterable[T]) -> ScopedIterator[T]: ...
def scoped_iter(
    iterable: Iterable[T] | AsyncIterable[T],
) -> ScopedIterator[T] | AsyncScopedIterator[T]:
    """
    Return an iterator whose steps run with the current IDs.

    Between the steps the consumer has its own IDs, also if it breaks off
    early, closes the iterator from another task or leaves it to the garbage
    collector.

    Args:
        iterable: any iterable or async iterable.

    Raises:
        TypeError: *iterable* is neither.
    """
    if isinstance(iterable, AsyncIterable):
        return AsyncScopedIterator(iterable)
    return ScopedIterator(iterable)

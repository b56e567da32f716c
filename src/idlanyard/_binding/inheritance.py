"""
Bindings in threads that start with a copy of the Context of the thread that started them.
"""

from __future__ import annotations

import sys
import threading
from contextvars import Context, ContextVar, Token
from typing import Any, Final, Generic, Protocol, TypeVar

from idlanyard import _failures
from idlanyard._binding.runtime import is_event_loop_running

INHERITS: Final = bool(getattr(sys.flags, "thread_inherit_context", False))


def warn_of_inheritance(*, inherits: bool = INHERITS) -> None:
    """
    Warn once per process, when a middleware is built, that threads inherit a Context.
    """
    if inherits:
        _failures.warn_once(
            "threads that inherit",
            "idlanyard: threads of this Python start with the context of the code that starts "
            "them, so a plain pool's thread has the IDs of the request that started it for as "
            "long as that goes on, whatever it works on: use ContextThreadPoolExecutor, for "
            "run_in_executor by loop.set_default_executor(ContextThreadPoolExecutor()), or "
            "start Python with -X thread_inherit_context=0",
        )


class Inheritable(Protocol):
    """
    A value of the variable, as far as inheritance is concerned.
    """

    @property
    def is_over(self) -> bool:
        """
        Whether the request, the job or the block is over.
        """
        ...

    @property
    def inherited(self) -> tuple[Any, Any] | None:
        """
        The inherited binding below this one, and the binding that counts once that is over.
        """
        ...

    def copy_as_own(self) -> Any:
        """
        Return an equal binding that is another object.
        """
        ...


B = TypeVar("B", bound=Inheritable)


class InheritedVariable(Generic[B]):
    """
    A variable that tells a binding that a thread was given from one that it only inherited.

    Args:
        variable: holds a binding in each Context.
        unbound: its value where nothing is bound.
    """

    __slots__ = ("_of_thread", "_unbound", "_variable")

    def __init__(self, variable: ContextVar[B], unbound: B) -> None:
        self._variable = variable
        self._unbound = unbound
        self._of_thread = threading.local()

    def get(self) -> B:
        """
        Return the current binding, unless it is over and this thread only inherited it.
        """
        binding = self._variable.get()
        if binding is self._inherited():
            return self._unbound if binding.is_over and self._is_current() else binding
        if binding.inherited is None:
            return binding
        below, rest = binding.inherited
        return rest if below.is_over else binding

    def set(self, binding: B) -> Token[B]:
        """
        Bind *binding*, which from now on is this thread's own.
        """
        return self._variable.set(
            binding.copy_as_own() if binding is self._inherited() else binding
        )

    def reset(self, token: Token[B]) -> None:
        """
        Restore the binding from before.
        """
        self._variable.reset(token)

    def inherited_below(self, binding: B) -> B | None:
        """
        Return the inherited binding that a layer over *binding* has below it, if any.
        """
        if binding is self._inherited() and self._is_current():
            return binding
        return None if binding.inherited is None else binding.inherited[0]

    def _inherited(self) -> B | None:
        """
        Return the binding that this thread started with, if any.

        Every other binding in this thread is set by us, after this was called.
        """
        try:
            inherited: B | None = self._of_thread.inherited
        except AttributeError:
            context = _context_of_thread()
            inherited = None if context is None else context.get(self._variable)
            self._of_thread.inherited = inherited
        return inherited

    def _is_current(self) -> bool:
        """
        Return whether the current Context is the one that this thread started with.

        A function that runs in a copy of a request's Context, as by
        ``asyncio.to_thread``, may have the same binding in the very thread
        that the request started. The tasks of a loop cannot be told apart so.
        """
        if is_event_loop_running():
            return True
        context = _context_of_thread()
        token = self._variable.set(self._unbound)
        try:
            return context is not None and context.get(self._variable) is self._unbound
        finally:
            self._variable.reset(token)


def _context_of_thread() -> Context | None:
    # CPython 3.14 and 3.15 keep it in this attribute, and nowhere else.
    context = getattr(threading.current_thread(), "_context", None)
    return context if isinstance(context, Context) else None

"""
Current IDs in threads and child processes that begin as a copy of their parent.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar, Token
from typing import TYPE_CHECKING, Final

from idlanyard import _failures

if TYPE_CHECKING:
    from idlanyard._binding.state import Binding, Delta, Overlay


def call_after_fork(renew: Callable[[], object]) -> None:
    """
    Call *renew* in every process that is forked from this one.

    Args:
        renew: takes nothing; replaces locks that another thread held at the
            fork, which nobody would ever release, and what must not be shared.
    """
    # There are no forks on Windows.
    getattr(os, "register_at_fork", dict)(after_in_child=renew)


def is_main_thread() -> bool:
    """
    Return whether this is the main thread, also where greenlets have idents of their own.
    """
    main = threading.main_thread()
    return threading.get_ident() == main.ident or _native_id() == main.native_id


def _native_id() -> int | None:
    # Not every platform has them.
    get = getattr(threading, "get_native_id", None)
    return None if get is None else get()


def is_event_loop_running() -> bool:
    """
    Return whether an event loop of asyncio or trio is running in this thread.
    """
    for library, ask in (("asyncio", "get_running_loop"), ("trio.lowlevel", "current_task")):
        try:
            # A library that nobody has imported runs no loop.
            getattr(sys.modules[library], ask)()
        except (LookupError, AttributeError, RuntimeError):
            continue
        return True
    return False


INHERITS: Final = bool(getattr(sys.flags, "thread_inherit_context", False))


def warn_of_inheritance(*, inherits: bool = INHERITS) -> None:
    """
    Warn once per process, when a middleware is built, where threads inherit a Context.
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


class InheritedVariable:
    """
    A variable that tells what a thread was given from what it only inherited.

    Args:
        variable: holds a node in each Context.
        nothing: what it holds where nothing is bound.
    """

    __slots__ = ("_nothing", "_of_thread", "_variable")

    def __init__(self, variable: ContextVar[Binding], nothing: Binding) -> None:
        self._variable = variable
        self._nothing = nothing
        self._of_thread = threading.local()

    def get(self) -> Binding:
        """
        Return what is bound here, unless it is over and this thread only inherited it.
        """
        binding = self._variable.get()
        if binding is self._inherited():
            return self._nothing if binding.ended and self._is_here() else binding
        if binding.beyond is None:
            return binding
        inherited, rest = binding.beyond
        return rest if inherited.ended else binding

    def set(self, binding: Binding) -> Token[Binding]:
        """
        Bind *node* here; from now on it is this thread's own.
        """
        return self._variable.set(binding.again() if binding is self._inherited() else binding)

    def reset(self, token: Token[Binding]) -> None:
        """
        Bind what was bound before.
        """
        self._variable.reset(token)

    def adopt(self, layer: Overlay, below: Binding) -> Overlay:
        """
        Return *layer*, which outlives what it was made over if that was only inherited.
        """
        inherited = None
        if below is self._inherited() and self._is_here():
            inherited = below
        elif below.beyond is not None:
            inherited = below.beyond[0]
        if inherited is not None:
            theirs: Delta = getattr(inherited, "delta", {})
            own = {n: entry for n, entry in layer.delta.items() if theirs.get(n) is not entry}
            layer.beyond = inherited, layer.alone(own) if own else self._nothing
        return layer

    def _inherited(self) -> Binding | None:
        """
        Return what this thread started with, if that was anything.

        Whatever is bound in this thread is bound by us, after this was asked.
        """
        try:
            inherited: Binding | None = self._of_thread.inherited
        except AttributeError:
            context = _context_of_thread()
            inherited = None if context is None else context.get(self._variable)
            self._of_thread.inherited = inherited
        return inherited

    def _is_here(self) -> bool:
        """
        Return whether what this thread started with is what is in force here.

        A function that runs in a copy of a request's Context, as by
        ``asyncio.to_thread``, may have the same node in the very thread that
        the request started. The tasks of a loop cannot be told apart so.
        """
        if is_event_loop_running():
            return True
        context = _context_of_thread()
        token = self._variable.set(self._nothing)
        try:
            return context is not None and context.get(self._variable) is self._nothing
        finally:
            self._variable.reset(token)


def _context_of_thread() -> Context | None:
    # There is no public name for it: CPython 3.14 and 3.15 keep it there.
    context = getattr(threading.current_thread(), "_context", None)
    return context if isinstance(context, Context) else None

"""
The process, the thread and the event loop that the current code runs in.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


def call_after_fork(renew: Callable[[], object]) -> None:
    """
    Call *renew* in every process that is forked from this one.

    Args:
        renew: takes nothing; replaces locks that another thread held at the
            fork, which would stay locked for ever, and anything else that
            parent and child must not share.
    """
    # Windows has no forks, and no register_at_fork.
    getattr(os, "register_at_fork", dict)(after_in_child=renew)


def is_main_thread() -> bool:
    """
    Return whether this is the main thread, also if greenlets have idents of their own.
    """
    main = threading.main_thread()
    return threading.get_ident() == main.ident or _native_id() == main.native_id


def _native_id() -> int | None:
    # The function is missing on some platforms.
    get = getattr(threading, "get_native_id", None)
    return None if get is None else get()


def is_event_loop_running() -> bool:
    """
    Return whether an event loop of asyncio or trio is running in this thread.
    """
    for library, ask in (("asyncio", "get_running_loop"), ("trio.lowlevel", "current_task")):
        try:
            # A library that is not imported runs no loop.
            getattr(sys.modules[library], ask)()
        except (LookupError, AttributeError, RuntimeError):
            continue
        return True
    return False

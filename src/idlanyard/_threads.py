"""
Which thread this is: the main one, one that runs an event loop, or some other.
"""

from __future__ import annotations

import sys
import threading


def in_main_thread() -> bool:
    """
    Return whether this is the main thread, also where greenlets have idents of their own.
    """
    main = threading.main_thread()
    return threading.get_ident() == main.ident or _native_id() == main.native_id


def _native_id() -> int | None:
    # Not every platform has them.
    get = getattr(threading, "get_native_id", None)
    return None if get is None else get()


def runs_event_loop() -> bool:
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

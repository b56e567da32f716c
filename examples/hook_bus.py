"""
A bus of hooks, as frameworks for agents have one. A hook runs in the code that emits an
event, so it reads the IDs of that work. For each binding of IDs, idlanyard emits an event
of its own to the functions that ``subscribe`` has added.

    python examples/hook_bus.py
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

from idlanyard import get_session_id, session_context, subscribe

log = logging.getLogger("hooks")
Hook = Callable[..., object]


class Hooks:
    """
    Hooks by name, called first in, first out; one may be registered twice, remove itself or fail.
    """

    def __init__(self) -> None:
        self._hooks: dict[str, tuple[tuple[Hook], ...]] = {}

    def register(self, name: str, hook: Hook) -> Callable[[], None]:
        """
        Call *hook* for each event *name*, until the function that is returned is called.
        """
        # A new tuple per registration, since undo removes this one, not the same hook's other one.
        entry = (hook,)
        self._hooks[name] = (*self._hooks.get(name, ()), entry)

        def undo() -> None:
            rest = (other for other in self._hooks[name] if other is not entry)
            self._hooks[name] = tuple(rest)

        return undo

    async def emit(self, name: str, **facts: str) -> None:
        """
        Call every hook; the failure of one is logged, and the next one still runs.
        """
        for (hook,) in self._hooks.get(name, ()):
            try:
                told = hook(**facts)
                if inspect.isawaitable(told):
                    await told
            except Exception:
                log.exception("a hook of %s failed in session %s", name, get_session_id())


hooks = Hooks()


def before(tool: str) -> None:
    print(f"{get_session_id()} before {tool}")


async def after(tool: str) -> None:
    await asyncio.sleep(0)
    print(f"{get_session_id()} after {tool}")


def broken(tool: str) -> None:
    raise LookupError(tool)


def once(tool: str) -> None:
    print(f"{get_session_id()} first use of {tool}")
    forget_once()


async def use(tool: str) -> None:
    """
    Use a tool, and emit an event before and after.
    """
    await hooks.emit("before_tool", tool=tool)
    await asyncio.sleep(0)
    await hooks.emit("after_tool", tool=tool)


@session_context("chat-1")
async def first() -> None:
    await use("search")
    await use("search")


@session_context("chat-2")
async def second() -> None:
    await use("mail")


forget_once = hooks.register("before_tool", once)
hooks.register("before_tool", before)
hooks.register("after_tool", broken)
hooks.register("after_tool", after)
hooks.register("after_tool", after)


async def main() -> None:
    undo = subscribe("bind", lambda event: print(f"{event.context.session_id} bound"))
    await asyncio.gather(first(), second())
    undo()


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    asyncio.run(main())

"""
What every framework's test application says, and where it waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any, Final

from idlanyard import get_session_context

DEADLINE: Final = 30.0

RAISED: Final[list[Boom]] = []
"""
Every ``Boom`` there was, the last one last.
"""


class Boom(Exception):
    """
    What nobody handles.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        RAISED.append(self)


def ids() -> dict[str, Any]:
    """
    Return what is bound, and the rule that let each value in.
    """
    context = get_session_context()
    bound = context.as_dict()
    return {"ids": bound, "how": {name: str(context.provenance(name)) for name in bound}}


def seen(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """
    Return the same, and our headers as the framework's request shows them.
    """
    lines = {name.lower(): value for name, value in headers}
    return ids() | {"headers": {n: v for n, v in lines.items() if n.startswith("x-")}}


class Journal:
    """
    What the application did where no response tells of it; any thread may write.
    """

    def __init__(self) -> None:
        self._notes: list[tuple[str, Any]] = []
        self._written = threading.Condition()

    def note(self, kind: str, value: Any) -> None:
        """
        Write a note down.
        """
        with self._written:
            self._notes.append((kind, value))
            self._written.notify_all()

    def wait_for(self, kind: str, count: int = 1) -> list[Any]:
        """
        Return the notes of one kind as soon as there are *count* of them.
        """

        def of_kind() -> list[Any]:
            return [value for noted, value in self._notes if noted == kind]

        with self._written:
            assert self._written.wait_for(lambda: len(of_kind()) >= count, DEADLINE), (
                f"{kind}: {of_kind()} is all that came"
            )
            return of_kind()

    def clear(self) -> None:
        """
        Forget everything.
        """
        with self._written:
            self._notes.clear()


JOURNAL: Final = Journal()


class Gate:
    """
    Lets threads go once as many as they say are in.
    """

    def __init__(self) -> None:
        self._in: list[object] = []
        self._moved = threading.Condition()

    def wait(self, count: int) -> None:
        """
        Wait until *count* are in.
        """
        with self._moved:
            together = self._in
            together.append(object())
            if len(together) == count:
                self._in = []
                self._moved.notify_all()
            assert self._moved.wait_for(lambda: len(together) >= count, DEADLINE)


class AsyncGate:
    """
    The same for the tasks of one event loop.
    """

    def __init__(self) -> None:
        self._in: list[asyncio.Future[None]] = []

    async def wait(self, count: int) -> None:
        """
        Wait until *count* are in.
        """
        mine = asyncio.get_running_loop().create_future()
        together = self._in
        together.append(mine)
        if len(together) == count:
            self._in = []
            for future in together:
                future.set_result(None)
        await asyncio.wait_for(mine, DEADLINE)

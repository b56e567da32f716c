"""
The parts that the test applications of all frameworks share: their answers, their streams, the
journal of what they did, and the gates at which requests wait for each other.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from idlanyard import Policy, get_session_context, get_session_id

DEADLINE: Final = 30.0

RAISED: Final[list[Boom]] = []
"""
Every ``Boom`` there was, the last one last.
"""


class Boom(Exception):
    """
    An exception that no code handles.
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
    The application's actions that no response tells of; any thread may write.
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


def note_background() -> None:
    """
    Write down the IDs of work that goes on after its request.
    """
    JOURNAL.note("background", ids()["ids"])


async def note_background_async() -> None:
    """
    The same as a task.
    """
    note_background()


def _line(number: int) -> bytes:
    return f"{number} {get_session_id()}\n".encode()


def three() -> Iterator[bytes]:
    """
    Stream three lines, each with the session in which it is made.
    """
    for number in range(3):
        yield _line(number)


async def three_async() -> AsyncIterator[bytes]:
    """
    The same, async.
    """
    for number in range(3):
        yield _line(number)


def without_end() -> Iterator[bytes]:
    """
    Stream lines for as long as somebody reads, and write down in which session that ended.
    """
    try:
        for number in itertools.count():
            yield _line(number)
    finally:
        JOURNAL.note("left", get_session_id())


async def without_end_async() -> AsyncIterator[bytes]:
    """
    The same, async.
    """
    try:
        for number in itertools.count():
            yield _line(number)
            await asyncio.sleep(0)
    finally:
        JOURNAL.note("left", get_session_id())


def wrap_app(app: Any, middle: Sequence[Callable[..., Any]]) -> Any:
    """
    Return an application inside of middlewares, the outermost first.
    """
    for wrap in reversed(middle):
        app = wrap(app)
    return app


def building(bare: Callable[[bool], Any], middleware: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return a function that builds a fresh application inside the middleware of ours.

    Args:
        bare: makes the application without IDs, with a handler of its own for any
            ``Exception`` or without one.
        middleware: ours, for the application's protocol.
    """

    def build(
        policy: Policy | None = None,
        *,
        handler: bool = False,
        middle: Sequence[Callable[..., Any]] = (),
    ) -> Any:
        return middleware(wrap_app(bare(handler), middle), policy)

    return build


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

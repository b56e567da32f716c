"""
Events of the tour, from the threads that read them to the pages that show them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

TourEvent: TypeAlias = dict[str, Any]


class Hub:
    """
    Passes each event to every page that listens.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._listening: dict[asyncio.Queue[TourEvent | None], asyncio.AbstractEventLoop] = {}
        self._closed = False

    def publish(self, event: TourEvent | None) -> None:
        """
        Pass an event to those who listen now; ``None`` ends their listening.
        """
        with self._changing:
            for queue, loop in self._listening.items():
                loop.call_soon_threadsafe(queue.put_nowait, event)

    def close(self) -> None:
        """
        End the listening of all, and of those who begin later.
        """
        with self._changing:
            self._closed = True
        self.publish(None)

    async def listen(self) -> AsyncIterator[TourEvent]:
        """
        Yield the events from now on.
        """
        queue: asyncio.Queue[TourEvent | None] = asyncio.Queue()
        with self._changing:
            if self._closed:
                return
            self._listening[queue] = asyncio.get_running_loop()
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            with self._changing:
                del self._listening[queue]

"""
A way to a server that can lead elsewhere, and whose connections can die without a word.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

BYTES = 1 << 16


class _Pair:
    """
    A connection of a client's, and the one to the server that it leads to.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.ends = near, far
        self.is_dead = False

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(BYTES):
                if not self.is_dead:
                    sink.sendall(data)
        self.cut()

    def cut(self) -> None:
        # One that is dead ends as a host does that is gone: it says nothing.
        if not self.is_dead:
            for end in self.ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


class Gate:
    """
    A port of its own, behind which another one answers. Use it with ``with``.

    Args:
        target: the port that answers new connections; it may be set anew.
    """

    def __init__(self, target: int = 0) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = int(self._listener.getsockname()[1])
        self.pairs: list[_Pair] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.open = 0
        self.peak = 0

    @property
    def url(self) -> str:
        """
        The port that it listens on.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def vanish(self) -> None:
        """
        Make every connection die as behind a host that is gone; new ones work.
        """
        for pair in self.pairs:
            pair.is_dead = True

    def cut(self) -> None:
        """
        End every connection there is.
        """
        for pair in self.pairs:
            pair.cut()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self.pairs:
            pair.is_dead = False
            pair.cut()
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                pair = _Pair(near, far)
                self.pairs.append(pair)
                self._start(self._serve, pair)

    def _serve(self, pair: _Pair) -> None:
        near, far = pair.ends
        with self._lock:
            self.open += 1
            self.peak = max(self.peak, self.open)
        back = threading.Thread(target=pair.pump, args=(far, near))
        back.start()
        pair.pump(near, far)
        with self._lock:
            self.open -= 1
        pair.is_dead = False
        pair.cut()
        back.join()
        near.close()
        far.close()

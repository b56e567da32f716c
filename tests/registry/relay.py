"""
Stands between a client and a server: loses answers, is slow, or speaks TLS.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from types import TracebackType
from typing import Self

BYTES = 1 << 16


class Relay:
    """
    A port of its own, behind which another one answers.

    Args:
        target: the port that answers; may be set later.
        delay: how many seconds every answer takes longer.
        context: with it, clients speak TLS.
    """

    def __init__(
        self, target: int = 0, *, delay: float = 0.0, context: ssl.SSLContext | None = None
    ) -> None:
        self.target = target
        self._delay = delay
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self.marks: list[bytes] = []
        self._is_open = True
        self.between: Callable[[], object] = lambda: None
        self.lost = 0

    @property
    def url(self) -> str:
        """
        The port that it listens on.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def lose(self, mark: bytes) -> None:
        """
        Lose the answer to the next question that has this in it, and break the connection.
        """
        self.marks.append(mark)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(lambda client=client: self._serve(client))  # type: ignore[misc]

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            closing(client),
            self._secured(client) as near,
            socket.create_connection(("127.0.0.1", self.target)) as far,
        ):
            while self._is_open and self._pass_on(near, far):
                pass

    @contextmanager
    def _secured(self, client: socket.socket) -> Iterator[socket.socket]:
        if self._context is None:
            yield client
            return
        with self._context.wrap_socket(client, server_side=True) as secured:
            yield secured

    def _pass_on(self, near: socket.socket, far: socket.socket) -> bool:
        """
        Pass on what there is, and say whether more may follow.
        """
        ready, _, _ = select.select([near, far], [], [], 0.05)
        if near in ready:
            asked = _received(near)
            far.sendall(asked)
            return bool(asked) and not self._loses(asked, near, far)
        if far in ready:
            answer = far.recv(BYTES)
            time.sleep(self._delay)
            near.sendall(answer)
            return bool(answer)
        return True

    def _loses(self, asked: bytes, near: socket.socket, far: socket.socket) -> bool:
        """
        Return whether the answer is to be lost; if so, it has come, and something may be done.
        """
        found = [mark for mark in self.marks if mark in asked]
        if not found:
            return False
        self.marks.remove(found[0])
        if not self._awaited(near, far):
            return True
        self.lost += 1
        self.between()
        return True

    def _awaited(self, near: socket.socket, far: socket.socket) -> bytes:
        """
        Return the answer to a question whose rest may still be on its way, as the body of a
        request is when its headers have come.
        """
        open_ones = [near, far]
        while self._is_open:
            ready, _, _ = select.select(open_ones, [], [], 0.05)
            if far in ready:
                return far.recv(BYTES)
            if near in ready and (rest := _received(near)):
                far.sendall(rest)
            elif near in ready:
                open_ones.remove(near)
        return b""


def _received(near: socket.socket) -> bytes:
    asked = near.recv(BYTES)
    while isinstance(near, ssl.SSLSocket) and near.pending():
        asked += near.recv(BYTES)
    return asked

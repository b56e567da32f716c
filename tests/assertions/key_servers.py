"""
Key servers on this machine: one that answers, and those that hang, lie and redirect.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

Answer = Callable[[socket.socket, threading.Event], None]


def whole(body: bytes, status: str = "200 OK", *lines: str) -> Answer:
    """
    Return an answer of one piece.
    """
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""])
    return lambda connection, _: connection.sendall(head.encode() + body)


def keys(found: dict[str, Any]) -> Answer:
    """
    Return the answer of a key server that works.
    """
    return whole(json.dumps(found).encode())


def raw(data: bytes) -> Answer:
    """
    Return an answer of any bytes.
    """
    return lambda connection, _: connection.sendall(data)


def hang(connection: socket.socket, stopped: threading.Event) -> None:
    """
    Answer nothing until the test is over.
    """
    stopped.wait(60)


def drip(data: bytes) -> Answer:
    """
    Return an answer that begins with *data* and goes on for a while, a byte now and then.
    """

    def answer(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(data)
        # Not for ever, so that a client that would wait for ever fails its test.
        for _ in range(400):
            if stopped.wait(0.02):
                return
            connection.sendall(b"x")

    return answer


def repeat(data: bytes) -> Answer:
    """
    Return an answer that says the same for ever, as fast as it can.
    """

    def answer(connection: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            connection.sendall(data * 100)

    return answer


def flood(head: bytes) -> Answer:
    """
    Return an answer of 10 MB.
    """

    def answer(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(head)
        for _ in range(160):
            connection.sendall(b" " * 65536)

    return answer


class KeyServer:
    """
    A server on a loopback port that answers each request in the same way, until told otherwise.

    Args:
        answer: writes the answer to a connection.
        context: the certificate, for ``https``.

    Attributes:
        answer: may be replaced at any time.
        asked: the path of every request.
    """

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._context = context
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._listen)]

    @property
    def url(self) -> str:
        """
        The URL of the key set.
        """
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/keys"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        # A blocked accept() of another thread is not ended by closing.
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that has heard enough goes away in the middle.
        try:
            with connection:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    head = connection.makefile("rb")
                    path = head.readline().split(b" ")[1].decode()
                    while head.readline().strip():
                        pass
                    self.asked.append(path)
                    self.answer(connection, self._stopped)
        except (OSError, IndexError, UnicodeError):
            return

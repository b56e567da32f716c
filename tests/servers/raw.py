"""
HTTP over a raw socket: exactly the bytes that are written, and every line that comes back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from servers.launch import Running

Line = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """
    One response.

    Attributes:
        status: its status; 0 where the server closed the connection.
        lines: its header lines in order, names in lower case.
        body: its body.
    """

    status: int
    lines: list[Line]
    body: bytes

    def all(self, name: str) -> list[str]:
        """
        Return the value of every line called *name*.
        """
        return [value for key, value in self.lines if key == name]

    def json(self) -> Any:
        """
        Return what the application says it saw.
        """
        return json.loads(self.body)


def ask(up: Running, path: str, headers: Iterable[Line] | bytes = ()) -> Answer:
    """
    Send one request; text header lines are written as latin-1, bytes as they are.
    """
    if not isinstance(headers, bytes):
        headers = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)
    request = b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n" + headers
    if b"connection:" not in headers.lower():
        request += b"Connection: close\r\n"
    return send_bytes(up, request + b"\r\n")


def send_bytes(up: Running, request: bytes) -> Answer:
    """
    Send bytes as they are, and return the response to the first request in them.
    """
    received = b""
    with up.connect() as connection:
        try:
            connection.sendall(request)
            while not _whole(received) and (piece := connection.recv(65536)):
                received += piece
        except (ConnectionError, TimeoutError):
            pass
    return parsed(received)


def handshake(up: Running, path: str, headers: Iterable[Line] = ()) -> Answer:
    """
    Ask for a WebSocket and return the answer to the handshake.
    """
    wanted = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    return ask(up, path, [*wanted, *headers])


def parsed(received: bytes) -> Answer:
    """
    Return the parts of a response.
    """
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if words[1:2] == ["100"]:
        return parsed(body)
    lines = [line.partition(":") for line in rest]
    found = [(name.strip().lower(), value.strip()) for name, _, value in lines]
    if ("transfer-encoding", "chunked") in found:
        body = _unchunked(body)
    for name, value in found:
        # What follows is the response to bytes that the server took for another request.
        body = body[: int(value)] if name == "content-length" and value.isdigit() else body
    return Answer(int(words[1]) if len(words) > 1 else 0, found, body)


def _whole(received: bytes) -> bool:
    """
    Return whether the response is complete, on a connection that may stay open.
    """
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return b" 101 " in head.split(b"\r\n")[0] or (found is not None and len(body) >= int(found[1]))


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        whole += body[:length]
        body = body[length + 2 :]
    return whole

"""
Requests over real connections, byte by byte as they are meant.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

from idlanyard._doctor._observations import Lines, Probe
from idlanyard._doctor._target import describe_error

HOST: Final = "127.0.0.1"

_KEY: Final = "aWRsYW55YXJkLWRvY3Rvcg=="
_MOST: Final = 65_536
_BODY: Final = b"{}"


class Reply(NamedTuple):
    """
    A response, or the error in its place.

    Attributes:
        status: the status; 0 if there is none.
        headers: the header lines.
        body: the beginning of the body.
        fault: the error in words, or ``""``.
        closes: whether the connection takes no other request.
    """

    status: int
    headers: Lines
    body: bytes
    fault: str
    closes: bool = True


@contextmanager
def open_connection(port: int, timeout: float) -> Generator[socket.socket, None, None]:
    """
    Keep a connection to the server open meanwhile.
    """
    with socket.create_connection((HOST, port), timeout=timeout) as connection:
        yield connection


def send_probe(
    connection: socket.socket, probe: Probe, host: str, *, is_last: bool = True
) -> Reply:
    """
    Send one request and read the response.

    Args:
        connection: an open connection.
        probe: the request.
        host: the host that it is for.
        is_last: whether the connection is closed afterwards.
    """
    response = http.client.HTTPResponse(connection, method=probe.method)
    try:
        connection.sendall(write_request(probe, host, is_last=is_last))
        response.begin()
        body = _read_body(response)
        return Reply(response.status, response.getheaders(), body, "", response.will_close)
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, [], b"", describe_error(error))
    finally:
        response.close()


def _read_body(response: http.client.HTTPResponse) -> bytes:
    """
    Return the beginning of a body: it may have no end.
    """
    try:
        return response.read(_MOST)
    except (OSError, http.client.HTTPException):
        return b""


def write_request(probe: Probe, host: str, *, is_last: bool) -> bytes:
    """
    Return the bytes of a request.
    """
    lines = [("Host", host), *probe.headers]
    body = b""
    if probe.websocket:
        lines += [("Upgrade", "websocket"), ("Connection", "Upgrade")]
        lines += [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", _KEY)]
    elif is_last:
        lines.append(("Connection", "close"))
    if probe.trailers:
        lines += [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]
        body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(_BODY), _BODY, _write_lines(probe.trailers))
    head = f"{probe.method} {probe.path} HTTP/1.1\r\n".encode("latin-1")
    return head + _write_lines(lines) + b"\r\n" + body


def _write_lines(lines: Lines) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")

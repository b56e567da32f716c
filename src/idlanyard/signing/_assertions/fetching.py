"""
Getting keys by HTTP: from the URL that the code names, in bounded time, of bounded size.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import time
from http.client import HTTPConnection, HTTPException
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from idlanyard.signing._assertions.keys import KeysUnusable

SECONDS: Final = 10.0
"""
The most seconds that a key server may take for all of its answer.
"""

MOST_BYTES: Final = 256_000
"""
The most bytes of an answer.
"""

# Some key servers refuse a client without a name, or one that is called Python.
_HEADERS: Final = {"Accept": "*/*", "Connection": "close", "User-Agent": "idlanyard"}
_ODD: Final = re.compile(r"[^!-~]|[\\#]")
# Buckets answer 403 for a name that is not there.
_NOT_FOUND: Final = (403, 404, 410)
_LOOPBACK: Final = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


class KeyNotFound(KeysUnusable):
    """
    The key server has answered that there is nothing at the URL, or no longer.
    """


class KeyURL(NamedTuple):
    """
    The parts of a URL that keys are fetched from.

    Attributes:
        secure: whether it begins with ``https://``.
        host: the host, as it is resolved.
        port: the port, ``None`` for the usual one.
        target: the path and the query, as the request line has them.
    """

    secure: bool
    host: str
    port: int | None
    target: str


def parse_key_url(text: str) -> KeyURL | None:
    """
    Return the parts of a URL, or ``None`` if no keys may be fetched from it.

    It begins with ``https://``; ``http://`` is only for this very machine.
    """
    if _ODD.search(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    is_local = parts.scheme == "http" and _LOOPBACK.fullmatch(host) is not None
    if not host or not (parts.scheme == "https" or is_local):
        return None
    # Neither a user nor the ID of a key: a token must not choose the server.
    if any(letter in parts.netloc for letter in "@{}"):
        return None
    query = f"?{parts.query}" if parts.query else ""
    return KeyURL(parts.scheme == "https", host, port, f"{parts.path or '/'}{query}")


def fetch_answer(url: KeyURL, seconds: float = SECONDS) -> bytes:
    """
    Return the body of a key server's answer, which has to be 200.

    A redirect is a failure like any other status, and proxies that the
    environment names are not asked.

    Raises:
        KeyNotFound: the status is 403, 404 or 410.
        KeysUnusable: the server cannot be reached, takes too long, or answers
            something else.
    """
    try:
        body = _read_answer(url, time.monotonic() + seconds)
    except TimeoutError:
        raise KeysUnusable("no answer in time") from None
    except ssl.SSLCertVerificationError:
        raise KeysUnusable("no valid certificate") from None
    except OSError:
        raise KeysUnusable("no connection") from None
    except (HTTPException, ValueError):
        raise KeysUnusable("no HTTP") from None
    if len(body) > MOST_BYTES:
        raise KeysUnusable(f"more than {MOST_BYTES} bytes")
    return body


def _read_answer(url: KeyURL, deadline: float) -> bytes:
    port = url.port or (443 if url.secure else 80)
    addresses = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    connected = connect_to_any([(family, address) for family, *_, address in addresses], deadline)
    try:
        if url.secure:
            connected.settimeout(measure_rest(deadline))
            context = ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=url.host)
        return _ask_server(connected, url, deadline)
    finally:
        connected.close()


def connect_to_any(
    addresses: list[tuple[socket.AddressFamily, Any]], deadline: float
) -> socket.socket:
    """
    Return a socket that is connected to the first address that can be reached.

    Each address has its share of the time, so that one that does not answer
    leaves some for the next.

    Raises:
        OSError: none can be reached before the deadline.
    """
    fault: OSError = TimeoutError()
    for number, (family, address) in enumerate(addresses):
        connected = socket.socket(family, socket.SOCK_STREAM)
        try:
            connected.settimeout(measure_rest(deadline) / (len(addresses) - number))
            connected.connect(address)
        except OSError as error:
            connected.close()
            fault = error
        else:
            return connected
    raise fault


def _ask_server(connected: socket.socket, url: KeyURL, deadline: float) -> bytes:
    usual = 443 if url.secure else 80
    connection = HTTPConnection(url.host, url.port or usual)
    # The Host line leaves the usual port out.
    connection.default_port = usual
    connection.sock = _BoundedSocket(connected, deadline)
    connection.request("GET", url.target, headers=_HEADERS)
    response = connection.getresponse()
    if response.status in _NOT_FOUND:
        raise KeyNotFound(f"status {response.status}")
    if response.status != 200:
        raise KeysUnusable(f"status {response.status}")
    return response.read(MOST_BYTES + 1)


class _BoundedSocket:
    """
    A connected socket on which everything ends at a deadline.

    The timeout of a socket is one for each read, and a server that sends a
    byte now and then never exceeds it.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        """
        Send all of *data*.
        """
        self._connected.settimeout(measure_rest(self._deadline))
        self._connected.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """
        Return a reader of the answer.
        """
        return io.BufferedReader(_BoundedReader(self._connected, self._deadline))

    def close(self) -> None:
        """
        Do nothing: ``http.client`` closes a socket before it has read from it.
        """


class _BoundedReader(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connected = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(measure_rest(self._deadline))
        return self._connected.recv_into(buffer)


def measure_rest(deadline: float) -> float:
    """
    Return the seconds until a deadline.

    Raises:
        TimeoutError: it is over.
    """
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise TimeoutError
    return rest

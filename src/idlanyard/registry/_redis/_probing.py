"""
Whether a server speaks TLS where it was to speak without, or the other way round.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from time import monotonic
from typing import Final

from idlanyard.registry._redis._address import Kind
from idlanyard.registry._redis._asking import Node

_QUESTION: Final = b"PING\r\n"
_ANSWERS: Final = (b"+", b"-")
_LONGEST: Final = 1.0
_FAILURES: Final = (OSError, ValueError)


def speaks_otherwise(node: Node, kind: Kind, until: float) -> bool:
    """
    Return whether the server does, as far as it can be told in time.
    """
    left = _left(until)
    try:
        with socket.create_connection(node, timeout=left) as plain:
            plain.settimeout(left)
            if kind != "tls":
                _any_certificate().wrap_socket(plain).close()
                return True
            plain.sendall(_QUESTION)
            return plain.recv(1) in _ANSWERS
    except _FAILURES:
        return False


async def async_speaks_otherwise(node: Node, kind: Kind, until: float) -> bool:
    """
    Return the same, for an event loop.
    """
    context = None if kind == "tls" else _any_certificate()
    try:
        async with asyncio.timeout(_left(until)):
            reader, writer = await asyncio.open_connection(*node, ssl=context)
            try:
                if context is not None:
                    return True
                writer.write(_QUESTION)
                return await reader.read(1) in _ANSWERS
            finally:
                writer.transport.abort()
    except _FAILURES:
        return False


def _left(until: float) -> float:
    return min(max(until - monotonic(), 0.001), _LONGEST)


def _any_certificate() -> ssl.SSLContext:
    """
    Return what takes any certificate: nothing is said through it.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

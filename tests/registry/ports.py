"""
Ports for servers that the tests start, stop and start again.
"""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """
    Return a free port of 127.0.0.1.

    It is outside the range from which the kernel takes ports for connections,
    so none of those takes it while a server is down.
    """
    while True:
        with socket.socket() as listener:
            port = random.SystemRandom().randrange(15_000, 30_000)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

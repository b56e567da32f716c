"""
Ports for servers that the tests start.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle, islice

FIRST = 12_000
"""
The first of these ports; all are below those that the kernel takes for connections.
"""
BLOCK = 1_000
"""
How many ports each worker of a run has to itself.
"""
BLOCKS = 18


def number_of_worker() -> int:
    """
    Return the number of this worker of pytest-xdist, 0 where there is none.
    """
    return int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)


def order_ports() -> Iterator[int]:
    """
    Return the ports of this worker, over and over, from a random one on: runs may overlap.
    """
    first = FIRST + number_of_worker() % BLOCKS * BLOCK
    ports = list(range(first, first + BLOCK))
    start = random.SystemRandom().randrange(BLOCK)
    return cycle(ports[start:] + ports[:start])


_PORTS = order_ports()


def free_port() -> int:
    """
    Return a port of 127.0.0.1 that nothing listens on.

    Until a server is started there, no connection takes it, and no other
    worker: either would happen with a port that the kernel has chosen.
    """
    for port in islice(_PORTS, BLOCK):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("every port of this worker is in use")

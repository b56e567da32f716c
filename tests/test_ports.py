"""
The ports of the servers in tests are below the kernel's own, and each worker has its own.
"""

from __future__ import annotations

import socket
from itertools import islice
from pathlib import Path

import pytest

from ports import BLOCK, BLOCKS, FIRST, free_port, order_ports


def test_workers_share_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Two workers of one run never try the same port.
    """
    ports: list[set[int]] = []
    for worker in ("gw0", "gw1", "gw17"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        ports.append(set(islice(order_ports(), 2 * BLOCK)))
    assert [len(block) for block in ports] == [BLOCK] * 3
    assert len(set.union(*ports)) == 3 * BLOCK


def test_no_connection_takes_such_a_port() -> None:
    """
    The kernel takes the ports of connections from above all of these.
    """
    system = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(system.read_text().split()[0]) if system.exists() else 32_768
    assert lowest >= FIRST + BLOCKS * BLOCK


def test_a_port_in_use_is_passed_over() -> None:
    """
    A port that something listens on is not given out.
    """
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)):
        assert taken not in {free_port() for _ in range(BLOCK)}

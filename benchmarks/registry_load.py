"""
Two hundred clients of the registry over HTTP, for a minute: how long they wait.

    python benchmarks/registry_load.py [--seconds 60] [--clients 200] [--stores SQLite ...]

A uvicorn worker serves ``registry.asgi`` with an ``AsyncSessionRegistry``; the
clients, in a process of their own, keep their connections and each create a
session and read it, over and over. Milliseconds; server, store and clients
share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from registry_stores import STORES, started

APP = """
import os
import uvicorn
from idlanyard import EVERYONE
from idlanyard.registry import AsyncSessionRegistry
from idlanyard.registry.asgi import asgi_app
registry = AsyncSessionRegistry.open(os.environ["URL"])
uvicorn.run(asgi_app(registry, authorize=EVERYONE), fd=int(os.environ["FD"]), access_log=False)
"""


class Load(NamedTuple):
    """
    The milliseconds that requests took, and how many had each status.
    """

    waits: list[float]
    statuses: Counter[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    options = parser.parse_args()
    print("| store | requests per second | p50 | p99 | slowest | other than 200 |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in options.stores:
        with started(name) as store, store.empty() as url, served(url) as port:
            load = asyncio.run(clients(port, options.clients, options.seconds))
        others = sum(load.statuses.values()) - load.statuses[200]
        cuts = statistics.quantiles(load.waits, n=100, method="inclusive")
        print(
            f"| {name} | {len(load.waits) / options.seconds:,.0f} | {cuts[49]:.0f} |"
            f" {cuts[98]:.0f} | {max(load.waits):.0f} | {others} |",
            flush=True,
        )


@contextmanager
def served(url: str) -> Iterator[int]:
    """
    Serve the API on a free port.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        environment = os.environ | {"URL": url, "FD": str(listening.fileno())}
        server = subprocess.Popen(
            [sys.executable, "-c", APP],
            env=environment,
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            yield listening.getsockname()[1]
        finally:
            server.terminate()
            server.wait()


async def clients(port: int, number: int, seconds: float) -> Load:
    """
    Run so many clients for so long.
    """
    load = Load([], Counter())
    # The first request waits until the server has begun.
    await client(port, load, time.monotonic())
    load.waits.clear()
    load.statuses.clear()
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(port, load, end) for _ in range(number)))
    return load


async def client(port: int, load: Load, end: float) -> None:
    """
    Create sessions and read them until a moment, once at least.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        body = b'{"client_id": "crm"}'
        created = await asked(reader, writer, load, b"POST", b"create", body)
        session_id = json.loads(created).get("session_id", "none")
        await asked(reader, writer, load, b"GET", session_id.encode(), b"")
        if time.monotonic() >= end:
            break
    writer.close()
    await writer.wait_closed()


async def asked(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    load: Load,
    method: bytes,
    name: bytes,
    body: bytes,
) -> bytes:
    """
    Send one request, and return the body of its response.
    """
    start = time.perf_counter()
    writer.write(
        b"%s /session/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (method, name, len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = int(head[9:12]), 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    answer = await reader.readexactly(length)
    load.waits.append((time.perf_counter() - start) * 1000)
    load.statuses[status] += 1
    return answer


if __name__ == "__main__":
    main()

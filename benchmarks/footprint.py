"""
What importing costs, and what an open connection holds.

    python benchmarks/footprint.py
"""

from __future__ import annotations

import contextvars
import subprocess
import sys
import timeit
import tracemalloc
import types
from typing import Any

from candidates import TRUSTING
from driving import nowhere

from idlanyard.asgi import SessionContextMiddleware

Ratios = dict[str, float]

TARGETS = {
    "P10 bytes held per WebSocket": 1600,
    "P13 import, milliseconds": 60,
    "P13 import over asyncio, milliseconds": 15,
}


def importing() -> Ratios:
    """
    P13: what importing the ASGI middleware costs in a fresh interpreter, in milliseconds.
    """

    def best(code: str) -> float:
        command = [sys.executable, "-I", "-c", code]
        return 1000 * min(
            timeit.repeat(lambda: subprocess.run(command, check=True), number=1, repeat=9)
        )

    loaded = "import asyncio, dataclasses"
    return {
        "P13 import, milliseconds": best("import idlanyard.asgi") - best("pass"),
        "P13 import over asyncio, milliseconds": best(f"{loaded}, idlanyard.asgi") - best(loaded),
    }


def waiting() -> Ratios:
    """
    P10: the bytes that an open WebSocket holds above the bare application's.
    """
    candidates: dict[str, Any] = {
        "bare": waiting_app,
        "ours": SessionContextMiddleware(waiting_app, TRUSTING),
    }
    held: Ratios = {}
    for name, app in candidates.items():
        open_ones = []
        tracemalloc.start()
        for _ in range(2000):
            scope = {"type": "websocket", "headers": [], "client": ("10.0.0.5", 1)}
            coroutine = app(scope, None, nowhere)
            contextvars.Context().run(coroutine.send, None)
            open_ones.append((scope, coroutine))
        held[name] = tracemalloc.get_traced_memory()[0] / len(open_ones)
        tracemalloc.stop()
        for _, coroutine in open_ones:
            coroutine.close()
    return {"P10 bytes held per WebSocket": held["ours"] - held["bare"]}


@types.coroutine
def forever() -> Any:
    yield


async def waiting_app(scope: Any, receive: Any, send: Any) -> None:
    await forever()


def main() -> None:
    print("| figure | target | measured | met |\n|---|---|--:|---|")
    for name, value in (waiting() | importing()).items():
        met = "yes" if value <= TARGETS[name] else "no"
        print(f"| {name} | <= {TARGETS[name]} | {value:.0f} | {met} |")


if __name__ == "__main__":
    main()

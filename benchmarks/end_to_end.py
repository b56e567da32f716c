"""
Throughput under real servers, as ratios to the bare application.

    python benchmarks/end_to_end.py [--seconds 3] [--rounds 3]

Needs ``wrk`` (Debian's package of that name) and the ``bench`` dependency
group. Every round starts each candidate once, so that they share whatever
else the machine does.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import candidates

SESSION = "x-session-id: 3f2a9c04-6d1e-4b7a-8c55-0e9d2f61a7b3"
CHOICE = "BENCHMARK_CANDIDATE"
UVICORN = ("-m", "uvicorn", "end_to_end:asgi", "--no-access-log", "--lifespan", "off")
GUNICORN = ("-m", "gunicorn", "end_to_end:wsgi", "-k", "gthread", "--threads", "4")
ASGI = ("bare", "floor", "idlanyard", "asgi-correlation-id")
WSGI = ("bare", "floor", "idlanyard")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hi"})


def greet(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"hi"]


def __getattr__(name: str) -> Any:
    chosen = os.environ[CHOICE]
    if name == "asgi":
        return (candidates.ASGI | candidates.ASGI_PEERS)[chosen](hello)
    if name == "wsgi":
        return candidates.WSGI[chosen](greet)
    raise AttributeError(name)


def throughput(server: tuple[str, ...], chosen: str, lines: list[str], seconds: int) -> float:
    """
    Return the requests per second that one candidate serves.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ("--port", str(port)) if "uvicorn" in server else ("-b", f"127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, *server, *listen],
        cwd=Path(__file__).parent,
        env=os.environ | {CHOICE: chosen},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
        headers = [word for line in lines for word in ("-H", line)]
        command = ["wrk", "-t1", "-c32", f"-d{seconds}s", *headers, f"http://127.0.0.1:{port}/"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        process.terminate()
        process.wait()
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output:
        raise SystemExit(f"{chosen} did not serve:\n{output}")
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk: apt-get install wrk")
    print("| server | path | candidate | of bare |\n|---|---|---|--:|")
    for name, server, choices in (("uvicorn", UVICORN, ASGI), ("gunicorn", GUNICORN, WSGI)):
        for path, lines in (("mint", []), ("session", [SESSION])):
            rates: dict[str, list[float]] = {choice: [] for choice in choices}
            for _ in range(options.rounds):
                for choice in choices:
                    rates[choice].append(throughput(server, choice, lines, options.seconds))
            bare = statistics.median(rates["bare"])
            for choice in choices[1:]:
                share = statistics.median(rates[choice]) / bare
                print(f"| {name} | {path} | {choice} | {share:.2f} |")


if __name__ == "__main__":
    main()

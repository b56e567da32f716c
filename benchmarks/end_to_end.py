"""
Throughput of real servers behind a real nginx, as shares of the bare application's.

    python benchmarks/end_to_end.py [--quick] [--seconds 3] [--rounds 5] [--json]

uvicorn (uvloop, httptools) and gunicorn (threads), one worker each, serve a
hello world with ``Cache-Control: no-store`` behind an nginx that keeps its
connections and sends the usual forwarding headers; ``wrk`` asks by 32
connections. In every round all candidates and a bare server are started anew
and take turns, second by second, so that a pair shares what else the machine
does. Needs the ``bench`` dependency group, nginx and ``wrk``, on Linux: nginx
connects from 127.0.0.2.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path

from lanes import PEER, PEERS
from served import ASGI, BODY, CHOICE, HEADERS, PROXY, WSGI

SESSION = {"X-Session-ID": "3f2a9c04-6d1e-4b7a-8c55-0e9d2f61a7b3"}
PATHS: dict[str, dict[str, str]] = {
    "mint": {},
    "session": SESSION,
    "trusted": SESSION
    | {
        "X-User-ID": "9b1c7e52-0f3d-4a86-b2e4-5d7f8a90c1e6",
        "X-Tenant-ID": "c4d8e6f0-1a2b-4c3d-9e5f-6a7b8c9d0e1f",
    },
}
SERVERS: dict[str, tuple[str, ...]] = {
    "uvicorn": (
        *("-m", "uvicorn", "served:asgi", "--port", "{port}", "--loop", "uvloop"),
        *("--http", "httptools", "--lifespan", "off", "--no-access-log", "--no-proxy-headers"),
    ),
    "gunicorn": (
        *("-m", "gunicorn", "served:wsgi", "-b", "127.0.0.1:{port}", "-k", "gthread"),
        *("--threads", "4", "--no-control-socket"),
    ),
}
CANDIDATES = {"uvicorn": tuple(ASGI), "gunicorn": tuple(WSGI)}
# What carries the same IDs: one, or three stacked.
RIVALS = {"mint": PEER, "session": PEER, "trusted": PEERS}
SHARE = 0.84
DEADLINE = 30.0
TICK = 1 / os.sysconf("SC_CLK_TCK")
PLACES = (str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")]))
PACKAGES = {"wrk": "wrk", "nginx": "nginx-light"}
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
NGINX = """
daemon off; user root; worker_processes 1; error_log stderr error; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream service {{
        server 127.0.0.1:{behind} max_fails=0;
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service;
            proxy_bind {proxy};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Load:
    """
    The requests of one candidate in one round.

    Attributes:
        rate: requests per second.
        p99: the time in milliseconds that 99 % of the requests took at most.
        spent: the server's processor time in seconds per request.
    """

    rate: float
    p99: float
    spent: float


@dataclass(frozen=True)
class Share:
    """
    One candidate under one server, against the bare application of the same rounds.

    Attributes:
        server: the server's name.
        path: ``"mint"`` without any ID, ``"session"`` with one, ``"trusted"`` with three.
        candidate: the candidate's name.
        of_bare: the median of *pairs*.
        pairs: for each round the throughput, as a share of the bare application's.
        spent: the median over the rounds of the bare server's processor time for a
            request, as a share of the candidate's: what *of_bare* is where nothing but
            the server is busy.
        p99_of_bare: the median over the rounds of the 99th percentile, as a multiple
            of the bare application's.
    """

    server: str
    path: str
    candidate: str
    of_bare: float
    pairs: list[float]
    spent: float
    p99_of_bare: float


@dataclass(frozen=True)
class Target:
    """
    A target, the figure that was measured, and whether it is met.
    """

    target: str
    measured: str
    met: bool


def find_program(name: str) -> str:
    """
    Return the path of a program, or raise SystemExit that says how to install it.
    """
    places = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    path = shutil.which(name, path=places)
    if path is None:
        raise SystemExit(f"this needs {name}: apt-get install {PACKAGES[name]}")
    return path


def find_port() -> int:
    """
    Return a free port of the loopback, below those that the kernel takes for connections.
    """
    while True:
        port = random.SystemRandom().randrange(8_000, 12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def ask(port: int, headers: Mapping[str, str]) -> tuple[int, HTTPMessage, bytes]:
    """
    Return the status, the headers and the body of the response to one request.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", "/", headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@contextmanager
def started(words: list[str], port: int, log: Path, choice: str = "") -> Iterator[int]:
    """
    Start a program in a process group, which is yielded, and stop it in the end.

    Args:
        words: the program and its options.
        port: the port that it listens on.
        log: the file that its output is written to.
        choice: the candidate that a server is to load.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            env=os.environ | {CHOICE: choice, "PYTHONPATH": os.pathsep.join(PLACES)},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{words} did not start:\n{log.read_text()}") from None
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                pass
        yield process.pid
    finally:
        # With its workers, and at once: some servers wait for connections that are kept.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def serving(server: str, candidate: str) -> Iterator[tuple[int, int]]:
    """
    Serve a candidate behind nginx; yield nginx's port and the server's process group.
    """
    behind, port = find_port(), find_port()
    words = [word.format(port=behind) for word in SERVERS[server]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "nginx.conf"
        text = NGINX.format(folder=folder, behind=behind, port=port, proxy=PROXY)
        file.write_text(text, encoding="utf-8")
        nginx = [find_program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(file)]
        with (
            started([sys.executable, *words], behind, folder / "server.log", candidate) as group,
            started(nginx, port, folder / "nginx.log"),
        ):
            yield port, group


def check_answer(port: int, candidate: str, headers: Mapping[str, str]) -> None:
    """
    Raise SystemExit unless a candidate does the work that it is measured for.
    """
    status, answer, body = ask(port, headers)
    if status != 200 or body != BODY:
        raise SystemExit(f"{candidate} answered {status}: {body!r}")
    echo = [answer[header] for header in HEADERS]
    asked = [headers.get(header) for header in HEADERS]
    carried = {"bare": 0, PEER: 1, "starlette-context": 1}.get(candidate, len(HEADERS))
    if candidate == PEERS:
        # Its layers share one ContextVar, so that each echoes the ID of the innermost
        # (asgi-correlation-id 5.0.1).
        asked = [asked[0]] * len(HEADERS)
    wanted = [asked[0] or echo[0], *asked[1:]][:carried]
    if echo != [*wanted, *[None] * (len(HEADERS) - carried)] or (carried and not echo[0]):
        raise SystemExit(f"{candidate} echoed {echo} for {asked}")


def read_processor_time(group: int) -> float:
    """
    Return the seconds of processor time that the processes of a group have spent.
    """
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        # Processes end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK


def read_wrk(output: str, spent: float) -> Load:
    """
    Return what one run of ``wrk`` has measured.

    Args:
        output: the lines that it has printed.
        spent: the server's processor time in seconds for all requests.

    Raises:
        SystemExit: requests failed.
    """
    count = re.search(r"([1-9]\d*) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"\s99%\s+([\d.]+)(us|ms|s)\s", output)
    if count is None or rate is None or p99 is None or "Non-2xx" in output:
        raise SystemExit(f"wrk reports failures:\n{output}")
    return Load(float(rate[1]), float(p99[1]) * UNITS[p99[2]], spent / int(count[1]))


def load_for_a_second(port: int, group: int, headers: Mapping[str, str]) -> Load:
    """
    Return what the server of a process group serves through nginx in one second.
    """
    lines = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    words = [find_program("wrk"), "-t2", "-c32", "-d1s", "--latency", *lines]
    before = read_processor_time(group)
    output = subprocess.run(
        [*words, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
    ).stdout
    return read_wrk(output, max(TICK, read_processor_time(group) - before))


def add_up(slices: list[Load]) -> Load:
    """
    Return the load of several seconds.
    """
    rate = statistics.fmean(one.rate for one in slices)
    spent = sum(one.spent * one.rate for one in slices) / len(slices) / rate
    return Load(rate, statistics.median(one.p99 for one in slices), spent)


def measure_round(server: str, path: str, names: tuple[str, ...], seconds: int) -> dict[str, Load]:
    """
    Return the loads of candidates that take turns, second by second.

    A round starts each of them anew, since a process may be slower than the next by chance.
    """
    headers = {"User-Agent": "wrk", "Accept": "*/*", "Accept-Encoding": "gzip"} | PATHS[path]
    slices: dict[str, list[Load]] = {name: [] for name in names}
    with ExitStack() as stack:
        served = {name: stack.enter_context(serving(server, name)) for name in names}
        for name, (port, _) in served.items():
            for _ in range(50):
                check_answer(port, name, headers)
        for second in range(seconds):
            first = second % len(names)
            for name in (*names[first:], *names[:first]):
                slices[name].append(load_for_a_second(*served[name], headers))
    return {name: add_up(loads) for name, loads in slices.items()}


def measure_shares(server: str, path: str, *, rounds: int, seconds: int) -> list[Share]:
    """
    Return the shares of all candidates on one path.
    """
    names = tuple(name for name in CANDIDATES[server] if name != PEERS or RIVALS[path] == PEERS)
    found = [measure_round(server, path, names, seconds) for _ in range(rounds)]
    loads = {name: [one[name] for one in found] for name in names}
    return [compare(server, path, name, loads[name], loads["bare"]) for name in names[1:]]


def compare(server: str, path: str, name: str, loads: list[Load], bare: list[Load]) -> Share:
    """
    Return what a candidate serves as a share of what the bare application does.
    """
    rounds = list(zip(loads, bare, strict=True))
    pairs = [round(ours.rate / theirs.rate, 3) for ours, theirs in rounds]
    spent = statistics.median(theirs.spent / ours.spent for ours, theirs in rounds)
    p99 = statistics.median(ours.p99 / theirs.p99 for ours, theirs in rounds)
    of_bare = statistics.median(pairs)
    return Share(server, path, name, of_bare, pairs, round(spent, 3), round(p99, 2))


def judge(shares: list[Share]) -> list[Target]:
    """
    Return the targets of the paths that were measured under uvicorn.
    """
    found = {(share.path, share.candidate): share for share in shares if share.server == "uvicorn"}
    targets = []
    for path, rival in RIVALS.items():
        if (path, rival) not in found:
            continue
        ours, peer = found[path, "idlanyard"], found[path, rival]
        above = [a > b for a, b in zip(ours.pairs, peer.pairs, strict=True)]
        targets += [
            Target(
                f"uvicorn {path}: >= {SHARE} of bare",
                f"{ours.of_bare:.2f}",
                round(ours.of_bare, 2) >= SHARE,
            ),
            Target(
                f"uvicorn {path}: above {rival} in every pair",
                f"{sum(above)} of {len(above)}",
                all(above),
            ),
        ]
    return targets


def format_tables(shares: list[Share], targets: list[Target]) -> list[str]:
    """
    Return the lines of two Markdown tables: the shares, and the targets.
    """
    rows = ["| server | path | candidate | of bare | each pair | by processor time | p99 / bare |"]
    rows.append("|---|---|---|--:|---|--:|--:|")
    for one in shares:
        pairs = " ".join(f"{pair:.2f}" for pair in one.pairs)
        rows.append(
            f"| {one.server} | {one.path} | {one.candidate} | {one.of_bare:.2f} "
            f"| {pairs} | {one.spent:.2f} | {one.p99_of_bare:.2f} |"
        )
    if targets:
        rows += ["", "| target | measured | met |", "|---|--:|---|"]
    for goal in targets:
        rows.append(f"| {goal.target} | {goal.measured} | {'yes' if goal.met else 'no'} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--seconds", type=int, default=3, help="for each candidate and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=SERVERS, action="append", help="by default both")
    parser.add_argument("--path", choices=PATHS, action="append", help="by default all")
    parser.add_argument("--json", action="store_true", help="figures only, not rounded")
    options = parser.parse_args()
    for program in PACKAGES:
        find_program(program)
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    shares = [
        share
        for server in options.server or SERVERS
        for path in options.path or PATHS
        for share in measure_shares(server, path, rounds=rounds, seconds=seconds)
    ]
    targets = judge(shares)
    if options.json:
        print(json.dumps({"shares": [*map(asdict, shares)], "targets": [*map(asdict, targets)]}))
    else:
        print("\n".join(format_tables(shares, targets)))


if __name__ == "__main__":
    main()

"""
The tour, started by its command and stopped again.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

DEADLINE = 100.0


class Tour:
    """
    A tour that runs: its command, the page's address, and the lines that it began with.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, printed: str) -> None:
        self.process = process
        self.url = url
        self.printed = printed

    def post(self, path: str) -> dict[str, Any]:
        """
        Press a button, as the page does.
        """
        origin = {"Origin": self.url.rstrip("/")}
        request = urllib.request.Request(f"{self.url}{path}", method="POST", headers=origin)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def interrupt(self) -> tuple[str, str]:
        """
        Press Ctrl-C, and return what the command has written.
        """
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=DEADLINE)


@contextmanager
def touring() -> Iterator[Tour]:
    """
    Run the tour meanwhile.
    """
    environment = dict(os.environ)
    # What tests must not warn about, the packages of the services may.
    environment.pop("PYTHONWARNINGS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "idlanyard", "demo", "--tour", "--port", "0"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = "".join(process.stdout.readline() for _ in range(3))
        found = re.search(r"http://127\.0\.0\.1:\d+/", printed)
        assert found is not None, printed
        yield Tour(process, found[0], printed)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors


class Listener:
    """
    Reads the events of a tour in a thread.
    """

    def __init__(self, url: str) -> None:
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._response = urllib.request.urlopen(f"{url}events", timeout=DEADLINE)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self._events.get(timeout=DEADLINE) == {"kind": "open"}

    def take(self) -> dict[str, Any]:
        """
        Return the next event.
        """
        return self._events.get(timeout=DEADLINE)

    def wait_for(self, *wanted: tuple[str, str]) -> list[dict[str, Any]]:
        """
        Return the events until each of *wanted*, a kind and a service, is among them.
        """
        missing, found = set(wanted), list[dict[str, Any]]()
        while missing:
            event = self.take()
            found.append(event)
            missing.discard((event["kind"], event["service"]))
        return found

    def join(self) -> None:
        """
        Wait for the end of the events, after the end of the tour.
        """
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        # A tour that nothing happens in for long is no error of the test that listens.
        with self._response, suppress(TimeoutError):
            for line in self._response:
                if line.startswith(b"data: "):
                    self._events.put(json.loads(line.removeprefix(b"data: ")))

"""
The services as processes: started together, watched, and stopped together.
"""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from idlanyard._demo.servers import HOST
from idlanyard._demo.tour.hub import TourEvent
from idlanyard._demo.tour.settings import TourSettings

NAMES: Final = ("shop", "billing", "worker", "partner")
GATEWAY: Final = "gateway"
_START: Final = 120.0
_STOP: Final = 10.0
_LAST_LINES: Final = 6

Publish = Callable[[TourEvent], None]


class ServiceEnded(Exception):
    """
    A service has ended, or has not started.
    """


class Service:
    """
    One service: a process, a pipe that it ends with, and a thread that reads its reports.

    Args:
        name: its name.
        settings: passed to it.
        publish: called with each of its reports.
        news: gets the service when it is ready, and again when its process ends.
    """

    def __init__(
        self, name: str, settings: TourSettings, publish: Publish, news: queue.Queue[Service]
    ) -> None:
        self.name = name
        self.url = ""
        # Without a name, so that nothing is left of it if this process is killed.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.process = subprocess.Popen(  # noqa: S603 - no shell reads these words
            [sys.executable, "-m", "idlanyard._demo.tour.child", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Ctrl-C at a terminal is for this process alone, which stops the others.
            start_new_session=True,
        )
        stdin: Any = self.process.stdin
        # A process that has ended already cannot read; its output says that it has.
        with suppress(OSError):
            stdin.write(settings.dump().encode() + b"\n")
            stdin.flush()
        self._reading = threading.Thread(target=self._read, args=(publish, news), daemon=True)
        self._reading.start()

    def describe_end(self) -> str:
        """
        Return a sentence about the end of the process, and its last lines.
        """
        status = self.process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
        said = ["; it wrote last:", *lines] if lines else [""]
        return f"the {self.name} ended with status {status}" + "\n  ".join(said)

    def ask_to_stop(self) -> None:
        """
        End the standard input of the process, at which it stops.
        """
        stdin: Any = self.process.stdin
        with suppress(OSError):
            stdin.close()

    def stop(self) -> None:
        """
        Wait for the end of the process, and kill it if that takes too long.
        """
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP)
        self.process.kill()
        self.process.wait()
        self._reading.join()
        self._errors.close()

    def _read(self, publish: Publish, news: queue.Queue[Service]) -> None:
        stdout: Any = self.process.stdout
        with stdout:
            for line in stdout:
                event: TourEvent = json.loads(line)
                if event["kind"] == "ready":
                    self.url = f"http://{HOST}:{event['port']}"
                    news.put(self)
                else:
                    publish(event)
        self.url = ""
        news.put(self)


class Services:
    """
    The services of the tour, all of them running.

    Args:
        settings: those of the gateway.
        running: the services.
        news: gets a service when its process ends.
    """

    def __init__(
        self, settings: TourSettings, running: Sequence[Service], news: queue.Queue[Service]
    ) -> None:
        self.settings = settings
        self.gateway = running[-1].url
        self.running = running
        self._news = news

    def wait_for_end(self) -> None:
        """
        Wait as long as all services run.

        Raises:
            ServiceEnded: one has ended.
        """
        raise ServiceEnded(self._news.get().describe_end())


@contextmanager
def run_services(publish: Publish) -> Generator[Services, None, None]:
    """
    Run the services meanwhile.

    Raises:
        ServiceEnded: one has not started.
    """
    news: queue.Queue[Service] = queue.Queue()
    running: list[Service] = []
    settings = TourSettings(tempfile.mkdtemp(prefix="idlanyard-tour-"))
    try:
        running += [Service(name, settings, publish, news) for name in NAMES]
        wait_until_ready(len(NAMES), news)
        urls = {service.name: service.url for service in running}
        # Another name of this machine, as a third party has, for the same address.
        urls["partner"] = urls["partner"].replace(HOST, "localhost")
        settings = replace(settings, urls=urls)
        running.append(Service(GATEWAY, settings, publish, news))
        wait_until_ready(1, news)
        yield Services(settings, running, news)
    finally:
        for service in running:
            service.ask_to_stop()
        for service in running:
            service.stop()
        shutil.rmtree(settings.queue, ignore_errors=True)


def wait_until_ready(count: int, news: queue.Queue[Service], limit: float = _START) -> None:
    """
    Wait until services are ready.

    Raises:
        ServiceEnded: one has ended, or takes too long.
    """
    for _ in range(count):
        try:
            service = news.get(timeout=limit)
        except queue.Empty:
            raise ServiceEnded(f"a service did not start within {limit:g} seconds") from None
        if not service.url:
            raise ServiceEnded(service.describe_end())

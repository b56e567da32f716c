"""
The tour as a command: the services and the page, until Ctrl-C.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from idlanyard._demo.servers import HOST, serve_asgi
from idlanyard._demo.tour.hub import Hub
from idlanyard._demo.tour.journeys import Client
from idlanyard._demo.tour.page import make_page
from idlanyard._demo.tour.services import ServiceEnded, run_services

NEEDED: Final = ("celery", "django", "fastapi", "flask", "httpx2", "opentelemetry.sdk")
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_FAILED: Final = 1


def check_needed() -> None:
    """
    Check that the packages of the services are installed.

    Raises:
        ModuleNotFoundError: one is not.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run_tour(port: int) -> int:
    """
    Run the tour until it is interrupted, and return its exit status.

    Args:
        port: that of the page; 0 for a free one.
    """
    if not _is_free(port):
        sys.stderr.write(f"Port {port} of {HOST} is in use: write --port 0 for a free one.\n")
        return _FAILED
    hub = Hub()
    try:
        with interrupted_by_signals():
            _say("Starting four services and a third party ...")
            with run_services(hub.publish) as services:
                client = Client(services.gateway, services.settings, hub.publish)
                with serve_asgi(make_page(hub, client), port) as page, _closing(hub):
                    _say(f"The tour: http://{HOST}:{page}/", "Ctrl-C stops it.")
                    services.wait_for_end()
    except KeyboardInterrupt:
        _say("stopped")
        return 0
    except ServiceEnded as error:
        sys.stderr.write(f"The tour has ended: {error}\n")
    return _FAILED


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


@contextmanager
def _closing(hub: Hub) -> Generator[None, None, None]:
    """
    End the listening of the pages before the server stops, which waits for them.
    """
    try:
        yield
    finally:
        hub.close()


@contextmanager
def interrupted_by_signals() -> Generator[None, None, None]:
    """
    Raise ``KeyboardInterrupt`` meanwhile, once, when the process is asked to end.
    """
    # Windows has no SIGHUP.
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]

    def interrupt(*_: object) -> None:
        # A second one would leave the services running.
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

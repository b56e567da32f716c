"""
The reports of a run that may be cut off: each failure at once, and the tests it hangs in.
"""

from __future__ import annotations

import os
import subprocess
from threading import Event, Thread

import pytest

TIMEOUT = "PYTEST_TIMEOUT"
"""
The variable with the seconds of one test; a run is watched where it is set.
"""
HANGS = 3
"""
The status of a run that was ended since its workers could not be.
"""


class Watch:
    """
    A watch over the process that collects the reports of all tests.

    A test that hangs fails after its timeout, but nothing ends one that has failed and hangs
    while it cleans up (pytest-timeout 2.4 stops its clock at the failure), nor one of a worker
    that was killed and whose children live.

    Args:
        reporter: writes lines to the terminal.
        patience: how many seconds may pass in which no test ends.
    """

    def __init__(self, reporter: pytest.TerminalReporter, patience: float) -> None:
        self._reporter = reporter
        self._patience = patience
        self._running: list[str] = []
        self._heard = Event()
        self._is_over = False
        self._thread = Thread(target=self._watch, daemon=True)

    def pytest_sessionstart(self) -> None:
        """
        Start to watch.
        """
        self._thread.start()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """
        End the watch once all workers have ended.
        """
        self._is_over = True
        self._heard.set()
        self._thread.join()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """
        Note a test that begins.
        """
        self._running.append(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """
        Write a failure at once, and note a test that ends.
        """
        self._heard.set()
        if report.failed:
            self._reporter.write_line(f"\n{report.nodeid} ({report.when})")
            self._reporter.write_line(report.longreprtext)
        if report.when not in ("setup", "call") and report.nodeid in self._running:
            self._running.remove(report.nodeid)

    def _watch(self) -> None:
        silences = 0
        while silences < 2:
            if not self._heard.wait(self._patience):
                silences += 1
                self._abort_workers()
            elif self._is_over:
                return
            else:
                silences = 0
                self._heard.clear()
        # A worker that lives on would hold the output open, and its reader would wait for it.
        _send_to_children("KILL")
        os._exit(HANGS)

    def _abort_workers(self) -> None:
        """
        Say which tests run, and make every worker say where it is: xdist counts the test of a
        worker that is gone as failed, and starts another for the rest.
        """
        self._reporter.write_line(f"\nno test has ended for {self._patience} seconds; unended:")
        self._reporter.write_line("\n".join(self._running))
        self._reporter.flush()
        _send_to_children("ABRT")


def _send_to_children(signal: str) -> None:
    subprocess.run(["pkill", f"-{signal}", "-P", str(os.getpid())], check=False)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """
    Watch where tests have a timeout, in the process that writes to the terminal.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if TIMEOUT in os.environ and isinstance(reporter, pytest.TerminalReporter):
        config.pluginmanager.register(Watch(reporter, 2 * float(os.environ[TIMEOUT])))

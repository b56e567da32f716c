"""
A run in which a test hangs that no timeout ends is ended, and has said what it knew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import watching

TESTS = """
import signal
import time

import pytest


@pytest.fixture
def cleaning_up(request):
    yield
    if "ignores" in request.node.name:
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
    time.sleep(0 if "ends" in request.node.name else 60)


@pytest.mark.parametrize("how", ["ends", "hangs", "ignores"])
def test_that_fails(cleaning_up, how):
    assert "expected" == "found"


def test_that_passes():
    pass
"""


def run_tests(folder: Path, chosen: str) -> subprocess.CompletedProcess[str]:
    """
    Run some of the tests above in one worker, watched with a patience of ten seconds.
    """
    file = folder / "test_few.py"
    file.write_text(TESTS, encoding="utf-8")
    plugins = ("-p", "watching", "-p", "xdist", "-p", "no:cacheprovider", "-n", "1")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-k", chosen, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ
        | {watching.TIMEOUT: "5", "PYTHONPATH": str(Path(watching.__file__).parent)}
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        timeout=50,
    )


def test_a_worker_that_hangs_is_aborted_and_the_rest_is_run(tmp_path: Path) -> None:
    """
    A test that hangs after its failure is named; its lines are written, and where it hangs.
    """
    done = run_tests(tmp_path, "hangs or passes")
    assert "test_few.py::test_that_fails[hangs] (call)" in done.stdout
    assert "AssertionError: assert 'expected' == 'found'" in done.stdout
    unended = "unended:\ntest_few.py::test_that_fails[hangs]\n"
    assert f"no test has ended for 10.0 seconds; {unended}" in done.stdout
    assert re.search(r'File ".*test_few.py", line \d+ in cleaning_up', done.stderr)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed" in done.stdout.splitlines()[-1]


def test_a_run_whose_workers_cannot_be_aborted_is_ended(tmp_path: Path) -> None:
    """
    A worker that goes on is killed, and the run has a status of its own.
    """
    done = run_tests(tmp_path, "ignores")
    assert done.returncode == watching.HANGS, done.stdout + done.stderr


def test_a_run_that_ends_is_left_alone(tmp_path: Path) -> None:
    """
    Without a test that hangs the status and the last line are pytest's own.
    """
    done = run_tests(tmp_path, "ends or passes")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout.splitlines()[-1]

"""
The child process that looks at the application: started, waited for, read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from idlanyard._doctor._in_process import FAILED, name_step_file
from idlanyard._doctor._observations import Observations, load_observations
from idlanyard._doctor._options import VARIABLE, Options, dump_options
from idlanyard._doctor._target import CannotRun

_PATIENCE: Final = 3
_INTERVAL: Final = 0.1
_LAST_LINES: Final = 8


def observe_in_child(options: Options) -> Observations:
    """
    Import the application in a process of its own, send it requests, return the observations.

    Raises:
        CannotRun: the application cannot be imported or started, ends its
            process or hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, output = Path(folder, "observations"), Path(folder, "output")
        ended = _run_child(options, file, output)
        said = output.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        if not file.exists():
            last = ["; it wrote last:", *said] if said else [""]
            raise CannotRun(f"the application {ended}" + "\n  ".join(last))
        text = file.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    if FAILED in found:
        raise CannotRun(found[FAILED])
    return load_observations(text)


def _run_child(options: Options, file: Path, output: Path) -> str:
    """
    Run the child process, and return how it ended.
    """
    words = [sys.executable, "-m", "idlanyard._doctor._in_process", str(file)]
    with output.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - no shell reads these words
            words,
            env=os.environ | {VARIABLE: dump_options(options)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            return _wait_for_end(process, name_step_file(file), options.timeout * _PATIENCE)
        finally:
            # Also after an interrupt.
            process.kill()
            process.wait()


def _wait_for_end(process: subprocess.Popen[bytes], step: Path, limit: float) -> str:
    """
    Wait for the end of the child process, or for a step that takes too long.
    """
    at, since = "", time.monotonic()
    while True:
        try:
            return f"ended its process with status {process.wait(_INTERVAL)}"
        except subprocess.TimeoutExpired:
            now = step.read_text(encoding="utf-8") if step.exists() else ""
        if now != at:
            at, since = now, time.monotonic()
        elif time.monotonic() - since > limit:
            return (
                f"hangs in {at or 'the start of Python'}, for {limit:g} seconds: start what it "
                f"waits for, or raise --timeout"
            )

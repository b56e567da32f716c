"""
A process that forks with keys, and shows in its output whether parent and child have them.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from idlanyard.signing._assertions.fetching import parse_key_url
from idlanyard.signing._assertions.key_source import FetchedKeys, load_key_set

_HOME: Final = str(Path(__file__).parents[1])


def fork_in_another_process(url: str, *, announced: bool) -> Any:
    """
    Run ``fork_with_keys`` in a new process, and return what it returned.
    """
    path = os.pathsep.join(filter(None, (_HOME, os.environ.get("PYTHONPATH"))))
    # A fork beside threads is what it is about.
    warnings = ["-Werror", "-Wignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *warnings, "-m", "assertions.forking", url, json.dumps(announced)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def fork_with_keys(url: str, announced: bool) -> Any:
    """
    Return which keys parent and child have, where only the child asks for the new one, and the
    threads that begin in the child.
    """
    parts = parse_key_url(url)
    assert parts is not None
    held = FetchedKeys(load_key_set(parts, "RS256"), "keys.example")
    assert held.wait_for_keys(10)
    sys.stdout.flush()
    reading, writing = os.pipe()
    # A server in C forks without telling Python.
    child = os.fork() if announced else int(ctypes.PyDLL(None).fork())
    if child == 0:
        known = threading.enumerate()
        assert held.get_keys() is not None
        assert held.wait_for_keys(0)
        held.ask_for("new")
        held.wait_for_refresh(10)
        begun = [thread.name for thread in threading.enumerate() if thread not in known]
        with os.fdopen(writing, "w") as pipe:
            json.dump([show_keys(held), begun], pipe)
        # What measures coverage in here writes it down.
        sys.exit()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found, threads = json.load(pipe)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    shown = {"parent": show_keys(held), "child": found, "threads": threads}
    held.close()
    return shown


def show_keys(held: FetchedKeys) -> list[bool]:
    """
    Return whether the old key and the new one are there.
    """
    found = held.get_keys()
    return [found is not None and found.has(kid) for kid in ("old", "new")]


if __name__ == "__main__":
    print(json.dumps(fork_with_keys(sys.argv[1], json.loads(sys.argv[2]))))

"""
The machines of the tutorials change nothing of the machine that they are on, and leave nothing.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

from servers.launch import DEADLINE, TESTS
from servers.machine import boot, check_programs, find_groups

STAY = """
import sys
from pathlib import Path
from servers.machine import boot

with boot(Path(sys.argv[1])) as machine:
    print(machine.init, flush=True)
    sys.stdin.read()
"""
# Each would be a change of this machine. Where a kernel lacks such a file there is none to change.
WRITE = """
for file in /tmp/written /usr/written /proc/sys/kernel/hostname /proc/sys/vm/swappiness \
    /sys/kernel/written /sys/fs/cgroup/written /sys/fs/cgroup/memory/written
do
    if ( : >> "$file" ) 2> /dev/null; then echo "$file"; fi
done
"""


def test_a_machine_cannot_change_the_one_that_it_is_on(tmp_path: Path) -> None:
    """
    Files, variables of the kernel and control groups are read-only there, and there is no console.
    """
    with boot(tmp_path / "console") as machine:
        assert machine.run(WRITE) == ""
        devices = set(machine.run("ls /dev").split())
    assert {"null", "urandom"} <= devices
    assert not {"console", "kmsg", "tty1", "vda"} & devices


def test_a_machine_ends_with_a_test_that_is_killed(tmp_path: Path) -> None:
    """
    SIGKILL to the process of a test ends its machine, and the next test removes the rest.
    """
    check_programs()
    process = subprocess.Popen(
        [sys.executable, "-c", STAY, str(tmp_path / "first")],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        init = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    assert find_groups(f"idlanyard-{process.pid}-*")
    ended, _, _ = select.select([init], [], [], DEADLINE)
    os.close(init)
    assert ended
    with boot(tmp_path / "second"):
        assert find_groups(f"idlanyard-{process.pid}-*") == []

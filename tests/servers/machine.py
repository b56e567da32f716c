"""
Boots Debian's own systemd and nginx in namespaces, as on a machine of their own.

Programs there see the files of this machine, which they cannot change, and a few folders in memory:
a copy of ``/etc``, an empty ``/srv`` and the like. Their ports, processes, services and consoles
are their own, and all of it ends with the test, also with one that is killed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.caches import binary
from servers.launch import DEADLINE

# systemd makes control groups of its services below the root that it sees, and changes the file
# system that they are in. Both are the test's own: those of this machine are of another systemd.
ENTER_GROUP = r"""
while read -r _ point kind options _; do
    case "$kind $options" in
        cgroup2\ * | cgroup\ *name=systemd*)
            mkdir "$point/$1"
            echo $$ > "$point/$1/cgroup.procs" ;;
    esac
done < /proc/self/mounts
shift
exec "$@"
"""
# Of the devices of this machine only those are there that write nowhere: systemd would write on the
# console. Of its units only three are there: others would clean /tmp, and set the kernel's
# variables for everyone.
BOOT = r"""
group=$1
mount -t proc proc /proc
mounts=$(cat /proc/self/mounts)
while read -r _ point _; do
    [ "$point" = /proc ] || mount -o remount,bind,ro "$point" || echo "$point can be written"
done <<< "$mounts"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /run
mkdir /run/cgroup /run/dev
for device in full null random tty urandom zero; do
    touch "/run/dev/$device"
    mount --bind "/dev/$device" "/run/dev/$device"
done
mount --rbind /run/dev /dev
while read -r _ point kind options _; do
    place=/run/cgroup${point#/sys/fs/cgroup}
    case "$kind $options" in
        tmpfs\ *) [ "$point" != /sys/fs/cgroup ] || mount -t tmpfs tmpfs "$place" ;;
        cgroup2\ * | cgroup\ *name=systemd*)
            mkdir -p "$place"
            mount --bind "$point/$group" "$place"
            mount -o remount,bind,rw "$place" ;;
        cgroup\ *)
            mkdir -p "$place"
            mount --bind "$point" "$place" ;;
    esac
done <<< "$mounts"
mount --move /run/cgroup /sys/fs/cgroup
for folder in /home /srv /var/lib/nginx /var/log /var/tmp \
    /lib/systemd/system-generators /lib/systemd/system-environment-generators
do
    mount -t tmpfs tmpfs "$folder"
done
mkdir /home/you /var/log/nginx
cp -a /etc /run/etc
rm -r /run/etc/systemd
mkdir -p /run/etc/systemd/system /run/units
printf '[Journal]\nReadKMsg=no\n' > /run/etc/systemd/journald.conf
cd /lib/systemd/system
cp nginx.service systemd-journald.service systemd-journald.socket /run/units
cd /run/units
for target in basic multi-user sysinit timers; do
    printf '[Unit]\nDefaultDependencies=no\n' > "$target.target"
done
echo Wants=systemd-journald.service nginx.service timers.target >> multi-user.target
ln -s multi-user.target default.target
mount --bind /run/units /lib/systemd/system
mount --bind /run/etc /etc
cd /
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --log-target=journal
"""


@dataclass(frozen=True)
class Machine:
    """
    A machine that has booted.

    Attributes:
        init: the process ID of its systemd, as this machine counts.
    """

    init: int

    def find(self, path: str) -> Path:
        """
        Return where a file of the machine is for the test.
        """
        return Path(f"/proc/{self.init}/root{path}")

    def command(self, script: str) -> list[str]:
        """
        Return the words that run a script there as root, in which each command has to succeed.
        """
        words = ("bash", "-euo", "pipefail", "-c", script)
        return [binary("nsenter"), "--all", "--target", str(self.init), "--", *words]

    def run(self, script: str, **variables: str) -> str:
        """
        Run a script there as root, and return what it prints; each command has to succeed.

        Args:
            script: of bash.
            variables: what its environment has besides the programs' places.
        """
        done = subprocess.run(
            self.command(script),
            env={"PATH": os.environ["PATH"]} | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def listens(self, port: int) -> bool:
        """
        Return whether something listens on a port there.
        """
        table = Path(f"/proc/{self.init}/net/tcp").read_text(encoding="ascii")
        return f":{port:04X} 00000000:0000 0A" in table

    def await_port(self, port: int, listening: bool = True) -> None:
        """
        Wait until something listens on a port there, or until nothing does.
        """
        deadline = time.monotonic() + DEADLINE
        while self.listens(port) != listening:
            assert time.monotonic() < deadline, f"{port}: {listening} awaited"
            self.run("sleep 0.02")


def find_init(process: subprocess.Popen[bytes]) -> int | None:
    """
    Return the process ID of the first process of a machine, if it has begun.
    """
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    words = children.read_text(encoding="ascii").split()
    return int(words[0]) if words else None


def await_boot(process: subprocess.Popen[bytes], console: Path) -> Machine:
    """
    Wait until a machine has started its services.
    """
    deadline = time.monotonic() + DEADLINE
    said = ""
    while time.monotonic() < deadline and process.poll() is None:
        if (init := find_init(process)) is not None:
            machine = Machine(init)
            words = machine.command("systemctl is-system-running --wait")
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                return machine
            said = done.stdout + done.stderr
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(said + console.read_text(encoding="utf-8"))


def find_groups(pattern: str) -> list[Path]:
    """
    Return the control groups of machines whose names fit a pattern of a shell.
    """
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    points = re.findall(r"^\S+ (\S+) cgroup2? ", mounts, re.MULTILINE)
    return [group for point in points for group in Path(point).glob(pattern)]


def remove_group(group: Path) -> None:
    """
    Remove a control group and those in it.
    """
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()


def remove_orphans() -> None:
    """
    Remove the control groups of machines that were killed together with their test.
    """
    for group in find_groups("idlanyard-*"):
        if not Path("/proc", group.name.split("-")[1]).exists():
            # Another test may remove it at this moment.
            with suppress(OSError):
                remove_group(group)


def check_programs() -> None:
    """
    Skip the test where no machine can boot.
    """
    if os.geteuid() != 0:
        pytest.skip("a machine in namespaces takes root")
    for program in ("systemctl", "nginx"):
        binary(program)


@contextmanager
def boot(console: Path) -> Iterator[Machine]:
    """
    Boot a machine, and switch it off afterwards.

    Args:
        console: a file for what its systemd prints.
    """
    check_programs()
    remove_orphans()
    group = f"idlanyard-{os.getpid()}-{time.monotonic_ns()}"
    unshare = [binary("unshare"), "--fork", "--kill-child", "--pid", "--mount", "--cgroup"]
    unshare += ["--net", "--uts", "--ipc", "bash", "-euc", BOOT, "boot", group]
    # No code of a test runs when it is killed. The kernel then ends unshare, and so the machine.
    tied = [binary("setpriv"), "--pdeathsig", "KILL", "bash", "-euc", ENTER_GROUP, "enter", group]
    with console.open("wb") as output:
        process = subprocess.Popen(
            [*tied, *unshare],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield await_boot(process, console)
    finally:
        # Its systemd takes every process there with it, and unshare ends when it has.
        if process.poll() is None and (init := find_init(process)) is not None:
            os.kill(init, signal.SIGKILL)
        process.wait()
        for left in find_groups(group):
            remove_group(left)

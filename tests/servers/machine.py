"""
Boots Debian's own systemd and nginx in namespaces, as on a machine of their own.

Programs there see the files of this machine, which they cannot change, and a few folders of the
test in the places of ``/etc/nginx``, ``/etc/systemd``, ``/home`` and ``/srv``. Their ports,
processes and services are their own, and end with the test.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.caches import binary
from servers.launch import DEADLINE

UNITS = Path("/lib/systemd/system")
PLACES = {
    "/etc/nginx": "nginx",
    "/etc/systemd": "systemd",
    "/home": "home",
    "/srv": "srv",
    str(UNITS): "units",
}
# Services of Debian that a machine has from its start. No other unit of this machine is known in
# there: those of systemd itself would clean /tmp and set the kernel's variables for everyone.
SERVICES = ("nginx.service", "systemd-journald.service", "systemd-journald.socket")
TARGETS = ("sysinit.target", "basic.target", "multi-user.target")
# systemd makes groups of its services below the one that it was started in.
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
BOOT = r"""
mount -t proc proc /proc
while read -r _ point kind options _; do
    case "$point $kind $options" in
        /proc\ * | *\ cgroup2\ * | *\ cgroup\ *name=systemd*) ;;
        *) mount -o remount,bind,ro "$point" || echo "$point can be written" ;;
    esac
done < /proc/self/mounts
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
for folder in /run /var/lib/nginx /var/log /var/tmp \
    /lib/systemd/system-generators /lib/systemd/system-environment-generators
do
    mount -t tmpfs tmpfs "$folder"
done
mkdir /var/log/nginx
while [ $# -gt 0 ]; do
    mount --bind "$2" "$1"
    mount -o remount,bind,rw "$1"
    shift 2
done
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --log-target=console
"""


@dataclass(frozen=True)
class Machine:
    """
    A machine that has booted.

    Attributes:
        folder: has a folder for each of PLACES.
        init: the process ID of its systemd, as this machine counts.
    """

    folder: Path
    init: int

    def find(self, path: str) -> Path:
        """
        Return where a file of the machine is for the test, if it can be changed there.
        """
        place = next(place for place in PLACES if path.startswith(f"{place}/"))
        return self.folder / PLACES[place] / path.removeprefix(f"{place}/")

    def command(self, script: str) -> list[str]:
        """
        Return the words that run a script there as root, in which each command has to succeed.
        """
        words = ("bash", "-euo", "pipefail", "-c", script)
        return [binary("nsenter"), "--all", "--target", str(self.init), "--", *words]

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
            subprocess.run(self.command("sleep 0.02"), check=True)


def write_places(folder: Path) -> None:
    """
    Write what a machine has in its folders when it boots.
    """
    if not UNITS.joinpath(SERVICES[0]).exists():
        pytest.skip("nginx is not installed with its service")
    shutil.copytree("/etc/nginx", folder / "nginx", symlinks=True)
    for name in ("home/you", "srv", "systemd/system", "units"):
        folder.joinpath(name).mkdir(parents=True)
    for name in SERVICES:
        shutil.copy(UNITS / name, folder / "units")
    for name in TARGETS:
        wanted = f"Wants={' '.join(SERVICES)}\n" if name == "multi-user.target" else ""
        text = f"[Unit]\nDefaultDependencies=no\n{wanted}"
        folder.joinpath("units", name).write_text(text, encoding="ascii")
    folder.joinpath("units", "default.target").symlink_to("multi-user.target")
    text = "[Journal]\nReadKMsg=no\n"
    folder.joinpath("systemd", "journald.conf").write_text(text, encoding="ascii")


def await_boot(process: subprocess.Popen[bytes], folder: Path) -> Machine:
    """
    Wait until a machine has started its services.
    """
    deadline = time.monotonic() + DEADLINE
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    said = ""
    while time.monotonic() < deadline and process.poll() is None:
        if init := children.read_text(encoding="ascii").split():
            machine = Machine(folder, int(init[0]))
            words = machine.command("systemctl is-system-running --wait")
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                return machine
            said = done.stdout + done.stderr
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(said + folder.joinpath("console").read_text(encoding="utf-8"))


def remove_groups(name: str) -> None:
    """
    Remove the control groups that a machine has left.
    """
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    for point in re.findall(r"^\S+ (\S+) cgroup2? ", mounts, re.MULTILINE):
        for folder, _, _ in os.walk(Path(point, name), topdown=False):
            Path(folder).rmdir()


@contextmanager
def boot(folder: Path) -> Iterator[Machine]:
    """
    Boot a machine, and switch it off afterwards.

    Args:
        folder: a new one, for what the machine may write.
    """
    if os.geteuid() != 0:
        pytest.skip("a machine in namespaces takes root")
    binary("systemctl")
    folder.mkdir()
    write_places(folder)
    group = f"idlanyard-{os.getpid()}-{time.monotonic_ns()}"
    binds = [word for place, name in PLACES.items() for word in (place, str(folder / name))]
    unshare = [binary("unshare"), "--fork", "--kill-child", "--pid", "--mount", "--cgroup"]
    unshare += ["--net", "--uts", "--ipc", "bash", "-euc", BOOT, "boot", *binds]
    with folder.joinpath("console").open("wb") as console:
        process = subprocess.Popen(
            ["bash", "-euc", ENTER_GROUP, "enter", group, *unshare],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    try:
        yield await_boot(process, folder)
    finally:
        # Its systemd takes every process there with it, and unshare ends when it has.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for init in children.read_text(encoding="ascii").split():
            os.kill(int(init), signal.SIGKILL)
        process.wait()
        remove_groups(group)

"""
What docs/registry_command.md shows is what its commands print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import idlanyard
from idlanyard.registry._command._parser import COMMANDS
from idlanyard.registry._record import Kept
from ports import free_port
from registry.commanding import put_into
from servers.machine import Machine, boot

PAGE = Path(__file__).parents[2].joinpath("docs", "registry_command.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
DAY = 86_400_000_000
SESSIONS = [
    Kept("chat-1", "crm", '{"platform":"web"}', None, 1_769_860_800_000_001, None),
    Kept("chat-2", "crm", "{}", DAY, 1_769_938_200_250_000, 3_947_391_000_250_000),
    Kept("alone", None, "{}", DAY, 1_769_990_400_000_000, 3_944_764_800_000_000),
]


def test_the_page_prints_what_the_command_prints(tmp_path: Path) -> None:
    """
    Each command of the page, run one after the other in one shell, prints what stands below it.
    """
    put_into(f"sqlite:///{tmp_path}/sessions.db", SESSIONS)
    shown = "".join(BLOCK.findall(PAGE))
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    script = [f'python() {{ "{sys.executable}" "$@"; }}']
    for command in commands:
        script += [f"cat <<'EOF'\n$ {command}\nEOF", command]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == shown


def test_every_command_is_on_the_page() -> None:
    """
    The page shows each command being run.
    """
    run = set(re.findall(r"^\$ python -m idlanyard registry (\w+)", PAGE, re.MULTILINE))
    assert run == set(COMMANDS)


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        pytest.param("sqlite:///sessions.db", 0, "", id="fine"),
        pytest.param("sqlite:///garbage.db", 1, "misconfigured\n", id="misconfigured"),
        pytest.param("redis://127.0.0.1:{port}/0", 1, "", id="unavailable"),
    ],
)
def test_the_health_recipe(tmp_path: Path, url: str, status: int, said: str) -> None:
    """
    The lines for an orchestrator tell a store that is fine, one that is away and one that is wrong.
    """
    put_into(f"sqlite:///{tmp_path}/sessions.db", SESSIONS)
    tmp_path.joinpath("garbage.db").write_text("no database, but some text " * 10)
    found = re.search(r"```bash\n(python -m idlanyard registry check .*?)```", PAGE, re.DOTALL)
    assert found
    done = subprocess.run(
        ["bash", "-c", f'python() {{ "{sys.executable}" "$@" > /dev/null; }}\n{found[1]}'],
        cwd=tmp_path,
        env={**os.environ, "IDLANYARD_REGISTRY_URL": url.format(port=free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, said)


def test_every_command_is_listed() -> None:
    """
    The page begins with a line for each command.
    """
    listed = re.findall(
        r"^python -m idlanyard registry (\w+) ", PAGE.partition("## Install")[0], re.MULTILINE
    )
    assert sorted(listed) == sorted(COMMANDS)


def test_passwords_stay_in_the_environment(tmp_path: Path) -> None:
    """
    The lines that move sessions by names of variables do so, here between two files.
    """
    put_into(f"sqlite:///{tmp_path}/sessions.db", SESSIONS)
    (block,) = re.findall(r"```bash\n(export OLD=.*?)```", PAGE, re.DOTALL)
    script = re.sub(r"OLD='.*?' NEW='.*?'", "OLD=sqlite:///sessions.db NEW=sqlite:///new.db", block)
    assert script != block
    done = subprocess.run(
        ["bash", "-euc", f'python() {{ "{sys.executable}" "$@"; }}\n{script}'],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "moved 3 sessions (0 taken, 0 expired, 0 ended)\n"


FOLDERS = [
    Path(sys.base_prefix),
    Path(sysconfig.get_path("purelib")),
    Path(idlanyard.__file__).parents[1],
]
PREPARE = f"""
useradd --system app
install -d -o app /srv/data
echo IDLANYARD_REGISTRY_URL="'sqlite:////srv/data/sessions.db'" > /etc/idlanyard.env
chown app /etc/idlanyard.env
chmod 600 /etc/idlanyard.env
"{sys.executable}" -m venv --without-pip /srv/app
"""
AS_APP = "env -i PATH=/usr/bin:/bin setpriv --reuid app --init-groups"
CREATE = (
    "from idlanyard.registry import SessionRegistry;"
    "SessionRegistry.open('sqlite:////srv/data/sessions.db').create()"
)


def show_folders(folders: list[Path]) -> str:
    """
    Return a script by which all users may read folders, in the places that they have.
    """
    lines = []
    for number, folder in enumerate(folders):
        lines += [f"mkdir /run/{number}", f"mount --bind '{folder}' /run/{number}"]
    parents = {parent for folder in folders for parent in folder.parents}
    closed = [parent for parent in parents if not parent.stat().st_mode & 1]
    outer = [parent for parent in closed if not set(parent.parents) & set(closed)]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs '{parent}'" for parent in outer]
    for number, folder in enumerate(folders):
        if set(folder.parents) & set(outer):
            lines += [f"mkdir -p '{folder}'", f"mount --bind /run/{number} '{folder}'"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """
    A machine with a user, an environment file and a Python as on the page.
    """
    with boot(tmp_path_factory.mktemp("machine") / "console") as machine:
        machine.run(PREPARE)
        (site,) = machine.find("/srv/app/lib").glob("*/site-packages")
        site.joinpath("here.pth").write_text("\n".join(map(str, FOLDERS[1:])), encoding="utf-8")
        machine.run(show_folders(FOLDERS))
        machine.run(f'{AS_APP} /srv/app/bin/python -c "{CREATE}"')
        yield machine


SCHEDULED = re.findall(r"^(\S+ \S+ \S+ \S+ \S+) +app  (.*registry (\w+) .*)$", PAGE, re.MULTILINE)


def test_the_lines_of_cron_run(machine: Machine) -> None:
    """
    What cron runs, as the user of the page and without variables, says what is wrong and no more:
    here, that the store is in memory.
    """
    said = {name: machine.run(f'{AS_APP} /bin/sh -c "{line}" 2>&1') for _, line, name in SCHEDULED}
    assert said["purge"] == ""
    assert said["check"].startswith("the session registry's file is in memory (tmpfs)")
    assert set(said) == {"purge", "check"}


def test_the_units_run(machine: Machine) -> None:
    """
    systemd accepts both files and waits for the night; the service ends well as its user.
    """
    (block,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    files = re.findall(r"^# (/etc/\S+)\n(.*?)(?=^# |\Z)", block, re.DOTALL | re.MULTILINE)
    for place, text in files:
        machine.find(place).write_text(text, encoding="utf-8")
    (start,) = re.findall(r"```bash\n(sudo systemctl .*?)```", PAGE, re.DOTALL)
    machine.run(f'sudo() {{ "$@"; }}\n{start}')
    assert " 03:" in machine.run("systemctl list-timers idlanyard-purge.timer")
    machine.run("systemctl start idlanyard-purge.service; journalctl --sync")
    assert "purged 0 sessions\n" in machine.run("journalctl -u idlanyard-purge.service -o cat")

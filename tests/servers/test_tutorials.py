"""
The tutorials are followed step by step, from an empty folder to a service behind nginx.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import idlanyard
from servers.launch import DEADLINE
from servers.machine import Machine, boot

PAGES = sorted(Path(__file__).parents[2].joinpath("docs").glob("tutorial_*.md"))
STEP = re.compile(r"(?:^|\n```\n)((?:(?!```)[^\n]*\n)*?)```(\w+)\n(.*?)(?=\n```\n)", re.DOTALL)
PROGRAMS = Path(sys.executable).parent
SERVERS = ("flask run", "python manage.py runserver", "uvicorn")
LOGGED = "The server logs:"
# The machine has no way to an index: `tox run -e release` resolves what the pages install.
FIRST = 'sudo() { "$@"; }; pip() { :; }; cd ~'
LATER = 'sudo() { "$@"; }; cd ~/shop; . .venv/bin/activate'


@dataclass
class Reader:
    """
    Somebody who follows a tutorial at a machine.
    """

    machine: Machine
    stack: ExitStack
    script: str = ""
    printed: str = ""
    server: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """
        Return the folder that the reader has made.
        """
        return self.machine.find("/home/you/shop")

    @property
    def output(self) -> Path:
        """
        Return the file with what the server prints that the reader has started.
        """
        return self.folder.parent / "output"

    def run(self, script: str, start: str = LATER) -> None:
        """
        Run the lines of a block, each of which has to succeed.
        """
        self.printed = self.machine.run(f"{start}\n{script}", **environment())
        self.script = script

    def install(self, script: str) -> None:
        """
        Make the virtual environment, with the packages of this one in it.
        """
        self.run(script, FIRST)
        for name in script.partition("pip install ")[2].split()[:-1]:
            assert importlib.metadata.version(name)
        (site,) = self.folder.glob(".venv/lib/*/site-packages")
        places = {sysconfig.get_path("purelib"), str(Path(idlanyard.__file__).parents[1])}
        site.joinpath("here.pth").write_text("\n".join(places), encoding="utf-8")

    def serve(self, line: str) -> None:
        """
        Start the service by a command line, and wait until it listens.
        """
        with self.output.open("ab") as log:
            self.server = subprocess.Popen(
                self.machine.command(f"{LATER}\nexec {line}"),
                env=environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.stack.callback(self.stop)
        self.machine.await_port(8000)

    def stop(self) -> None:
        """
        End the server that the reader has started, and the processes that it has.
        """
        if self.server is not None and self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()

    def write(self, code: str) -> None:
        """
        Write a block into the file that its first line names, or add it there.
        """
        place, _, text = code.removeprefix("# ").partition("\n")
        name, _, added = place.partition(", ")
        path = self.machine.find(name) if name.startswith("/") else self.folder / name
        with path.open("a" if added else "w", encoding="utf-8") as file:
            file.write(f"\n{text}\n")

    def check_log(self, lines: str) -> None:
        """
        Wait until the service has logged the lines that a block shows.
        """
        assert self.server
        deadline = time.monotonic() + DEADLINE
        while not set(lines.split("\n")) <= set(self.output.read_text("utf-8").splitlines()):
            assert time.monotonic() < deadline, self.output.read_text("utf-8")
            try:
                self.server.wait(0.05)
            except subprocess.TimeoutExpired:
                continue

    def check_printed(self, shown: str) -> None:
        """
        Check that a block printed what the page shows; the journal may be a moment behind.
        """
        wanted = re.compile(
            rf"(?:.*\n)?{'.*'.join(map(re.escape, shown.split('…')))}", re.DOTALL | re.IGNORECASE
        )
        deadline = time.monotonic() + DEADLINE
        while not wanted.fullmatch(self.printed.replace("\r", "").strip()):
            assert "journalctl" in self.script, self.printed
            assert time.monotonic() < deadline, self.printed
            self.run(self.script)

    def follow(self, prose: str, language: str, block: str) -> None:
        """
        Do what a block says, or compare with what it shows.
        """
        if "Ctrl-C" in prose:
            self.stop()
            self.machine.await_port(8000, listening=False)
        match language:
            case "python" | "ini" | "nginx":
                self.write(block)
            case "text" if LOGGED in prose:
                self.check_log(block)
            case "text":
                self.check_printed(block)
            case "bash" if "pip install" in block:
                self.install(block)
            case "bash" if block.startswith(SERVERS):
                self.serve(block)
            case _:
                assert language == "bash"
                self.run(block)
                if "systemctl" in block:
                    self.machine.await_port(8000)
                    self.machine.await_port(8080)


def environment() -> dict[str, str]:
    """
    Return the variables of a terminal of the reader's, who has none of this run's own: pytest
    writes its cache to TOX_ENV_DIR, for one.
    """
    return {
        "HOME": "/home/you",
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(idlanyard.__file__).parents[1]),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_can_be_followed(page: Path, tmp_path: Path) -> None:
    """
    Each block of a tutorial does what the page says, in order, with systemd and nginx of Debian.
    """
    steps = STEP.findall(page.read_text(encoding="utf-8"))
    assert len(steps) == page.read_text(encoding="utf-8").count("\n```") // 2
    with ExitStack() as stack:
        reader = Reader(stack.enter_context(boot(tmp_path / "console")), stack)
        for step in steps:
            reader.follow(*step)

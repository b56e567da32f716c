"""
The tutorials are followed step by step, from an empty folder to a service behind nginx.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ports import free_port
from servers.caches import binary
from servers.launch import DEADLINE, Running, Server, wait
from servers.proxies import NGINX

PAGES = sorted(Path(__file__).parents[2].joinpath("docs").glob("tutorial_*.md"))
STEP = re.compile(r"(?:^|\n```\n)((?:(?!```)[^\n]*\n)*?)```(\w+)\n(.*?)(?=\n```\n)", re.DOTALL)
PROGRAMS = Path(sys.executable).parent
SERVERS = ("flask run", "gunicorn", "python manage.py runserver", "uvicorn")
LOGGED = "The server logs:"


@dataclass
class Reader:
    """
    Somebody who follows a tutorial in a folder, with the ports of this machine.
    """

    folder: Path
    stack: ExitStack
    service: int = field(default_factory=free_port)
    proxy: int = field(default_factory=free_port)
    printed: str = ""
    running: tuple[subprocess.Popen[bytes], Path] | None = None

    def local(self, text: str) -> str:
        """
        Return a block with ports that are free here.
        """
        return text.replace("8000", str(self.service)).replace("8080", str(self.proxy))

    def start(self, words: list[str], port: int, variables: dict[str, str]) -> None:
        """
        Start a program, and wait until it listens.
        """
        output = self.folder / f"{Path(words[0]).name}.output"
        with output.open("ab") as log:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=environment() | variables,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.stack.callback(stop, process)
        wait(process, Running(Server(words[0], (), ""), ("127.0.0.1", port), output))
        if port == self.service:
            self.running = process, output

    def serve(self, line: str, variables: dict[str, str]) -> None:
        """
        Start the service by a command line, in the place of the one that runs.
        """
        if self.running is not None:
            stop(self.running[0])
        # A child of the one that was stopped may listen for a moment yet.
        self.service = free_port()
        program, *words = shlex.split(self.local(line))
        # A control socket of gunicorn's would be one for all tests.
        options = ["--no-control-socket"] if program.endswith("gunicorn") else []
        self.start([str(PROGRAMS / Path(program).name), *options, *words], self.service, variables)

    def write(self, code: str) -> None:
        """
        Write a block into the file that its first line names, or add it there.
        """
        place, _, text = code.removeprefix("# ").partition("\n")
        name, _, added = place.partition(", ")
        with self.folder.joinpath(name).open("a" if added else "w", encoding="utf-8") as file:
            file.write(f"\n{text}\n")

    def run(self, script: str) -> None:
        """
        Run the lines of a block, each of which has to succeed.
        """
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.local(script)],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.printed = done.stdout

    def check_log(self, lines: str) -> None:
        """
        Wait until the service has logged the lines that a block shows.
        """
        assert self.running
        process, output = self.running
        deadline = time.monotonic() + DEADLINE
        while not all(line in output.read_text("utf-8").splitlines() for line in lines.split("\n")):
            assert time.monotonic() < deadline, output.read_text("utf-8")
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue

    def configure_unit(self, unit: str) -> None:
        """
        Start the service as systemd would do by its unit.
        """
        settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
        place = Path(settings["EnvironmentFile"]).relative_to(settings["WorkingDirectory"])
        lines = self.folder.joinpath(place).read_text("utf-8").splitlines()
        self.serve(settings["ExecStart"], dict(line.split("=", 1) for line in lines))

    def configure_nginx(self, site: str) -> None:
        """
        Start nginx with a file of its ``conf.d``.
        """
        file = self.folder / "nginx.conf"
        text = NGINX.format(folder=self.folder, site=self.local(site))
        file.write_text(text.replace("listen ", "listen 127.0.0.1:"), encoding="utf-8")
        self.start([binary("nginx"), "-p", str(self.folder), "-c", str(file)], self.proxy, {})

    def follow(self, prose: str, language: str, block: str) -> None:
        """
        Do what a block says, or compare with what it shows.
        """
        match language:
            case "python":
                self.write(block)
            case "ini":
                self.configure_unit(block)
            case "nginx":
                self.configure_nginx(block)
            case "text" if LOGGED in prose:
                self.check_log(block)
            case "text":
                shown = ".*".join(map(re.escape, block.split("…")))
                printed = self.printed.replace("\r", "").strip()
                assert re.fullmatch(rf"(?:.*\n)?{shown}", printed, re.DOTALL | re.IGNORECASE)
            case "bash" if "pip install" in block:
                for name in block.partition("pip install ")[2].split()[:-1]:
                    assert importlib.metadata.version(name)
            case "bash" if block.startswith(SERVERS):
                self.serve(block, {})
            case "bash" if "sudo " not in block:
                self.run(block)
            case _:
                assert language == "bash"


def environment() -> dict[str, str]:
    """
    Return the variables of a terminal in which the virtual environment is active.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return kept | {"PATH": f"{PROGRAMS}{os.pathsep}{kept['PATH']}"}


def stop(process: subprocess.Popen[bytes]) -> None:
    """
    End a program and the processes that it has started.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_can_be_followed(page: Path, tmp_path: Path) -> None:
    """
    Each block of a tutorial does what the page says, in order, but for the one that needs root.
    """
    steps = STEP.findall(page.read_text(encoding="utf-8"))
    assert len(steps) == page.read_text(encoding="utf-8").count("\n```") // 2
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        for step in steps:
            reader.follow(*step)

"""
Start a real PostgreSQL on a free loopback port, or use a given one.

``IDLANYARD_TEST_POSTGRES_URL`` names a server whose role may create databases. Tests
that stop, kill or freeze a server always start their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ports import free_port

DEADLINE = 60.0
ROLE = "lanyard"
PASSWORD = "s3cret/p@ss"
QUOTED = "s3cret%2Fp%40ss"
DEBIAN = Path("/usr/lib/postgresql")
MEMORY = Path("/dev/shm")


def choose_folder() -> Path | None:
    """
    Return the directory for servers: in memory, where a gigabyte of it is free.

    A database is created there ten times as fast as on a disk, which is waited
    for, and no setting differs from those of a careful server.
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1 << 30:
        return MEMORY
    return None


def programs() -> Path | None:
    """
    Return the directory of ``initdb`` and ``pg_ctl``, if there is one.
    """
    found = [Path(path) for name in ("initdb", "pg_ctl") if (path := shutil.which(name))]
    homes = [path.parent for path in found] + [path.resolve().parent for path in found]
    homes += sorted(DEBIAN.glob("*/bin"), key=lambda home: int(home.parent.name), reverse=True)
    for home in homes:
        if (home / "initdb").exists() and (home / "pg_ctl").exists():
            return home
    return None


class PostgreSQL:
    """
    A server of the tests' own. For root, it runs as the user ``postgres``.

    Use it in a ``with`` block, which starts it, and kills and deletes it.

    Args:
        encoding: of the databases, as in ``"UTF8"`` or ``"SQL_ASCII"``.
        settings: more of the server's settings, as in ``fsync="off"``.

    Attributes:
        port: the port on 127.0.0.1, the same after a restart.
        sockets: the directory of its unix socket.
    """

    def __init__(self, *, encoding: str = "UTF8", **settings: str) -> None:
        home = programs()
        if home is None:
            pytest.skip("there is no initdb: install PostgreSQL")
        self._home = home
        self._encoding = encoding
        self._settings = settings
        self.port = free_port()
        self.sockets = Path(tempfile.mkdtemp(prefix="pg-", dir=choose_folder()))
        self._data = self.sockets / "data"

    @property
    def url(self) -> str:
        """
        The URL of its first database.
        """
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """
        Return the URL of a database on it.
        """
        return f"postgresql://{ROLE}:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            shutil.rmtree(self.sockets)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._postmaster() in _processes():
            self.kill()
        shutil.rmtree(self.sockets)

    def start(self) -> None:
        """
        Start it, and wait until it takes connections.
        """
        settings = {
            "listen_addresses": "127.0.0.1",
            "max_connections": "200",
            # In its own directory, which goes with it.
            "dynamic_shared_memory_type": "mmap",
            **self._settings,
        }
        options = "".join(f" -c {name}={value}" for name, value in settings.items())
        words = f"-p {self.port} -k {self.sockets}{options}"
        self._control("start", "-l", str(self.sockets / "log"), "-o", words)

    def stop(self) -> None:
        """
        Stop it in order: connections are closed, nothing is lost.
        """
        self._control("stop", "-m", "fast")

    def restart(self) -> None:
        """
        Stop it in order, and start it.
        """
        self.stop()
        self.start()

    def kill(self) -> None:
        """
        Kill it and every process of it at once (SIGKILL).
        """
        family, segments = self._family(), self._segments()
        for process in family:
            _send(process, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE
        while family & _processes().keys():
            assert time.monotonic() < deadline, "the server's processes are still there"
            time.sleep(0.005)
        # A zombie process with the number in these files would look like a running server.
        for lock in (self._data / "postmaster.pid", self.sockets / f".s.PGSQL.{self.port}.lock"):
            lock.unlink(missing_ok=True)
        # The kernel keeps them for ever, 4,096 at most, and after that no server starts. A server
        # that was killed while it recovered may have removed its own already.
        for segment in segments:
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)

    def freeze(self) -> None:
        """
        Stop all its processes (SIGSTOP): the kernel accepts connections, nobody answers.
        """
        for process in self._family():
            _send(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """
        Continue all its processes.
        """
        for process in self._family():
            _send(process, signal.SIGCONT)

    def _initialise(self) -> None:
        secret = self.sockets / "secret"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.sockets, secret):
                shutil.chown(path, "postgres", "postgres")
        options = (f"--username={ROLE}", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync")
        locale = (f"--encoding={self._encoding}", "--locale=C")
        self._run("initdb", "-D", str(self._data), *options, *locale)

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", str(int(DEADLINE)), *words)

    def _run(self, program: str, *words: str) -> None:
        user = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        # A file, since the server would keep a pipe open, and reading it would not end.
        with (self.sockets / "said").open("w+") as said:
            done = subprocess.run(
                [*user, str(self._home / program), *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd="/",
                check=False,
            )
            said.seek(0)
            assert done.returncode == 0, said.read() + self._log()

    def _log(self) -> str:
        log = self.sockets / "log"
        return log.read_text() if log.exists() else ""

    def _postmaster(self) -> int:
        """
        Return the number of its first process, or 0 if it does not run.
        """
        try:
            return int((self._data / "postmaster.pid").read_text().split()[0])
        except FileNotFoundError:
            return 0

    def _segments(self) -> list[str]:
        """
        Return the number of its segment of shared memory, in a list, once it has one.
        """
        # Its key and its number.
        line = (self._data / "postmaster.pid").read_text().splitlines()[6:7]
        return [number for words in line for number in words.split()[1:]]

    def _family(self) -> set[int]:
        first = self._postmaster()
        return {pid for pid, parent in _processes().items() if first and first in (pid, parent)}


def _processes() -> dict[int, int]:
    """
    Return the parent of every process that is not dead.
    """
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in table.stdout.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


@contextmanager
def fresh_database(url: str, options: str = "") -> Iterator[str]:
    """
    Create a database on the server of a URL, yield its URL, and drop it.

    Args:
        url: the URL of a database whose role may create others.
        options: the options of ``CREATE DATABASE``.
    """
    name = f"idlanyard_{uuid4().hex}"
    asked = f"{options} TEMPLATE template0" if options else ""
    execute(url, f"CREATE DATABASE {name} {asked}")
    known = conninfo_to_dict(url)
    before, _, behind = url.partition(f"/{known['dbname']}")
    try:
        yield f"{before}/{name}{behind}"
    finally:
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    """
    Run one statement, and return its rows.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        answer = connection.execute(statement.encode())
        return answer.fetchall() if answer.description else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """
    The URL of a PostgreSQL whose role may create databases.
    """
    named = os.environ.get("IDLANYARD_TEST_POSTGRES_URL")
    if named:
        yield named
        return
    with PostgreSQL() as server:
        yield server.url


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """
    The URL of an empty database of the test's own.
    """
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def own_server() -> Iterator[PostgreSQL]:
    """
    A server of the test's own, which it may stop, kill or freeze.
    """
    with PostgreSQL() as server:
        yield server

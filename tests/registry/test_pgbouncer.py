"""
``postgresql://`` keeps the contract of every store behind PgBouncer, which gives each
transaction another connection.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from idlanyard.registry import RegistryMisconfigured
from ports import free_port
from registry.contract import AwaitedContract, RegistryContract
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import eventually, fresh
from registry.postgres import execute, fresh_database, postgres

__all__ = ["postgres"]

Face = Callable[..., AbstractContextManager[Opened]]
POOLED = 4


@contextmanager
def pgbouncer(url: str, **settings: str) -> Iterator[str]:
    """
    Start a PgBouncer before the server of a URL, and yield the URL that leads through it.

    Args:
        url: the URL of a database.
        settings: further settings, as in ``pool_mode="transaction"``.
    """
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("there is no pgbouncer: install it")
    known, port = conninfo_to_dict(url), free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as home, ExitStack() as stack:
        folder = Path(home)
        (folder / "users").write_text(f'"{known["user"]}" "{known["password"]}"\n')
        options = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(folder / "users"),
            "default_pool_size": str(POOLED),
            **settings,
        }
        lines = [f"{name} = {value}" for name, value in options.items()]
        where = f"* = host={known['host']} port={known['port']}"
        (folder / "ini").write_text("\n".join(["[databases]", where, "[pgbouncer]", *lines]))
        user: tuple[str, ...] = ()
        if os.geteuid() == 0:
            # PgBouncer refuses to run as root.
            user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--")
            for path in (folder, folder / "users", folder / "ini"):
                shutil.chown(path, "postgres", "postgres")
        log = stack.enter_context((folder / "log").open("w"))
        process = stack.enter_context(
            subprocess.Popen([*user, program, str(folder / "ini")], stdout=log, stderr=log)
        )
        stack.callback(process.kill)
        eventually(lambda: process.poll() is not None or is_listening(port))
        assert process.poll() is None, (folder / "log").read_text()
        yield url.replace(f":{known['port']}/", f":{port}/")


def is_listening(port: object) -> bool:
    """
    Return whether connections are accepted there.
    """
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", int(str(port)))) == 0


@pytest.fixture(scope="module")
def pooled(postgres: str) -> Iterator[tuple[str, str]]:
    """
    A database behind a PgBouncer that pools transactions: the URLs through it, and past it.
    """
    with (
        fresh_database(postgres) as straight,
        pgbouncer(
            straight, pool_mode="transaction", ignore_startup_parameters="options"
        ) as through,
    ):
        yield through, straight


@pytest.fixture
def url(pooled: tuple[str, str]) -> str:
    """
    The URL through the pooler, of a database without a table.
    """
    through, straight = pooled
    execute(straight, "DROP TABLE IF EXISTS idlanyard_sessions")
    return through


class TestPooled(RegistryContract):
    """
    The contract behind a pooler, with the sync registry.
    """


class TestPooledAwaited(AwaitedContract):
    """
    The contract behind a pooler, with the async registry.
    """


@pytest.fixture(params=[synchronous, asynchronous])
def face(request: pytest.FixtureRequest) -> Face:
    """
    The sync and the async registry.
    """
    chosen: Face = request.param
    return chosen


def test_more_threads_than_connections_create_each_id_once(url: str) -> None:
    """
    Threads share the few connections of a pooler, and each ID is created once.
    """
    names = [fresh() for _ in range(200)]
    with synchronous(url) as registry, ThreadPoolExecutor(2 * POOLED) as pool:
        made = list(pool.map(lambda name: registry.create(name, client_id="c"), names))
        assert [record.session_id for record in made] == names
        found = registry.find(client_id="c", limit=1000)
    assert sorted(record.session_id for record in found) == sorted(names)


def test_a_pooler_that_refuses_options_is_told_or_given_none(postgres: str, face: Face) -> None:
    """
    A pooler that refuses options is a fault with a sentence; without options it works.
    """
    with (
        fresh_database(postgres) as straight,
        pgbouncer(straight, pool_mode="transaction") as through,
    ):
        with face(through) as registry, pytest.raises(RegistryMisconfigured) as raised:
            registry.create()
        assert "ignore_startup_parameters = options" in raised.value.fault
        assert "options" in str(raised.value.__cause__)
        with face(f"{through}?options=") as registry:
            made = registry.create(ttl=60)
            assert registry.get(made.session_id) == made

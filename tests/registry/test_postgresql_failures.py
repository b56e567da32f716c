"""
``postgresql://`` while its server is away, killed, silent or slow.
"""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

import psycopg
import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionRegistry,
)
from registry.naming import DEADLINE, eventually, fresh
from registry.postgres import (
    QUOTED,
    PostgreSQL,
    database,
    execute,
    own_server,
    postgres,
)
from registry.postgres_fixtures import SHORT, Face, blocked, face, is_unavailable, waiting

__all__ = ["database", "face", "own_server", "postgres"]


@contextmanager
def garbage() -> Iterator[None]:
    """
    Turn off the garbage collector.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_answered(ask: Callable[[], object]) -> bool:
    """
    Return whether a question is answered; a known outage may still be answered at once.
    """
    try:
        ask()
    except RegistryUnavailable:
        return False
    return True


# Failure


def test_a_server_that_is_not_there_is_unavailable_until_it_is(
    own_server: PostgreSQL, face: Face
) -> None:
    """
    While the server is down the registry is unavailable, and afterwards it works.
    """
    own_server.stop()
    with face(own_server.url) as registry:
        for ask in (registry.create, registry.purge_expired, lambda: registry.find(client_id="c")):
            is_unavailable(ask)
        own_server.start()
        assert registry.create().session_id


def test_no_failure_tells_the_password(postgres: str, face: Face) -> None:
    """
    S6: no error and no cause contains the password.
    """
    with (
        face(postgres.replace(QUOTED, "wr0ng-pass", 1)) as registry,
        pytest.raises(RegistryMisconfigured, match="password is wrong") as raised,
    ):
        registry.create("x", metadata={"a": "private"})
    cause = raised.value.__cause__
    assert "password authentication failed" in str(cause)
    assert "wr0ng-pass" not in f"{cause!r} {cause} {raised.value}"


def test_no_failure_tells_what_was_to_be_kept(database: str, face: Face) -> None:
    """
    S6: the error of a failed statement does not contain its parameters.
    """
    with face(database) as registry:
        registry.exists("x")
        execute(database, "ALTER TABLE idlanyard_sessions RENAME metadata TO other")
        with pytest.raises(RegistryMisconfigured) as raised:
            registry.create("my-id", metadata={"a": "private"})
    cause = f"{raised.value.__cause__} {raised.value.__context__} {raised.value}"
    assert "private" not in cause
    assert "my-id" not in cause


@pytest.mark.parametrize("end", [PostgreSQL.stop, PostgreSQL.kill], ids=["stop", "kill"])
def test_a_restart_between_two_questions_is_not_noticed(
    own_server: PostgreSQL, face: Face, end: Callable[[PostgreSQL], None]
) -> None:
    """
    Connections that a restart has closed are replaced before they are used.
    """
    name = fresh()
    with face(own_server.url) as registry:
        registry.create(name)
        end(own_server)
        own_server.start()
        assert registry.get(name).session_id == name
        with pytest.raises(SessionExists):
            registry.create(name)


def test_every_pooled_connection_is_replaced(own_server: PostgreSQL) -> None:
    """
    After a restart no thread gets an error from an old connection.
    """
    with SessionRegistry.open(own_server.url) as registry, ThreadPoolExecutor(10) as pool:
        registry.exists("x")
        with blocked(own_server.url, "x"):
            asked = [pool.submit(registry.create, "x", client_id=str(n)) for n in range(10)]
            eventually(lambda: waiting(own_server.url) == 10)
        assert sum(one.exception() is None for one in asked) == 1
        own_server.restart()
        assert all(pool.map(registry.get, ["x"] * 30))


def test_a_server_killed_in_mid_question_is_unavailable_once(
    own_server: PostgreSQL, face: Face
) -> None:
    """
    The current question fails and is not repeated, and the next one is answered.
    """
    with face(own_server.url) as registry, ThreadPoolExecutor(1) as pool:
        registry.exists("x")
        with blocked(own_server.url, "x"):
            asked = pool.submit(registry.create, "x")
            eventually(lambda: waiting(own_server.url) == 1)
            own_server.kill()
        with pytest.raises(RegistryUnavailable):
            asked.result()
        own_server.start()
        assert not registry.exists("x")
        assert registry.create("x").session_id == "x"


def test_a_server_that_stands_still_is_unavailable(own_server: PostgreSQL, face: Face) -> None:
    """
    A server that hangs is unavailable in time, on an open connection and on a new one.
    """
    name = fresh()
    with face(own_server.url, timeout=SHORT) as used, face(own_server.url, timeout=SHORT) as unused:
        used.create(name)
        own_server.freeze()
        for registry in (used, unused, used):
            is_unavailable(lambda: registry.get(name))  # noqa: B023
        own_server.thaw()
        for registry in (used, unused):
            eventually(lambda: is_answered(lambda: registry.get(name)))  # noqa: B023


def test_a_socket_that_never_answers_is_unavailable(face: Face) -> None:
    """
    A server that accepts a connection and never answers is unavailable in time.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent, garbage():
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/db"
        with face(url, timeout=SHORT) as registry:
            cause = is_unavailable(lambda: registry.exists("x"))
            with silent.accept()[0] as taken:
                taken.settimeout(DEADLINE)
                while taken.recv(4096):
                    pass
            assert cause is not None


def test_a_statement_that_waits_too_long_is_ended_by_the_server(database: str, face: Face) -> None:
    """
    A statement that waits for a lock is ended in time, at the server too.
    """
    with face(database, timeout=4) as registry:
        registry.exists("x")
        with blocked(database, "x"):
            cause = is_unavailable(lambda: registry.create("x"))
            assert "statement timeout" in str(cause)
            assert waiting(database) == 0
        assert registry.create("x").session_id == "x"


def test_without_options_the_waiting_ends_here(database: str, face: Face) -> None:
    """
    Without ``statement_timeout`` at the server the registry keeps its timeout itself.
    """
    with face(f"{database}?options=", timeout=SHORT) as registry:
        registry.exists("x")
        with blocked(database, "x"):
            is_unavailable(lambda: registry.create("x"))
        assert registry.create(fresh()).session_id


def test_waiting_for_a_connection_ends_in_time(database: str) -> None:
    """
    If every connection is busy, the next question is unavailable in time.
    """
    with SessionRegistry.open(f"{database}?options=", timeout=SHORT) as registry:
        registry.exists("x")
        with blocked(database, "x"), ThreadPoolExecutor(25) as pool:
            asked = [pool.submit(registry.create, "x") for _ in range(25)]
            assert all(isinstance(one.exception(), RegistryUnavailable) for one in asked)
        eventually(lambda: is_answered(lambda: registry.create(fresh())))


class Relay(threading.Thread):
    """
    Stands before a server, and swallows the answers of connections when told to.

    Use it with ``with``.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        here = str(psycopg.conninfo.conninfo_to_dict(url)["port"])
        self._there = ("127.0.0.1", int(here))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._silent: set[socket.socket] = set()
        self.url = url.replace(f":{here}/", f":{self._listener.getsockname()[1]}/")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._wake.close()
        self.join()
        for one in (self._listener, self._woken, *self._peers):
            one.close()

    def swallow(self, *, questions: bool) -> None:
        """
        Drop the answers on all current connections, and the questions too.
        """
        self._silent |= {one for one in self._peers if questions or self._is_answering(one)}

    def _is_answering(self, one: socket.socket) -> bool:
        return bool(one.getpeername() == self._there)

    def run(self) -> None:
        """
        Forward all data.
        """
        while True:
            ready, _, _ = select.select([self._listener, self._woken, *self._peers], [], [])
            if self._woken in ready:
                return
            for one in ready:
                if one is self._listener:
                    here, there = one.accept()[0], socket.create_connection(self._there)
                    self._peers |= {here: there, there: here}
                elif one in self._peers:
                    self._pass_on(one)

    def _pass_on(self, one: socket.socket) -> None:
        peer = self._peers[one]
        try:
            data = one.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            for gone in (one, peer):
                del self._peers[gone]
                gone.close()
        elif one not in self._silent:
            peer.sendall(data)


def test_a_lost_answer_is_not_asked_for_again(database: str, face: Face) -> None:
    """
    A create whose answer is lost is unavailable, and is not repeated.
    """
    with Relay(database) as relay, face(relay.url, timeout=SHORT) as registry:
        registry.exists("x")
        relay.swallow(questions=False)
        is_unavailable(lambda: registry.create("x", metadata={"n": 1}))
        assert registry.get("x").metadata == {"n": 1}
        with pytest.raises(SessionExists):
            registry.create("x")


def are_answers(errors: Iterable[BaseException | None]) -> bool:
    """
    Return whether one of five creates of an ID was done, and the others refused.
    """
    return sorted(type(error).__name__ for error in errors) == ["NoneType"] + ["SessionExists"] * 4


def test_one_dead_connection_is_told_of_all(database: str) -> None:
    """
    If all connections die silently, one question fails, not one for each connection.
    """
    with Relay(database) as relay, SessionRegistry.open(relay.url, timeout=6) as registry:

        def five_at_once(name: str) -> None:
            with ThreadPoolExecutor(5) as pool:
                with blocked(database, name):
                    asked = [pool.submit(registry.create, name) for _ in range(5)]
                    eventually(lambda: waiting(database) == 5)
                assert are_answers(one.exception() for one in asked)

        registry.exists("x")
        five_at_once("x")
        relay.swallow(questions=True)
        is_unavailable(lambda: registry.exists("x"))
        five_at_once("y")


def test_one_dead_connection_is_told_of_all_on_a_loop(database: str) -> None:
    """
    If all connections die silently, one question fails, on an event loop too.
    """

    async def five_at_once(registry: AsyncSessionRegistry, name: str) -> None:
        with blocked(database, name):
            asked = [asyncio.create_task(registry.create(name)) for _ in range(5)]
            await asyncio.to_thread(eventually, lambda: waiting(database) == 5)
        await asyncio.wait(asked)
        assert are_answers(one.exception() for one in asked)

    async def use(relay: Relay) -> None:
        async with AsyncSessionRegistry.open(relay.url, timeout=6) as registry:
            await registry.exists("x")
            await five_at_once(registry, "x")
            relay.swallow(questions=True)
            with pytest.raises(RegistryUnavailable):
                await registry.exists("x")
            await five_at_once(registry, "y")

    with Relay(database) as relay:
        asyncio.run(use(relay))

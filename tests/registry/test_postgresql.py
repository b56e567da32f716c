"""
``postgresql://`` keeps the contract of every store, whatever its server does.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import select
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from hashlib import sha256
from typing import Self
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy.engine import make_url

from idlanyard import PolicyError
from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    SessionRegistry,
)
from idlanyard.registry._postgresql import _schema
from idlanyard.registry._postgresql._statements import BATCH, Statements
from idlanyard.registry._postgresql._url import connection_parameters
from registry.contract import AwaitedContract, RacingContract
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import DEADLINE, eventually, fresh
from registry.postgres import (
    PASSWORD,
    QUOTED,
    PostgreSQL,
    database,
    execute,
    free_port,
    fresh_database,
    own_server,
    postgres,
)

__all__ = ["database", "own_server", "postgres"]

Face = Callable[..., AbstractContextManager[Opened]]
# Long enough for what should be answered, also on a busy machine.
SHORT = 2.0
OURS = "pg_stat_activity WHERE datname = current_database() AND application_name = 'idlanyard'"


@pytest.fixture(scope="module")
def shared(postgres: str) -> Iterator[str]:
    """
    A database for many tests, which is cheaper than one for each.
    """
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def emptied(shared: str) -> str:
    """
    The same database without a table, so that no test purges the sessions of another.
    """
    execute(shared, "DROP TABLE IF EXISTS idlanyard_sessions")
    return shared


class TestPostgresql(RacingContract):
    """
    The contract, with the sync registry.
    """

    @pytest.fixture
    def url(self, emptied: str) -> str:
        """
        Return where the sessions are.
        """
        return emptied


class TestPostgresqlAwaited(AwaitedContract):
    """
    The contract, with the async registry.
    """

    @pytest.fixture
    def url(self, emptied: str) -> str:
        """
        Return where the sessions are.
        """
        return emptied


@pytest.fixture(params=[synchronous, asynchronous])
def face(request: pytest.FixtureRequest) -> Face:
    """
    The sync and the async registry.
    """
    chosen: Face = request.param
    return chosen


@contextmanager
def blocked(url: str, name: str) -> Iterator[None]:
    """
    Block creates of an ID by an uncommitted insert of it.
    """
    row = "decode(%s, 'hex'), %s, '{}', clock_timestamp()"
    with closing(psycopg.connect(url)) as connection:
        connection.execute(
            f"INSERT INTO idlanyard_sessions (key, session_id, metadata, created_at)"
            f" VALUES ({row})".encode(),
            (sha256(name.encode()).hexdigest(), name),
        )
        yield


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


def waiting(url: str) -> int:
    """
    Return the number of statements in a database that wait for a lock.
    """
    counted = execute(
        url,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    return int(str(counted[0][0]))


def is_unavailable(ask: Callable[[], object]) -> BaseException:
    """
    Check that a question raises RegistryUnavailable, and return the cause.
    """
    with pytest.raises(RegistryUnavailable) as raised:
        ask()
    assert str(raised.value) == "the session registry's postgresql store is unavailable"
    assert raised.value.__cause__ is not None
    return raised.value.__cause__


def is_answered(ask: Callable[[], object]) -> bool:
    """
    Return whether a question is answered; a known outage may still be answered at once.
    """
    try:
        ask()
    except RegistryUnavailable:
        return False
    return True


# The URL


@pytest.mark.parametrize("registry", [SessionRegistry, AsyncSessionRegistry])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql:",
        "postgresql:host=localhost",
        "postgresql://u:s3cret@h/db?no_such_option=1",
        "postgresql://u:s3cret@h:5432,/db?=",
        "postgresql://u:s3cret@[::1/db",
        "postgresql://u:s3cret%zz@h/db",
        "postgresql+asyncpg://u:s3cret@h/db",
        "postgres+psycopg://u:s3cret@h/db",
    ],
)
def test_a_url_that_libpq_does_not_take_is_told(registry: type[SessionRegistry], url: str) -> None:
    """
    A URL that libpq does not understand is a PolicyError at once, without the password.
    """
    with pytest.raises(PolicyError) as raised:
        registry.open(url)
    assert raised.value.option == "url"
    told = f"{raised.value!r} {raised.value.value!r} {raised.value.__context__!r}"
    assert "s3cret" not in told


def test_opening_asks_nobody() -> None:
    """
    ``open`` connects to nothing; the first use does.
    """
    url = f"postgresql://127.0.0.1:{free_port()}/db"
    SessionRegistry.open(url).close()
    AsyncSessionRegistry.open(url)


def test_what_the_url_says_goes_before_what_we_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The URL takes precedence over our timeouts, but text is always UTF-8.
    """
    monkeypatch.delenv("PGOPTIONS", raising=False)
    ours = connection_parameters("postgresql://", 5.0)
    assert ours["connect_timeout"] == 5
    assert "-c statement_timeout=4000" in ours["options"]
    said = "connect_timeout=9&client_encoding=LATIN1&options=-c%20statement_timeout%3D7"
    theirs = connection_parameters(f"postgresql://h1,h2/db?{said}", 5.0)
    assert theirs["connect_timeout"] == "9"
    assert theirs["client_encoding"] == "UTF8"
    assert theirs["options"] == f"{ours['options']} -c statement_timeout=7"
    assert connection_parameters("postgresql://h1,h2/db", 5.0)["connect_timeout"] == 2
    assert connection_parameters("postgresql://h/db?options=", 5.0)["options"] == ""
    monkeypatch.setenv("PGOPTIONS", "-c search_path=app")
    assert connection_parameters("postgresql://h/db", 5.0)["options"].endswith(
        " -c search_path=app"
    )


def test_a_unix_socket_and_a_list_of_hosts_do(own_server: PostgreSQL, face: Face) -> None:
    """
    Unix sockets and lists of hosts work, and a dead host gives way to the next.
    """
    name, who = fresh(), f"lanyard:{QUOTED}"
    port, folder = own_server.port, quote(str(own_server.sockets), safe="")
    with face(f"postgresql://{who}@{folder}:{port}/postgres") as registry:
        registry.create(name)
    with face(f"postgresql://{who}@/postgres?host={folder}&port={port}") as registry:
        assert registry.exists(name)
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{port}"
    with face(f"postgresql://{who}@{hosts}/postgres?target_session_attrs=read-write") as registry:
        assert registry.exists(name)


# The table


def shape(url: str) -> list[tuple[object, ...]]:
    """
    Return the columns and indexes of the registry's table.
    """
    columns = execute(
        url,
        "SELECT column_name, data_type, collation_name, is_nullable FROM information_schema.columns"
        " WHERE table_name IN ('idlanyard_sessions', 'idlanyard_layout') ORDER BY 1, table_name",
    )
    return columns + execute(url, "SELECT indexname, indexdef FROM pg_indexes ORDER BY 1")


def documented() -> str:
    """
    Return the statements in the docstring of the module.
    """
    _, _, rest = str(inspect.getdoc(_schema)).partition("code-block:: sql\n")
    return textwrap.dedent(rest.partition("\nThe keys")[0])


def test_the_documented_table_is_the_one_that_is_made(database: str, face: Face) -> None:
    """
    R16: the documented SQL creates the same tables and indexes as the first use.
    """
    with face(database) as registry:
        registry.create(fresh())
    made = shape(database)
    execute(database, "DROP TABLE idlanyard_sessions, idlanyard_layout")
    for statement in documented().split(";")[:-1]:
        execute(database, statement)
    assert shape(database) == made
    assert len(made) > 8


def restricted(url: str, privileges: str) -> str:
    """
    Return the URL for a new role with few privileges.
    """
    role = fresh("role").replace("-", "_")
    execute(url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    execute(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    if privileges:
        execute(url, f"GRANT {privileges} ON idlanyard_sessions TO {role}")
    return url.replace("lanyard:", f"{role}:", 1)


def test_a_role_that_may_not_create_uses_the_table_that_is_there(face: Face) -> None:
    """
    R16: SELECT, INSERT, UPDATE and DELETE on an existing table are enough.
    """
    with PostgreSQL() as server:
        for statement in documented().split(";")[:-1]:
            execute(server.url, statement)
        with face(restricted(server.url, "SELECT, INSERT, UPDATE, DELETE")) as registry:
            name = fresh()
            registry.create(name, ttl=60)
            registry.touch(name)
            registry.end(name)
            assert registry.purge_expired() == 0


def test_many_make_the_table_at_one_moment(database: str) -> None:
    """
    R16: if many use a database first at the same time, the table is created once, without errors.
    """
    start = threading.Barrier(12)

    def create(number: int) -> str:
        chosen = (synchronous, asynchronous)[number % 2]
        with chosen(database) as registry:
            start.wait()
            return str(registry.create().session_id)

    with ThreadPoolExecutor(12) as pool:
        assert len(set(pool.map(create, range(12)))) == 12


def test_the_rows_are_what_a_person_can_read(database: str, face: Face) -> None:
    """
    A row has the SHA-256 of the ID as its key, and the ID itself as text.
    """
    with face(database) as registry:
        registry.create("Stra\u00dfe", client_id="c", metadata={"a": "\x00"}, ttl=0.5)
    found = execute(
        database,
        "SELECT key, session_id, client_key, client_id, metadata, ttl,"
        " expires_at - created_at = interval '0.5 s' FROM idlanyard_sessions",
    )
    keys = sha256("Stra\u00dfe".encode()).digest(), sha256(b"c").digest()
    assert found == [(keys[0], "Stra\u00dfe", keys[1], "c", '{"a":"\\u0000"}', 500_000, True)]


def test_pages_and_purges_go_by_an_index(database: str) -> None:
    """
    A page is read from an index in order, without sorting; purges and reads use an index, too.
    """
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    execute(
        database,
        "INSERT INTO idlanyard_sessions (key, session_id, client_key, metadata, created_at,"
        " expires_at) SELECT sha256(n::text::bytea), n, sha256((n % 4)::text::bytea), '{}',"
        " now(), now() + '1 h'::interval * n FROM generate_series(1, 20000) n",
    )
    execute(database, "ANALYZE idlanyard_sessions")
    asked = {"client": "sha256('1')", "after": "'5'", "most": "100", "near": "1100"}
    plan = explained(database, "page", asked)
    assert "idlanyard_sessions_by_client" in plan
    assert "Sort" not in plan.partition("Subquery Scan on beyond")[0]
    assert "idlanyard_sessions_by_expiry" in explained(database, "purge", {})
    assert "idlanyard_sessions_pkey" in explained(database, "read", {"at": "sha256('1')"})


def explained(url: str, name: str, values: dict[str, str]) -> str:
    """
    Return the plan of a statement.
    """
    statements = Statements(_schema.sessions_table("idlanyard"))
    text = str(
        getattr(statements, name).compile(dialect=make_url("postgresql+psycopg://").get_dialect()())
    )
    lines = execute(url, "EXPLAIN " + text % {key: f"({value})" for key, value in values.items()})
    return "\n".join(str(line[0]) for line in lines)


def test_purging_goes_in_batches_and_leaves_what_is_in_use(database: str, face: Face) -> None:
    """
    A purge deletes any number of sessions in batches, and skips a locked one.
    """
    with face(database) as registry:
        registry.exists("x")
        execute(
            database,
            "INSERT INTO idlanyard_sessions (key, session_id, metadata, created_at, expires_at)"
            " SELECT sha256(n::text::bytea), n, '{}', now(), now()"
            f" FROM generate_series(1, {2 * BATCH + 5}) n",
        )
        with psycopg.connect(database) as connection:
            connection.execute("SELECT 1 FROM idlanyard_sessions WHERE session_id = '7' FOR UPDATE")
            assert registry.purge_expired() == 2 * BATCH + 4
        assert registry.purge_expired() == 1


# Settings of the server that are not the usual ones


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_isolation_of_the_servers_choice_changes_nothing(database: str, level: str) -> None:
    """
    R16: under a stricter default isolation a duplicate is still SessionExists.
    """
    _, _, name = database.rpartition("/")
    execute(database, f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    names = [fresh() for _ in range(100)]

    def create_all(registry: SessionRegistry) -> int:
        created = 0
        for name in names:
            try:
                created += bool(registry.create(name))
            except SessionExists:
                continue
        return created

    with SessionRegistry.open(database) as registry, ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create_all, [registry] * 8)) == len(names)


@pytest.mark.parametrize(
    "setting",
    [
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "extra_float_digits = -15",
        "statement_timeout = 1",
    ],
)
def test_settings_of_the_database_change_nothing(database: str, face: Face, setting: str) -> None:
    """
    R14: sessions come back unchanged under any settings of the database.
    """
    _, _, name = database.rpartition("/")
    execute(database, f"ALTER DATABASE {name} SET {setting}")
    text = "it's \\ \u00e9"
    with face(database) as registry:
        made = registry.create(text, client_id=text, metadata={"a": text}, ttl=600.5)
        assert registry.get(text) == made
        assert registry.find(client_id=text) == [made]
        assert (made.expires_at - made.created_at).total_seconds() == 600.5
        assert abs(made.created_at.timestamp() - time.time()) < 300


def test_an_encoding_that_changes_text_is_refused(postgres: str, face: Face) -> None:
    """
    A database whose encoding cannot hold every ID is refused on first use.
    """
    with (
        fresh_database(postgres, "ENCODING 'LATIN1' LOCALE 'C'") as url,
        face(url) as registry,
    ):
        with pytest.raises(RegistryMisconfigured, match="ENCODING 'UTF8'") as raised:
            registry.create("plain")
        assert "LATIN1: make one with ENCODING 'UTF8'" in str(raised.value.__cause__)


def test_bytes_as_they_are_do(postgres: str, face: Face) -> None:
    """
    SQL_ASCII works: it keeps the bytes of UTF-8 and their order.
    """
    names = ["a", "\u00e9", "\uffee", "\N{GRINNING FACE}"]
    with (
        fresh_database(postgres, "ENCODING 'SQL_ASCII' LOCALE 'C'") as url,
        face(url) as registry,
    ):
        for name in reversed(names):
            registry.create(name, client_id="\u00e9")
        assert [one.session_id for one in registry.find(client_id="\u00e9")] == names


def test_a_database_that_is_only_read_says_so(database: str, face: Face) -> None:
    """
    Creates on a standby or a read-only database are unavailable.
    """
    name = fresh()
    with face(database) as registry:
        registry.create(name)
    read_only = f"{database}?options=-c%20default_transaction_read_only%3Don"
    with face(read_only) as registry:
        assert registry.exists(name)
        assert "read-only" in str(is_unavailable(lambda: registry.create(fresh())))


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
    with Relay(database) as relay, SessionRegistry.open(relay.url, timeout=3) as registry:

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
        async with AsyncSessionRegistry.open(relay.url, timeout=3) as registry:
            await registry.exists("x")
            await five_at_once(registry, "x")
            relay.swallow(questions=True)
            with pytest.raises(RegistryUnavailable):
                await registry.exists("x")
            await five_at_once(registry, "y")

    with Relay(database) as relay:
        asyncio.run(use(relay))


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_server_that_stands_still_holds_up_no_task(
    own_server: PostgreSQL, is_cancelled: bool
) -> None:
    """
    A timeout or cancellation does not wait for a server that hangs.
    """

    async def use() -> None:
        async with AsyncSessionRegistry.open(own_server.url, timeout=SHORT) as registry:
            await registry.exists("x")
            await asyncio.to_thread(own_server.freeze)
            task = asyncio.create_task(registry.exists("x"))
            # psycopg by itself would ask the server to cancel, and wait for five seconds.
            patience = asyncio.create_task(asyncio.sleep(4.5))
            await asyncio.sleep(0)
            if is_cancelled:
                task.cancel()
            done, _ = await asyncio.wait([task, patience], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(own_server.thaw)
            assert done == {task}
            patience.cancel()
            assert task.cancelled() is is_cancelled
            assert is_cancelled or isinstance(task.exception(), RegistryUnavailable)
            assert not await registry.exists("x")

    asyncio.run(use())


# Forks and loops

FORK = """
import os, sys
from idlanyard.registry import SessionExists, SessionRegistry

registry = SessionRegistry.open(sys.argv[1])
registry.create("parent")
child = os.fork()
if not child:
    registry.create("child")
    try:
        registry.create("parent")
    except SessionExists:
        registry.close()
        os._exit(0)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert status == 0
assert registry.get("child").session_id == "child"
registry.close()
"""


def test_a_forked_child_connects_for_itself(database: str) -> None:
    """
    After a fork both processes work, each with its own connections.
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORK, database],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_loop_is_told(database: str) -> None:
    """
    R14: an async registry raises on a second event loop until it is closed.
    """
    registry = AsyncSessionRegistry.open(database)

    async def use() -> None:
        await registry.exists("x")

    async def use_and_close() -> None:
        await registry.exists("x")
        await registry.close()

    with asyncio.Runner() as first:
        first.run(use())
        with (
            asyncio.Runner() as second,
            pytest.raises(RuntimeError, match="one registry for each loop"),
        ):
            second.run(use())
        first.run(registry.close())
    asyncio.run(use_and_close())


def test_closing_on_another_loop_is_harmless(database: str) -> None:
    """
    R14: a registry whose loop is closed can be closed and used on another loop.
    """
    registry = AsyncSessionRegistry.open(database)

    async def use() -> bool:
        return await registry.exists("x")

    asyncio.run(use())
    asyncio.run(registry.close())
    with asyncio.Runner() as runner:
        assert runner.run(use()) is False
        runner.run(registry.close())


def test_a_cancelled_verb_leaves_the_registry_usable(database: str) -> None:
    """
    R14: calls cancelled while they wait for a lock or a connection leave no connection in use.
    """

    async def cancel() -> None:
        async with AsyncSessionRegistry.open(database) as registry:
            await registry.exists("x")
            with blocked(database, "x"):
                asked = [asyncio.create_task(registry.create("x")) for _ in range(30)]
                await asyncio.to_thread(eventually, lambda: waiting(database) == 10)
                for task in asked:
                    task.cancel()
                ended = await asyncio.gather(*asked, return_exceptions=True)
                assert {type(one) for one in ended} == {asyncio.CancelledError}
            names = [fresh() for _ in range(30)]
            made = await asyncio.gather(*map(registry.create, names))
            assert [one.session_id for one in made] == names

    asyncio.run(cancel())


def test_verbs_cancelled_at_any_moment_leave_the_registry_usable(database: str) -> None:
    """
    R14: after a cancellation at any moment, also while connecting, the next call works.
    """

    async def cancel() -> None:
        for steps in range(40):
            async with AsyncSessionRegistry.open(database) as registry:
                task = asyncio.create_task(registry.create())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert (await registry.create()).session_id
                used = [asyncio.create_task(registry.exists("x")) for _ in range(3)]
                for _ in range(steps // 4):
                    await asyncio.sleep(0)
                for one in used:
                    one.cancel()
                await asyncio.wait(used)
                assert not await registry.exists("x")

    asyncio.run(cancel())


def test_the_loop_goes_on_while_a_verb_waits(database: str) -> None:
    """
    While a call waits for the server, the event loop runs other tasks.
    """

    async def count() -> int:
        async with AsyncSessionRegistry.open(database, timeout=SHORT) as registry:
            await registry.exists("x")
            with blocked(database, "x"):
                task = asyncio.create_task(registry.create("x"))
                turns = 0
                while not task.done():
                    turns += 1
                    await asyncio.sleep(0.001)
            assert isinstance(task.exception(), RegistryUnavailable)
            return turns

    assert asyncio.run(count()) > 10


def test_unknown_sessions_stay_unknown_behind_a_pooler(database: str, face: Face) -> None:
    """
    R16: every statement works on another connection; none depends on the state of one.
    """
    with face(f"{database}?options=") as registry:
        for _ in range(10):
            with pytest.raises(SessionNotFound):
                registry.get("x")
            execute(database, f"SELECT pg_terminate_backend(pid, 60000) FROM {OURS}")
            eventually(lambda: not execute(database, f"SELECT 1 FROM {OURS}"))

"""
``postgresql://`` keeps the contract of every store: URLs, tables, roles, settings.
"""

from __future__ import annotations

import inspect
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy.engine import make_url

from idlanyard import PolicyError
from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    SessionExists,
    SessionRegistry,
)
from idlanyard.registry._postgresql import _schema
from idlanyard.registry._postgresql._statements import BATCH, Statements
from idlanyard.registry._postgresql._url import connection_parameters
from ports import free_port
from registry.contract import AwaitedContract, RacingContract
from registry.faces import asynchronous, synchronous
from registry.naming import fresh
from registry.postgres import (
    PASSWORD,
    QUOTED,
    PostgreSQL,
    database,
    execute,
    fresh_database,
    own_server,
    postgres,
)
from registry.postgres_fixtures import Face, face, is_unavailable

__all__ = ["database", "face", "own_server", "postgres"]


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

"""
``postgresql://`` in operation: layouts, rights, settings, expired sessions, pages and moves.
"""

from __future__ import annotations

import inspect
import logging
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from idlanyard.registry import (
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionRegistry,
)
from idlanyard.registry._postgresql import _schema
from idlanyard.registry._postgresql._commands import Commands
from idlanyard.registry._postgresql._faults import is_table_missing, statement_fault
from idlanyard.registry._postgresql._migration import Migration
from idlanyard.registry._postgresql._statements import ENDING, NEAR, SWEPT, TERMS
from idlanyard.registry._questions import Insert, Page, Put, Walk
from idlanyard.registry._record import Draft, Kept
from registry.faces import Opened, asynchronous, store_of, synchronous
from registry.naming import eventually, fresh
from registry.postgres import (
    PASSWORD,
    PostgreSQL,
    database,
    execute,
    fresh_database,
    own_server,
    postgres,
)

__all__ = ["database", "own_server", "postgres"]

Face = Callable[..., AbstractContextManager[Opened]]

# The first layout, and what processes of that time ask.
EARLIER = (
    """CREATE TABLE idlanyard_sessions (
        key bytea PRIMARY KEY,
        session_id text COLLATE "C" NOT NULL,
        client_key bytea,
        client_id text,
        metadata text NOT NULL,
        ttl bigint,
        created_at timestamptz NOT NULL,
        expires_at timestamptz
    )""",
    """CREATE INDEX idlanyard_sessions_by_client
        ON idlanyard_sessions (client_key, session_id) WHERE client_key IS NOT NULL""",
    """CREATE INDEX idlanyard_sessions_by_expiry
        ON idlanyard_sessions (expires_at) WHERE expires_at IS NOT NULL""",
)
TIMES = ", ".join(
    f"CAST(EXTRACT(epoch FROM idlanyard_sessions.{moment}) * 1000000 AS BIGINT)"
    for moment in ("created_at", "expires_at")
)
LIVE = "(expires_at IS NULL OR expires_at > statement_timestamp())"
EARLIER_INSERT = f"""
    INSERT INTO idlanyard_sessions
        (key, session_id, client_key, client_id, metadata, ttl, created_at, expires_at)
    VALUES (%(key)s, %(session_id)s, %(client_key)s, %(client_id)s, '{{}}', %(ttl)s::bigint,
        statement_timestamp(), statement_timestamp() + %(ttl)s::bigint * interval '1 microsecond')
    ON CONFLICT (key) DO UPDATE SET session_id = excluded.session_id,
        client_key = excluded.client_key, client_id = excluded.client_id,
        metadata = excluded.metadata, ttl = excluded.ttl, created_at = excluded.created_at,
        expires_at = excluded.expires_at
    WHERE idlanyard_sessions.expires_at <= statement_timestamp()
    RETURNING {TIMES}"""
EARLIER_ROW = f"session_id, client_id, metadata, {TIMES}"
EARLIER_ASKS = (
    EARLIER_INSERT,
    f"SELECT {EARLIER_ROW} FROM idlanyard_sessions WHERE key = %(key)s AND {LIVE}",
    f"""UPDATE idlanyard_sessions SET ttl = coalesce(%(ttl)s::bigint, ttl), expires_at =
        statement_timestamp() + coalesce(%(ttl)s::bigint, ttl) * interval '1 microsecond'
    WHERE key = %(key)s AND {LIVE} RETURNING {EARLIER_ROW}""",
    f"""SELECT {EARLIER_ROW} FROM idlanyard_sessions
    WHERE client_key = %(client_key)s AND session_id > '' AND {LIVE}
    ORDER BY session_id LIMIT 100""",
    f"DELETE FROM idlanyard_sessions WHERE key = %(key)s AND {LIVE} RETURNING {EARLIER_ROW}",
)


@pytest.fixture(params=[synchronous, asynchronous])
def face(request: pytest.FixtureRequest) -> Face:
    """
    The sync and the async registry.
    """
    chosen: Face = request.param
    return chosen


def digest(name: str) -> bytes:
    """
    Return the key of an ID.
    """
    return sha256(name.encode()).digest()


def make_earlier(url: str) -> None:
    """
    Create the table as the previous version did.
    """
    for statement in EARLIER:
        execute(url, statement)


def fill(
    url: str, count: int, *, name: str, ends: str, client: str = "c", ttl: int = 1_000_000
) -> None:
    """
    Insert sessions by hand; ``n`` is the number in *name* and *ends*.
    """
    execute(
        url,
        "INSERT INTO idlanyard_sessions"
        " (key, session_id, client_key, client_id, metadata, ttl, created_at, expires_at)"
        f" SELECT sha256(convert_to({name}, 'UTF8')), {name}, sha256('{client}'), '{client}',"
        f" '{{}}', {ttl}, now(), {ends} FROM generate_series(1, {count}) n",
    )


def indexes(url: str) -> dict[str, bool]:
    """
    Return the indexes of the registry's table, and whether they are valid.
    """
    rows = execute(
        url,
        "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = 'idlanyard_sessions'::regclass",
    )
    return {str(name).removeprefix("idlanyard_sessions_"): bool(valid) for name, valid in rows}


DOCS = Path(__file__).parents[2] / "docs"
WHOLE = {"pkey": True, "by_client": True, "by_expiry": True, "by_retry": True, "by_term": True}


# From the layout of the version before


def test_an_earlier_layout_becomes_todays(database: str, face: Face) -> None:
    """
    The first use upgrades an earlier layout and keeps its sessions.
    """
    make_earlier(database)
    fill(database, 3, name="'old' || n", ends="NULL")
    with face(database) as registry:
        assert [one.session_id for one in registry.find(client_id="c")] == ["old1", "old2", "old3"]
        made = registry.create(idempotency_key="k")
        assert registry.create(idempotency_key="k") == made
    assert execute(database, "SELECT version, claimed FROM idlanyard_layout") == [(2, None)]
    assert indexes(database) == WHOLE


def test_processes_of_the_version_before_go_on(database: str) -> None:
    """
    During and after an upgrade, statements of the previous version are answered.
    """
    make_earlier(database)
    fill(database, 20_000, name="'old' || n", ends="now() + interval '1 hour'")
    stop = threading.Event()
    rounds: list[str] = []

    def use(number: int) -> None:
        with psycopg.connect(database, autocommit=True, prepare_threshold=None) as connection:
            while not stop.is_set():
                name = f"s{number}-{len(rounds)}"
                values = {
                    "key": digest(name),
                    "session_id": name,
                    "client_key": digest(name),
                    "client_id": name,
                    "ttl": 60_000_000,
                }
                for ask in EARLIER_ASKS:
                    assert len(connection.execute(ask.encode(), values).fetchall()) == 1
                rounds.append(name)

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(use, number) for number in range(3)]
        try:
            eventually(lambda: len(rounds) > 10)
            with SessionRegistry.open(database) as registry:
                registry.exists("x")
                eventually(lambda: indexes(database) == WHOLE)
                before = len(rounds)
                eventually(lambda: len(rounds) > before + 10)
                assert registry.count() >= 20_000
        finally:
            stop.set()
        for one in asked:
            one.result()


def test_a_key_ends_with_its_session_whoever_replaces_it(database: str, face: Face) -> None:
    """
    If the previous version replaces an expired session, the idempotency key is no longer its.
    """
    with face(database) as registry:
        first = registry.create("s", ttl=0.001, idempotency_key="k")
        eventually(lambda: not registry.exists("s"))
        values = {"key": digest("s"), "session_id": "s", "client_key": None, "client_id": None}
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(EARLIER_INSERT.encode(), values | {"ttl": None})
        there = registry.get("s")
        assert there.created_at > first.created_at
        made = registry.create(idempotency_key="k")
        assert made.session_id != "s"
        assert registry.create(idempotency_key="k") == made
        assert registry.get("s") == there
        [kept] = [one for one in store_of(registry).ask(Walk(None, 10)).sessions if one[0] == "s"]
        assert (kept.idempotency, kept.request) == (None, None)


def test_many_change_a_layout_at_one_moment(database: str) -> None:
    """
    If many processes meet an earlier layout at once, one upgrades it, and all work.
    """
    make_earlier(database)
    start = threading.Barrier(8)

    def create(number: int) -> str:
        chosen = (synchronous, asynchronous)[number % 2]
        with chosen(database, timeout=20) as registry:
            start.wait()
            registry.create()
            return str(registry.create(idempotency_key="k").session_id)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1
    assert indexes(database) == WHOLE


def test_an_index_that_a_killed_process_left_is_made_anew(database: str, face: Face) -> None:
    """
    An invalid index is dropped and created again.
    """
    make_earlier(database)
    for name in ("idempotency", "request"):
        execute(database, f"ALTER TABLE idlanyard_sessions ADD COLUMN {name} bytea")
    fill(database, 2, name="'s' || n", ends="NULL")
    execute(database, "UPDATE idlanyard_sessions SET idempotency = 'x'")
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(
            database,
            "CREATE UNIQUE INDEX CONCURRENTLY idlanyard_sessions_by_retry"
            " ON idlanyard_sessions (idempotency) WHERE idempotency IS NOT NULL",
        )
    execute(database, "UPDATE idlanyard_sessions SET idempotency = NULL")
    assert indexes(database)["by_retry"] is False
    with face(database) as registry:
        registry.create(idempotency_key="k")
    assert indexes(database) == WHOLE


@contextmanager
def locked(url: str) -> Iterator[None]:
    """
    Hold the lock that CREATE INDEX CONCURRENTLY holds.
    """
    with closing(psycopg.connect(url)) as connection:
        connection.execute("LOCK TABLE idlanyard_sessions IN SHARE UPDATE EXCLUSIVE MODE")
        yield


def test_all_but_keys_work_while_another_process_makes_the_indexes(
    database: str, face: Face
) -> None:
    """
    While another process creates the indexes, only creates with idempotency keys are unavailable.
    """
    make_earlier(database)
    for statement in _schema.upgrade_sql(_schema.sessions_table("idlanyard")).split(";", 2)[2:]:
        execute(database, statement)
    with face(database, timeout=5) as registry:
        with locked(database):
            registry.create("a", client_id="c", ttl=60)
            registry.touch("a")
            assert [one.session_id for one in registry.find(client_id="c")] == ["a"]
            with pytest.raises(RegistryUnavailable) as raised:
                registry.create("b", idempotency_key="k")
            assert "being made" in str(raised.value.__cause__)
            assert not registry.exists("b")
        made = registry.create("b", idempotency_key="k")
        assert registry.create("b", idempotency_key="k") == made
    assert indexes(database) == WHOLE


@contextmanager
def unfinished(url: str) -> Iterator[None]:
    """
    Hold open a transaction that has written to the table, for which CREATE INDEX waits.
    """
    with closing(psycopg.connect(url)) as connection:
        connection.execute("DELETE FROM idlanyard_sessions WHERE session_id = 'nobody''s'")
        yield


@pytest.mark.parametrize("options", ["", "?options="], ids=["our options", "no options"])
def test_an_index_that_takes_long_holds_up_one_verb(
    database: str, face: Face, options: str
) -> None:
    """
    If an index takes longer than the timeout, one call fails and the server completes it.
    """
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    execute(database, "DROP INDEX idlanyard_sessions_by_retry")
    with face(f"{database}{options}", timeout=2) as first, face(database) as second:
        with unfinished(database):
            with pytest.raises(RegistryUnavailable):
                first.exists("x")
            assert second.create("a", ttl=60).session_id == "a"
            assert first.touch("a").session_id == "a"
        eventually(lambda: indexes(database) == WHOLE)
        made = second.create(idempotency_key="k")
        assert second.create(idempotency_key="k") == made


def test_a_claim_whose_process_was_killed_lapses(database: str) -> None:
    """
    The claim of a killed process keeps others from creating the indexes for some seconds only.
    """
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    execute(database, "DROP INDEX idlanyard_sessions_by_term")
    execute(database, "UPDATE idlanyard_layout SET claimed = clock_timestamp()")
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    assert "by_term" not in indexes(database)
    past = "clock_timestamp() - interval '11 seconds'"
    execute(database, f"UPDATE idlanyard_layout SET claimed = {past}")
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    assert indexes(database) == WHOLE


def test_a_layout_without_its_version_gets_one(database: str, face: Face) -> None:
    """
    A table created by hand without a version gets one.
    """
    with face(database) as registry:
        registry.exists("x")
    execute(database, "DROP TABLE idlanyard_layout")
    with face(database) as registry:
        registry.create(idempotency_key="k")
    assert execute(database, "SELECT version FROM idlanyard_layout") == [(2,)]


def test_the_longest_namespace_has_names_of_its_own(database: str, face: Face) -> None:
    """
    The tables and indexes of a namespace of forty characters have names that are not truncated.
    """
    with face(database, namespace="n" * 40) as registry:
        made = registry.create(idempotency_key="k")
        assert registry.create(idempotency_key="k") == made
    with face(database, namespace="n" * 40) as registry:
        assert registry.exists(made.session_id)


def test_a_dropped_table_is_made_anew(database: str, face: Face) -> None:
    """
    After DROP TABLE the next call creates the table, without an error.
    """
    with face(database) as registry:
        registry.create("a", idempotency_key="k")
        execute(database, "DROP TABLE idlanyard_sessions")
        assert registry.exists("a") is False
        registry.create("a")
        execute(database, "DROP TABLE idlanyard_sessions, idlanyard_layout")
        registry.create("a", idempotency_key="k")
        registry.close()
        execute(database, "DROP TABLE idlanyard_sessions")
        assert registry.create("a").session_id == "a"


def test_a_table_of_an_earlier_backup_is_changed(database: str, face: Face) -> None:
    """
    A table restored from a backup of an earlier layout is upgraded again.
    """
    with face(database) as registry:
        registry.create("a")
        execute(database, "DROP TABLE idlanyard_sessions")
        make_earlier(database)
        assert registry.create("a").session_id == "a"


# Faults, as opposed to outages


@pytest.fixture(scope="module")
def guarded() -> Iterator[PostgreSQL]:
    """
    A server on which the tests of this file create roles.
    """
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def owned(guarded: PostgreSQL) -> Iterator[str]:
    """
    The URL of an empty database on it, for its owner.
    """
    with fresh_database(guarded.url) as url:
        yield url


def restricted(url: str, privileges: str = "") -> str:
    """
    Return the URL for a new role with few privileges.
    """
    role = fresh("role").replace("-", "_")
    execute(url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    execute(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    if privileges:
        execute(url, f"GRANT {privileges} ON idlanyard_sessions TO {role}")
    return url.replace("lanyard:", f"{role}:", 1)


def misconfigured(ask: Callable[[], object]) -> str:
    """
    Check that a question raises RegistryMisconfigured, and return the sentence.
    """
    with pytest.raises(RegistryMisconfigured) as raised:
        ask()
    assert raised.value.scheme == "postgresql"
    return raised.value.fault


def follow(url: str, fault: str) -> None:
    """
    Run the SQL in a sentence as the owner.
    """
    _, _, sql = fault.partition(": let ")
    for statement in sql.partition(": ")[2].split(";"):
        if statement.strip():
            execute(url, statement)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((), id="no table"),
        pytest.param(EARLIER, id="an earlier layout"),
    ],
)
def test_a_role_that_may_not_create_is_told_the_sql(
    owned: str, face: Face, before: tuple[str, ...]
) -> None:
    """
    Without the right to create what is missing, the sentence has the SQL, which works.
    """
    for statement in before:
        execute(owned, statement)
    url = restricted(owned, "SELECT, INSERT, UPDATE, DELETE" if before else "")
    with face(url) as registry:
        fault = misconfigured(lambda: registry.create("a"))
        assert misconfigured(registry.check) == fault
        follow(owned, fault)
        made = registry.create("a", ttl=60, idempotency_key="k")
        assert registry.create("a", ttl=60, idempotency_key="k") == made
        assert registry.end("a").session_id == "a"
    assert indexes(owned) == WHOLE


def test_a_role_that_may_not_create_an_index_goes_on_without(
    owned: str, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Without the index by term every verb works; the log has the SQL for it once, and so has check.
    """
    with SessionRegistry.open(owned) as registry:
        registry.exists("x")
    execute(owned, "DROP INDEX idlanyard_sessions_by_term")
    fill(owned, NEAR + 200, name="'a' || n", ends="now()")
    url = restricted(owned, "SELECT, INSERT, UPDATE, DELETE")
    caplog.set_level(logging.WARNING, "idlanyard")
    with face(url) as registry, face(url) as another:
        made = registry.create("b", client_id="c", ttl=60, idempotency_key="k")
        assert another.create("b", client_id="c", ttl=60, idempotency_key="k") == made
        assert registry.find(client_id="c", limit=1) == [made]
        [sentence] = registry.check()
        assert [record.getMessage() for record in caplog.records] == [f"idlanyard: {sentence}"]
        follow(owned, sentence)
        assert registry.check() == []
        assert registry.find(client_id="c", limit=1) == [made]
    assert indexes(owned) == WHOLE


@pytest.mark.parametrize("verb", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_a_role_without_a_right_is_told_it(owned: str, face: Face, verb: str) -> None:
    """
    If a role lacks a right, the sentence has the SQL that grants it.
    """
    with SessionRegistry.open(owned) as registry:
        registry.exists("x")
    rest = {"SELECT", "INSERT", "UPDATE", "DELETE"} - {verb}
    with face(restricted(owned, ", ".join(sorted(rest)))) as registry:
        fault = misconfigured(registry.check)
        assert misconfigured(lambda: registry.exists("a")) == fault
        follow(owned, fault)
        assert registry.create("a").session_id == "a"


def test_a_right_that_is_taken_away_is_told(owned: str, face: Face) -> None:
    """
    A right that is revoked while a registry is in use is a fault, not an outage.
    """
    with SessionRegistry.open(owned) as registry:
        registry.exists("x")
    url = restricted(owned, "SELECT, INSERT, UPDATE, DELETE")
    role = url.partition("//")[2].partition(":")[0]
    with face(url) as registry:
        registry.create("a")
        execute(owned, f"REVOKE DELETE ON idlanyard_sessions FROM {role}")
        assert "GRANT" in misconfigured(lambda: registry.end("a"))


COLUMNS = "key bytea PRIMARY KEY, session_id text, client_key bytea, client_id text, metadata text"
MORE = f"{COLUMNS.replace('text', 'text', 1)}, ttl bigint, created_at timestamptz"


@pytest.mark.parametrize(
    ("made", "told"),
    [
        pytest.param(
            "CREATE TABLE idlanyard_sessions (id int)", "it has no column key", id="another table"
        ),
        pytest.param(
            f"CREATE TABLE idlanyard_sessions ({MORE})",
            "it has no column expires_at",
            id="a missing column",
        ),
        pytest.param(
            f"CREATE TABLE idlanyard_sessions ({MORE}, expires_at timestamp)",
            "its column expires_at is of type timestamp without time zone",
            id="another type",
        ),
        pytest.param(
            f"CREATE TABLE idlanyard_sessions ({MORE}, expires_at timestamptz, request text)",
            "its column request is of type text",
            id="another type of a new column",
        ),
        pytest.param(
            "CREATE VIEW idlanyard_sessions AS SELECT 1 AS key", "it is no table", id="a view"
        ),
    ],
)
def test_a_table_of_others_is_told(database: str, face: Face, made: str, told: str) -> None:
    """
    A foreign table of that name is a fault and left alone; a namespace avoids it.
    """
    execute(database, made)
    with face(database) as registry:
        fault = misconfigured(lambda: registry.create("a"))
        assert told in fault
        assert misconfigured(registry.check) == fault
    with face(database, namespace="sessions") as registry:
        assert registry.create("a").session_id == "a"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("ADD COLUMN theirs text NOT NULL", id="a column that must be given"),
        pytest.param("ADD CHECK (length(session_id) < 5)", id="a check"),
        pytest.param("ALTER metadata TYPE varchar(1)", id="a length"),
    ],
)
def test_a_table_that_refuses_sessions_is_told(database: str, face: Face, change: str) -> None:
    """
    A table changed so that it refuses sessions is a fault, not an outage.
    """
    with face(database) as registry:
        registry.exists("x")
        execute(database, f"ALTER TABLE idlanyard_sessions {change}")
        fault = misconfigured(lambda: registry.create("longer", metadata={"a": 1}))
        assert "idlanyard_sessions" in fault


def test_a_schema_that_is_not_there_is_told(database: str, face: Face) -> None:
    """
    A search path without a schema is a fault, and the suggested one works.
    """
    with face(f"{database}?options=-csearch_path%3Dnowhere") as registry:
        fault = misconfigured(lambda: registry.create("a"))
    _, _, suggested = fault.partition("as in ")
    with face(f"{database}?{suggested}") as registry:
        assert registry.create("a").session_id == "a"


def test_a_later_layout_is_told(database: str, face: Face) -> None:
    """
    A layout of a later version is left alone, and is a fault with a sentence.
    """
    with face(database) as registry:
        registry.create("a")
    execute(database, "INSERT INTO idlanyard_layout (version) VALUES (3)")
    with face(database) as registry:
        fault = misconfigured(lambda: registry.create("b"))
        assert fault == (
            "the table idlanyard_sessions has layout 3, and this version of idlanyard knows 2: "
            "install the version that made it, or a later one"
        )
        assert misconfigured(registry.check) == fault


class Refusal(psycopg.Error):
    """
    An error of the server with a SQLSTATE code.
    """

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__()
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "told"),
    [
        pytest.param("28P01", "password", id="password"),
        pytest.param("28000", "role", id="role"),
        pytest.param("3D000", "database", id="database"),
        pytest.param("3F000", "schema", id="schema"),
        pytest.param("42501", "GRANT", id="rights"),
        pytest.param("42P01", "the table t", id="no table"),
        pytest.param("42703", "the table t", id="no column"),
        pytest.param("42804", "the table t", id="another type"),
        pytest.param("42883", "the table t", id="no such function for the type"),
        pytest.param("23502", "the table t", id="a column that must be given"),
        pytest.param("22001", "the table t", id="a length"),
        pytest.param("22021", "UTF8", id="encoding"),
        pytest.param("22P05", "UTF8", id="encoding, of a character"),
        pytest.param("0A000", "PostgreSQL 12", id="an old server"),
        pytest.param("25006", None, id="read only"),
        pytest.param("53300", None, id="too many connections"),
        pytest.param("53100", None, id="disk full"),
        pytest.param("57014", None, id="cancelled"),
        pytest.param("57P03", None, id="starting up"),
        pytest.param("08006", None, id="connection"),
        pytest.param("40P01", None, id="deadlock"),
        pytest.param("40001", None, id="serialization"),
        pytest.param("55P03", None, id="lock"),
        pytest.param("XX000", None, id="internal"),
        pytest.param(None, None, id="no answer"),
    ],
)
def test_codes_tell_an_outage_from_what_waiting_will_not_mend(
    sqlstate: str | None, told: str | None
) -> None:
    """
    Each SQLSTATE code is an outage or has a sentence, also inside SQLAlchemy's errors.
    """
    error = Refusal(sqlstate)
    wrapped = DBAPIError("SELECT 1", {}, error)
    fault = statement_fault(error, "t")
    assert fault == statement_fault(wrapped, "t")
    assert fault is None if told is None else told in str(fault)
    assert is_table_missing(wrapped) is (sqlstate in ("42P01", "42703", "3F000"))
    assert statement_fault(TimeoutError(), "t") is None


# Settings that void a promise

PLAIN = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@pytest.fixture
def careless() -> Iterator[str]:
    """
    The URL of a server whose settings void the promises of a registry.
    """
    with PostgreSQL(fsync="off", full_page_writes="off", synchronous_commit="off") as server:
        yield server.url


def test_careless_settings_are_said_once(
    careless: str, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Each setting that voids a promise is logged once, at first use, and returned by ``check``.
    """
    caplog.set_level(logging.WARNING, "idlanyard")
    with face(careless) as registry, face(careless) as another:
        for one in (registry, another, registry):
            one.create()
        sentences = registry.check()
    assert [sentence.partition(" ")[0] for sentence in sentences] == [
        "synchronous_commit",
        "fsync",
        "full_page_writes",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"idlanyard: {sentence}" for sentence in sentences
    ]


def test_what_is_suggested_against_careless_settings_works(
    own_server: PostgreSQL, face: Face
) -> None:
    """
    After running the SQL of the sentences, ``check`` returns none.
    """
    url = own_server.url
    for name in PLAIN:
        execute(url, f"ALTER SYSTEM SET {name} = off")
    own_server.restart()
    with face(url) as registry:
        registry.create()
        execute(url, "ALTER TABLE idlanyard_sessions SET UNLOGGED")
        sentences = registry.check()
        assert len(sentences) == 4
        assert "unlogged" in sentences[-1]
        for sentence in sentences:
            for statement in sentence.partition("run ")[2].replace(", and then", ";").split(";"):
                execute(url, statement)
        registry.close()
        eventually(lambda: registry.check() == [])


def test_a_sound_server_has_nothing_to_say(database: str, face: Face) -> None:
    """
    On a server with the usual settings ``check`` returns nothing, before and after first use.
    """
    with face(database) as registry:
        assert registry.check() == []
        registry.create()
        assert registry.check() == []


# Touches


@contextmanager
def held(url: str, change: str) -> Iterator[None]:
    """
    Change a session, hold its row lock, and commit at the end of the block.
    """
    with psycopg.connect(url) as connection:
        connection.execute(f"UPDATE idlanyard_sessions SET {change}".encode())
        yield


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


@pytest.mark.parametrize(
    ("change", "asked", "told"),
    [
        pytest.param("expires_at = now() + interval '1 hour'", {}, 3590, id="a later end"),
        pytest.param(
            "created_at = clock_timestamp() + interval '1 s'", {"ttl": 0.5}, 1.5, id="a successor"
        ),
    ],
)
def test_a_touch_that_waited_moves_no_end_backwards(
    database: str, face: Face, change: str, asked: dict[str, float], told: float
) -> None:
    """
    A touch that waited for another one counts from the end of its wait.
    """
    with face(database) as registry, ThreadPoolExecutor(1) as pool:
        registry.create("a", ttl=60)
        with held(database, change):
            began = datetime.now(UTC)
            touch = pool.submit(registry.touch, "a", **asked)
            eventually(lambda: waiting(database) == 1)
            eventually(lambda: datetime.now(UTC) > began + timedelta(seconds=1.2))
        touched = touch.result()
        assert touched.expires_at > touched.created_at
        assert touched.expires_at > began + timedelta(seconds=told)


# Litter


def test_a_create_gives_up_a_bounded_number(database: str, face: Face) -> None:
    """
    A create deletes some expired sessions, never all of them at once.
    """
    with face(database) as registry:
        registry.exists("x")
        fill(database, 10 * SWEPT, name="'dead' || n", ends="now()")
        [before] = execute(database, "SELECT count(*) FROM idlanyard_sessions")
        registry.create()
        registry.create(idempotency_key="k")
        [after] = execute(database, "SELECT count(*) FROM idlanyard_sessions")
        assert before[0] == 10 * SWEPT
        assert after[0] == 9 * SWEPT + 2


def test_a_create_with_a_key_gives_up_what_expired(database: str, face: Face) -> None:
    """
    Creates with idempotency keys delete expired sessions, too.
    """
    with face(database) as registry:
        registry.exists("x")
        fill(database, 5, name="'dead' || n", ends="now()")
        registry.create(idempotency_key="k")
        assert execute(database, "SELECT count(*) FROM idlanyard_sessions") == [(1,)]


def test_a_create_may_replace_what_it_would_give_up(database: str, face: Face) -> None:
    """
    A create that replaces an expired session does not also delete it.
    """
    with face(database) as registry:
        registry.exists("x")
        fill(database, 1, name="'dead' || n", ends="now()")
        assert registry.create("dead1", metadata={"n": 1}).metadata == {"n": 1}
        assert registry.get("dead1").metadata == {"n": 1}


# Pages


@pytest.mark.parametrize(
    ("living", "dead"),
    [
        pytest.param(20, 0, id="nothing has expired"),
        pytest.param(20, NEAR + 200, id="few live behind many that have expired"),
        pytest.param(TERMS, NEAR + 200, id="many live behind many that have expired"),
        pytest.param(3 * TERMS, NEAR + 200, id="living ones of too many terms"),
        pytest.param(0, NEAR + 200, id="none lives"),
    ],
)
def test_a_page_is_filled_whatever_has_expired(
    database: str, face: Face, living: int, dead: int
) -> None:
    """
    Pages contain the living sessions in order, behind any number of expired ones.
    """
    with face(database) as registry:
        registry.exists("x")
        fill(database, dead, name="'a' || lpad(n::text, 6, '0')", ends="now()")
        ends = "CASE WHEN n % 2 = 0 THEN now() + n * interval '1 hour' END"
        fill(database, living, name="'b' || lpad((7 * n % 6000)::text, 6, '0')", ends=ends)
        names = sorted(f"b{7 * n % 6000:06d}" for n in range(1, living + 1))
        first = [one.session_id for one in registry.find(client_id="c", limit=15)]
        assert first == names[:15]
        after = first[-1] if first else "a"
        second = registry.find(client_id="c", limit=15, after=after)
        assert [one.session_id for one in second] == names[15:30]


@pytest.mark.parametrize("ttls", [[900], [900, 7_000, 86_400, None]], ids=["one", "several"])
def test_a_page_is_in_order_whatever_the_terms(
    database: str, face: Face, ttls: list[float | None]
) -> None:
    """
    Sessions with any times to live, touched or not, are paged in the order of their IDs.
    """
    with face(database) as registry:
        registry.exists("x")
        fill(database, 2 * NEAR, name="'a' || n", ends="now()")
        for number in range(60):
            registry.create(f"b{7 * number % 60:02d}", client_id="c", ttl=ttls[number % len(ttls)])
        for number in range(0, 60, 3):
            registry.touch(f"b{number:02d}", ttl=3600 * (number + 1))
        met: list[str] = []
        while page := registry.find(client_id="c", limit=7, after=met[-1] if met else None):
            met += [one.session_id for one in page]
        assert met == [f"b{number:02d}" for number in range(60)]


@pytest.mark.parametrize("living", [30, ENDING + 30], ids=["few", "many"])
def test_a_page_has_the_sessions_that_are_about_to_end(
    database: str, face: Face, living: int
) -> None:
    """
    Sessions that expire soon are on the pages, beside any number that have just expired.
    """
    with face(database) as registry:
        registry.exists("x")
        day = 86_400 * 10**6
        fill(database, 2 * NEAR, name="'a' || n", ends="now()", ttl=day)
        ends = "now() + interval '3 min' + n * interval '1 ms'"
        fill(database, living, name="'b' || lpad(n::text, 6, '0')", ends=ends, ttl=day)
        fill(database, 5, name="'other' || n", ends=ends, client="d", ttl=day)
        first = [one.session_id for one in registry.find(client_id="c", limit=20)]
        second = [one.session_id for one in registry.find(client_id="c", limit=20, after="b000020")]
        assert first == [f"b{n:06d}" for n in range(1, 21)]
        assert second == [f"b{n:06d}" for n in range(21, min(41, living + 1))]


def test_a_page_is_filled_before_there_is_an_index_of_terms(database: str, face: Face) -> None:
    """
    While the index by term is being created, pages contain all living sessions.
    """
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    execute(database, "DROP INDEX idlanyard_sessions_by_term")
    with face(database) as registry, locked(database):
        fill(database, NEAR + 200, name="'a' || n", ends="now()")
        fill(database, 3, name="'b' || n", ends="NULL")
        found = registry.find(client_id="c", limit=2)
        assert [one.session_id for one in found] == ["b1", "b2"]


@pytest.mark.parametrize(
    ("is_analyzed", "ttl"),
    [
        pytest.param(False, 1, id="just filled"),
        pytest.param(True, 1, id="analyzed"),
        pytest.param(True, 86_400, id="just expired"),
    ],
)
def test_what_finding_costs_does_not_grow_with_what_expired(
    database: str, is_analyzed: bool, ttl: int
) -> None:
    """
    A page of many living sessions reads as many blocks among 50,000 expired ones as among 1,000.
    """
    with SessionRegistry.open(database) as registry:
        registry.exists("x")
    ends = "now() + (3 + n % 20) * interval '1 h'"
    fill(database, 20_000, name="'d' || n", ends=ends, client="d", ttl=86_400 * 10**6)
    ends = "now() + (1 + n % 24) * interval '1 h'"
    fill(database, 5_000, name="'b' || n", ends=ends, ttl=86_400 * 10**6)
    read = []
    for more in (1_000, 49_000):
        ends = f"now() - {3600 if ttl == 1 else 0} * interval '1 s'"
        fill(database, more, name=f"'a{more}-' || n", ends=ends, ttl=ttl * 10**6)
        if is_analyzed:
            execute(database, "VACUUM ANALYZE idlanyard_sessions")
        read.append(blocks_of_a_page(database))
    assert read[0] < 1_500
    assert read[1] < 1.3 * read[0]


def blocks_of_a_page(url: str) -> int:
    """
    Return the number of 8 KB blocks that the statements read for the first 100 sessions.
    """
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    table, looked = _schema.sessions_table("idlanyard"), 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        migration = Migration(table)
        migration.prepare(connection)
        asking = Commands(table, migration).steps(Page(digest("c"), None, 100))
        rows = None
        with suppress(StopIteration):
            while True:
                statement: Any
                statement, values = asking.send(rows)
                text = statement.compile(dialect=engine.dialect)
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"
                known = text.construct_params(values)
                [plan] = connection.exec_driver_sql(explain, known).scalar_one()
                looked += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
                rows = connection.execute(statement, values).all()
    engine.dispose()
    return looked


def test_a_walk_passes_what_expired(database: str, face: Face) -> None:
    """
    A walk continues through parts without living sessions.
    """
    with face(database) as registry:
        registry.exists("x")
        registry.create("alive")
        fill(database, 50, name="'dead' || n", ends="now()")
        store, after, met, parts = store_of(registry), None, [], 0
        while parts == 0 or after is not None:
            stretch = store.ask(Walk(after, 7))
            met += [kept.session_id for kept in stretch.sessions]
            after = stretch.after
            parts += 1
        assert met == ["alive"]
        assert parts > 1


# Moves and retries


def kept(name: str, **more: Any) -> Kept:
    """
    Return a session from another store.
    """
    return Kept(name, "c", "{}", None, 1_600_000_000_000_001, None)._replace(**more)


def test_sessions_that_come_twice_are_put_one_after_another(database: str, face: Face) -> None:
    """
    Sessions with the same ID or key in one put are put one after another.
    """
    key, request = digest("k"), digest("r")
    sessions = [
        kept("a", idempotency=key, request=request),
        kept("a", metadata='{"n":2}', idempotency=key, request=request),
        kept("a", created=5),
        kept("b", idempotency=key, request=request),
        kept("c", client_id=None),
    ]
    with face(database) as registry:
        outcomes = store_of(registry).ask(Put(sessions))
        assert outcomes == ["kept", "same", "taken", "taken", "kept"]
        assert registry.get("a").metadata == {"n": 2}
        assert registry.get("c").client_id is None
        assert store_of(registry).ask(Put([])) == []


def test_a_thousand_are_put_at_once(database: str, face: Face) -> None:
    """
    A thousand sessions with keys are put at once, and are the same when put again.
    """
    ends = int(datetime.now(UTC).timestamp() + 3600) * 1_000_000
    sessions = [
        kept(f"s{n}", ttl=10**9, expires=ends, idempotency=digest(f"k{n}"), request=b"r")
        for n in range(1000)
    ]
    with face(database) as registry:
        store = store_of(registry)
        assert set(store.ask(Put(sessions))) == {"kept"}
        assert set(store.ask(Put(sessions))) == {"same"}
        assert sorted(store.ask(Walk(None, 1001)).sessions) == sorted(sessions)


def test_an_expired_session_gives_its_key_to_one_that_is_put(database: str, face: Face) -> None:
    """
    The idempotency key of an expired session is free for a session that is put.
    """
    with face(database) as registry:
        registry.create("a", ttl=0.001, idempotency_key="k")
        eventually(lambda: not registry.exists("a"))
        [(key,)] = execute(database, "SELECT idempotency FROM idlanyard_sessions")
        moved = kept("b", idempotency=key, request=b"r")
        assert store_of(registry).ask(Put([moved, kept("a")])) == ["kept", "kept"]


def test_a_create_that_never_has_its_turn_is_taken() -> None:
    """
    A create with a key that is overtaken again and again ends as a duplicate.
    """
    table = _schema.sessions_table("idlanyard")
    migration = Migration(table)
    migration.has_retry_index = True
    draft = Draft(b"key", "s", None, None, "{}", None, b"idempotency", b"request")
    asking = Commands(table, migration).steps(Insert(draft))
    assert answered(asking) is None


def answered(asking: Any) -> object:
    """
    Return the answer of a question whose statements return no rows.
    """
    try:
        next(asking)
        while True:
            asking.send([])
    except StopIteration as ended:
        return ended.value


def documented() -> list[str]:
    """
    Return the documented upgrade of layout 1, from the module and from the page.
    """
    _, _, rest = str(inspect.getdoc(_schema)).partition("Layout 1 had")
    _, _, rest = rest.partition("code-block:: sql\n")
    page = (DOCS / "registry_machines.md").read_text(encoding="utf-8")
    _, _, page = page.partition("### A new version's layout")
    return [textwrap.dedent(rest).strip(), page.split("```")[1].removeprefix("sql").strip()]


def test_the_documented_change_of_a_layout_is_the_one_that_is_made(database: str) -> None:
    """
    After the documented upgrade by hand, nothing is left to change.
    """
    told, page = documented()
    assert told == page
    make_earlier(database)
    for statement in told.split(";")[:-1]:
        execute(database, statement)
    assert indexes(database) == WHOLE
    node = "SELECT pg_relation_filenode('idlanyard_sessions_by_retry')"
    before = execute(database, node)
    with SessionRegistry.open(database) as registry:
        registry.create(idempotency_key="k")
    assert execute(database, node) == before


def test_a_table_that_is_made_while_a_server_looks_is_not_there_yet(database: str) -> None:
    """
    A table that is half visible, since another process creates it now, counts as missing.
    """
    engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        # From now on, this transaction sees new tables in to_regclass() only, not in pg_class.
        connection.exec_driver_sql("SELECT 1")
        with SessionRegistry.open(database) as registry:
            registry.create()
        state = Migration(_schema.sessions_table("idlanyard"))._read_state(connection)
        assert not state.is_there
    engine.dispose()

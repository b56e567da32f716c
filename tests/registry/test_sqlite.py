"""
``sqlite://`` keeps the contract of every store: URLs, files, statements, purges.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from idlanyard import PolicyError
from idlanyard.registry import (
    AsyncSessionRegistry,
    SessionRegistry,
)
from idlanyard.registry._checks import make_key
from idlanyard.registry._sqlite._commands import Statements
from idlanyard.registry._sqlite._schema import Schema
from idlanyard.registry._sqlite._url import check_version, parse_name, parse_path
from registry.contract import AwaitedContract, RacingContract
from registry.files import (
    IN_TIME,
    by_hand,
    count_of,
    let_expire,
)
from registry.naming import eventually
from registry.sqlite_fixtures import path, url

__all__ = ["path", "url"]


class TestSQLite(RacingContract):
    """
    The contract, by the sync registry.
    """


class TestSQLiteAwaited(AwaitedContract):
    """
    The contract, by the async registry.
    """


@pytest.mark.parametrize(
    ("url", "name"),
    [
        pytest.param("sqlite:///sessions.db", "sessions.db", id="relative"),
        pytest.param("sqlite:///data/sessions.db", "data/sessions.db", id="below"),
        pytest.param("sqlite:///../sessions.db", "../sessions.db", id="above"),
        pytest.param("sqlite:////var/lib/s.db", "/var/lib/s.db", id="absolute"),
        pytest.param("sqlite:///C:/data/s.db", "C:/data/s.db", id="drive"),
        pytest.param("sqlite:///C:\\data\\s.db", "C:\\data\\s.db", id="drive, backslashes"),
        pytest.param("sqlite:///a%20b%3F%23%25.db", "a b?#%.db", id="percent-encoded"),
        pytest.param("sqlite:///caf%C3%A9.db", "caf\u00e9.db", id="percent-encoded UTF-8"),
        pytest.param("sqlite:///caf\u00e9 1.db", "caf\u00e9 1.db", id="as it is"),
        pytest.param("sqlite:///%FF.db", os.fsdecode(b"\xff.db"), id="no UTF-8"),
        pytest.param("sqlite:///\udcff.db", "\udcff.db", id="no UTF-8, as it is"),
        pytest.param("sqlite:///file:x", "file:x", id="like SQLite's own"),
    ],
)
def test_a_url_names_a_file(url: str, name: str) -> None:
    """
    Three slashes and a relative path, four and an absolute one.
    """
    assert parse_name(url) == name


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        pytest.param("sqlite:", "write 'sqlite:///sessions.db'", id="nothing"),
        pytest.param("sqlite://", "write 'sqlite:///sessions.db'", id="no path"),
        pytest.param("sqlite:///", "write 'sqlite:///sessions.db'", id="empty path"),
        pytest.param("sqlite:////", "write 'sqlite:///sessions.db'", id="the root"),
        pytest.param("sqlite:///data/", "write 'sqlite:///sessions.db'", id="a folder"),
        pytest.param("sqlite:///.", "write 'sqlite:///sessions.db'", id="this folder"),
        pytest.param("sqlite:sessions.db", "write 'sqlite:///sessions.db'", id="no slashes"),
        pytest.param("sqlite:/sessions.db", "write 'sqlite:///sessions.db'", id="one slash"),
        pytest.param("sqlite://sessions.db", "write 'sqlite:///sessions.db'", id="two slashes"),
        pytest.param("sqlite://host/sessions.db", "names a host", id="a host"),
        pytest.param("sqlite:///:memory:", "write 'memory://'", id="memory"),
        pytest.param("sqlite://:memory:", "write 'memory://'", id="memory, two slashes"),
        pytest.param("sqlite:///%3Amemory%3A", "write 'memory://'", id="memory, encoded"),
        pytest.param("sqlite:///s.db?mode=ro", "takes no query", id="a query"),
        pytest.param("sqlite:///s.db#x", "takes no query", id="a fragment"),
        pytest.param("sqlite:///s%00.db", "has a NUL", id="NUL"),
        pytest.param("sqlite:///\ud800.db", "no file name", id="a lone surrogate"),
    ],
)
def test_a_url_that_names_no_file_is_refused(url: str, sentence: str) -> None:
    """
    A URL that names no file is refused by open, and the message says what to write.
    """
    for face in (SessionRegistry, AsyncSessionRegistry):
        with pytest.raises(PolicyError, match=f"url .*{sentence}") as raised:
            face.open(url)
        assert raised.value.option == "url"


def test_a_relative_path_is_meant_from_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The file is in the working directory of the call, whatever it is later.
    """
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_path("sqlite:///sessions.db") == tmp_path / "sessions.db"
    with SessionRegistry.open() as registry:
        monkeypatch.chdir("elsewhere")
        registry.create()
    assert (tmp_path / "sessions.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """
    Characters that mean something in a URL name a file when percent-encoded.
    """
    with SessionRegistry.open(f"sqlite:///{tmp_path}/a%20b%3Fc%23d%25e%FF.db") as registry:
        registry.create()
    assert [one.name for one in tmp_path.iterdir()] == [os.fsdecode(b"a b?c#d%e\xff.db")]


def test_opening_makes_nothing(url: str, path: Path) -> None:
    """
    Open is a plain call, and the file is there from the first use on.
    """
    with SessionRegistry.open(url) as registry:
        assert not path.exists()
        assert not registry.exists("x")
        assert path.exists()


def test_an_old_library_is_refused() -> None:
    """
    An SQLite that lacks the statements is refused with its version.
    """
    check_version((3, 35, 0))
    with pytest.raises(PolicyError, match=r"SQLite 3\.35.* with 3\.34\.1: use"):
        check_version((3, 34, 1))


@pytest.mark.parametrize("namespace", ["sqlite", "sqlite_mine"])
def test_a_namespace_of_sqlites_own_is_refused(url: str, namespace: str) -> None:
    """
    R10: no table may begin with sqlite_, so that no namespace does.
    """
    with pytest.raises(PolicyError, match="namespace begins with 'sqlite'"):
        SessionRegistry.open(url, namespace=namespace)
    with SessionRegistry.open(url, namespace="sqlites") as registry:
        registry.create()


def test_the_file_keeps_what_it_acknowledges(path: Path) -> None:
    """
    The file has a write-ahead log, and every transaction is on the disk.
    """
    with by_hand(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        Schema("idlanyard").prepare(connection)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_ids_are_kept_beside_their_keys(url: str, path: Path) -> None:
    """
    The key is the SHA-256, binary, and the ID stands beside it as UTF-8.
    """
    name = "Caf\u00e9 \N{GRINNING FACE} "
    with SessionRegistry.open(url) as registry:
        registry.create(name, client_id="c")
    with by_hand(path) as connection:
        rows = connection.execute(
            "SELECT key, CAST(session_id AS BLOB), client_key, client_id FROM idlanyard_sessions"
        )
        assert rows.fetchall() == [
            (make_key("session_id", name), name.encode(), make_key("client_id", "c"), "c")
        ]


PAGE = dict.fromkeys(("client_key", "after", "reach", "now", "limit", "most"), 1)
TERMS = PAGE | dict.fromkeys(("soon", "horizon", "terms", "term", "before"), 1)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        pytest.param("read", (b"", 0), id="read"),
        pytest.param("next", PAGE, id="next"),
        pytest.param("horizon", TERMS, id="horizon"),
        pytest.param("ending", TERMS, id="ending"),
        pytest.param("terms", TERMS, id="terms"),
        pytest.param("of_term", TERMS, id="of_term"),
        pytest.param("read_all", (b"",), id="read_all"),
        pytest.param("sorted", PAGE, id="sorted"),
        pytest.param("count_living", PAGE, id="count_living"),
        pytest.param("purge", (0, 1), id="purge"),
        pytest.param("delete", (b"", None), id="delete"),
        pytest.param(
            "extend", dict.fromkeys(("key", "ttl", "metadata", "created", "now")), id="extend"
        ),
        pytest.param("walk", (b"", 1), id="walk"),
        pytest.param("look", (0, b""), id="look"),
        pytest.param("repeated", (b"",), id="repeated"),
        pytest.param("forget", (b"",), id="forget"),
    ],
)
def test_no_statement_reads_all(path: Path, statement: str, values: Any) -> None:
    """
    Every statement finds its rows by an index, and sorts none but the few of a client.
    """
    with by_hand(path) as connection:
        Schema("idlanyard").prepare(connection)
        sql = getattr(Statements("idlanyard"), statement)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        steps = " ".join(row[3] for row in plan)
    assert "SEARCH" in steps
    assert "SCAN idlanyard" not in steps
    assert ("TEMP B-TREE" in steps) is (statement in ("sorted", "ending"))


def test_namespaces_share_a_file_in_any_order(url: str, path: Path) -> None:
    """
    R10: a namespace is added to a file that is there already, and leaves the rest alone.
    """
    with by_hand(path) as connection:
        connection.execute("CREATE TABLE somebodys (x)")
    for namespace in ("one", "two", "one"):
        with SessionRegistry.open(url, namespace=namespace) as registry:
            registry.create()
    with by_hand(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        own = ("sessions", "creates", "layout")
        ours = {f"{namespace}_{table}" for namespace in ("one", "two") for table in own}
        assert {name for (name,) in tables} == {"somebodys", *ours}
        assert connection.execute("SELECT count(*) FROM one_sessions").fetchone() == (2,)


def test_a_purge_goes_through_many_batches(url: str, path: Path) -> None:
    """
    However many have expired, a purge gives up all of them and counts them.
    """
    with SessionRegistry.open(url) as registry:
        registry.create("living", ttl=IN_TIME)
        with by_hand(path) as connection:
            let_expire(connection, 1000)
        assert registry.purge_expired() == 1000
        assert registry.purge_expired() == 0
        assert registry.exists("living")


def test_closing_ends_a_purge(url: str, path: Path) -> None:
    """
    A purge that is under way when the registry is closed ends at its batch.
    """
    with (
        SessionRegistry.open(url, timeout=IN_TIME) as registry,
        by_hand(path) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        registry.create()
        let_expire(connection, 50_000)
        purge = pool.submit(registry.purge_expired)
        eventually(lambda: count_of(connection) < 50_000)
        registry.close()
        assert 0 < purge.result() < 50_000
        assert count_of(connection) == 50_001 - purge.result()

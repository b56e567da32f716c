"""
What races and kills leave of the sessions in a registry: counted, not timed.

These are the runs of the tests, with their figures.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from tempfile import TemporaryDirectory

# Before what it makes importable.
import registry_stores  # noqa: F401

from registry import killing, racing
from registry.postgres import PostgreSQL
from registry.valkey import Valkey, ValkeyCluster

WORKERS = 8
PROCESSES = 2
RACE = ("store", "IDs", "processes", "workers in each", "created", "refused", "else", "seconds")
KILLS = ("store", "killed", "times", "acknowledged", "unanswered", "lost", "unsound", "seconds")

Row = tuple[object, ...]


@contextmanager
def sqlite() -> Iterator[str]:
    """
    Lend the URL of a new file.
    """
    with TemporaryDirectory(prefix="idlanyard-") as home:
        yield f"sqlite:///{home}/sessions.db"


@contextmanager
def postgresql() -> Iterator[str]:
    """
    Lend the URL of a new server.
    """
    with PostgreSQL() as server:
        yield server.url


@contextmanager
def valkey() -> Iterator[str]:
    """
    Lend the URL of a new server.
    """
    with Valkey() as server:
        yield server.url


@contextmanager
def cluster() -> Iterator[str]:
    """
    Lend the URL of a new cluster.
    """
    with ValkeyCluster() as servers:
        yield servers.url


def races(wanted: Container[str], ids: int, awaited_ids: int) -> Iterator[Row]:
    """
    Yield what became of the race in each store wanted: first of threads, then of tasks.
    """
    stores = {
        "SQLite": sqlite,
        "PostgreSQL": postgresql,
        "Valkey": valkey,
        "Valkey cluster": cluster,
    }
    for workers, number, awaited in (("threads", ids, False), ("tasks", awaited_ids, True)):
        where = f"{WORKERS} {workers}"
        if "memory" in wanted:
            outcome = racing.race_here("memory://", ids=ids, workers=WORKERS, awaited=awaited)
            yield _race("memory", where, outcome)
        for name, store in stores.items():
            if name.removesuffix(" cluster") not in wanted:
                continue
            with store() as url:
                outcome = racing.race_of(
                    url, ids=number, workers=WORKERS, processes=PROCESSES, awaited=awaited
                )
            yield _race(name, where, outcome)


def _race(store: str, workers: str, outcome: racing.Outcome) -> Row:
    created, refused, others = outcome.tally
    counts = (len(created), refused, len(others))
    return (
        store,
        len(outcome.names),
        len(outcome.tallies),
        workers,
        *counts,
        f"{outcome.seconds:.1f}",
    )


def kills(wanted: Container[str], times: int) -> Iterator[Row]:
    """
    Yield what kills left in each store wanted: first of clients, then of servers.
    """
    chance = Random(0)
    for name, store in (("SQLite", sqlite), ("PostgreSQL", postgresql), ("Valkey", valkey)):
        if name in wanted:
            with store() as url:
                outcome = killing.kill_clients([url] * times, chance=chance)
            yield _kills(name, "client", outcome)
    if "PostgreSQL" in wanted:
        with PostgreSQL() as server:
            outcome = killing.kill_servers(server, times=times, chance=chance)
        yield _kills("PostgreSQL", "server", outcome)
    if "Valkey" in wanted:
        yield from _valkey_kills(chance, times)


def _valkey_kills(chance: Random, times: int) -> Iterator[Row]:
    settings = {"appendfsync always": {"appendonly": "yes", "appendfsync": "always"}}
    for name, options in (settings | {"no persistence": {}}).items():
        with Valkey(**options) as valkey_server:
            outcome = killing.kill_servers(valkey_server, times=times, chance=chance)
        yield _kills(f"Valkey, {name}", "server", outcome)


def _kills(store: str, killed: str, outcome: killing.Outcome) -> Row:
    counts = (outcome.acknowledged, outcome.unanswered, len(outcome.lost), len(outcome.unsound))
    return store, killed, len(outcome.kills), *counts, f"{outcome.seconds:.1f}"


def table(titles: Iterable[str], rows: Iterable[Row]) -> Iterator[str]:
    """
    Yield the lines of a Markdown table.
    """
    names = list(titles)
    yield f"| {' | '.join(names)} |"
    yield f"|---|{'--:|' * (len(names) - 1)}"
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row)
        yield f"| {' | '.join(cells)} |"

"""
Fixtures and steps that the tests of PostgreSQL share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from hashlib import sha256

import psycopg
import pytest

from idlanyard.registry import (
    RegistryUnavailable,
)
from registry.faces import Opened, asynchronous, synchronous
from registry.postgres import (
    execute,
)

Face = Callable[..., AbstractContextManager[Opened]]
# Long enough for what should be answered, also on a busy machine.
SHORT = 2.0


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

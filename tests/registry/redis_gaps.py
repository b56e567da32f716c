"""
An index of expired and living sessions, whose gaps the tests look at.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import pytest
from redis import Redis

from idlanyard.registry import SessionRegistry
from idlanyard.registry._questions import Put
from idlanyard.registry._record import Kept
from idlanyard.registry._redis._keys import Namespace, ends_of
from idlanyard.registry._redis._paging import read_call
from registry.faces import Opened, store_of
from registry.redis_fixtures import follow, key_of, once, where

# A page notes a gap of so many IDs, and an index has so many gaps.
LEAST = 64
MOST_GAPS = 4
OVER = 1
NEVER = 10**17


class Gap(NamedTuple):
    """
    A gap as the ends have it.
    """

    first: bytes
    last: bytes
    size: int
    over: int


class Index:
    """
    An index of ``"c"``, read as a page reads that skips expired IDs.

    Args:
        registry: a registry of the server.
        client: a client of the server.
        space: the names of the keys.
        names: IDs of the index.
    """

    def __init__(
        self, registry: SessionRegistry, client: Redis, space: Namespace, names: list[str]
    ) -> None:
        self.index = space.index(key_of(names[0]), key_of("c"))
        self.ends = ends_of(self.index)
        self._registry = registry
        self._client = client
        self._space = space

    def keep(self, names: list[str], ttl: float = 3600) -> None:
        """
        Put sessions that all expire at once.
        """
        now, life = time.time_ns() // 1000, int(ttl * 1_000_000)
        batch = [Kept(name, "c", "{}", life, now, now + life) for name in names]
        assert set(store_of(self._registry).ask(Put(batch))) == {"kept"}

    def expire(self, names: list[str]) -> None:
        """
        Make sessions expire a long time ago.
        """
        self._client.unlink(*(where(self._space, name) for name in names))
        self._client.zadd(self.ends, dict.fromkeys(names, OVER), xx=True)

    def read(self, start: bytes = b"-", count: int = LEAST) -> list[str]:
        """
        Return all IDs behind a start that are not skipped.
        """
        names: list[bytes] = []
        while True:
            call = read_call(self.index, start, count, 0, 0, "skip")
            some, has_more, after, _, _ = follow(self._registry, once("run", *call))
            names += [name for name in some if name > start[1:]]
            if not has_more:
                return [str(name, "utf-8") for name in sorted(names)]
            start = after

    def expected(self, start: bytes = b"-") -> list[str]:
        """
        Return the same IDs, each decided by its own end.
        """
        ids: Any = self._client.zrange(self.index, 0, -1)
        ends = self._scores()
        now = (time.time() - 1) * 1_000_000
        return [str(one, "utf-8") for one in ids if one > start[1:] and ends.get(one, NEVER) > now]

    def gaps(self) -> list[Gap]:
        """
        Return the gaps of the index.
        """
        found: Any = self._client.zrangebyscore(self.ends, "-inf", "-inf")
        fields = [gap.split(b"\0") for gap in found]
        return [Gap(one[1], one[2], int(one[3]), int(one[4])) for one in fields]

    def _scores(self) -> dict[bytes, float]:
        pairs: Any = self._client.zrange(self.ends, 0, -1, withscores=True)
        return dict(pairs)

    def check(self) -> None:
        """
        Check what makes it safe to skip by gaps.
        """
        ends = self._scores()
        gaps = self.gaps()
        assert len(gaps) <= MOST_GAPS
        for gap in gaps:
            inside = {name: end for name, end in ends.items() if gap.first <= name <= gap.last}
            assert all(end <= gap.over for end in inside.values())
            assert gap.size == len(inside) > 0


@pytest.fixture
def registry(valkey: str, namespace: str) -> Any:
    """
    Open a registry of the test's own namespace.
    """
    with SessionRegistry.open(valkey, namespace=namespace, timeout=30) as registry:
        yield registry


@pytest.fixture
def client(valkey: str) -> Any:
    """
    Return a client of the server.
    """
    with Redis.from_url(valkey) as client:
        yield client


def found(registry: Opened, limit: int = 1000) -> list[str]:
    """
    Return the IDs of all sessions of ``"c"``, page by page.
    """
    names: list[str] = []
    while True:
        after = names[-1] if names else None
        page = registry.find(client_id="c", limit=limit, after=after)
        names += [one.session_id for one in page]
        if len(page) < limit:
            return names

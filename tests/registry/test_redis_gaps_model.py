"""
Pages that skip gaps agree with each session's own end, whatever is done to the sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from redis import Redis

from idlanyard.registry import SessionRegistry
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._paging import BATCH, drop_names
from registry.redis_fixtures import alike, follow, namespace, space
from registry.redis_gaps import LEAST, OVER, Index, client, found, registry
from registry.redis_of_old import Old
from registry.valkey import valkey

__all__ = ["client", "namespace", "registry", "space", "valkey"]


@pytest.mark.parametrize("seed", range(2))
def test_gaps_decide_as_the_ends_do(
    registry: SessionRegistry, client: Redis, space: Namespace, seed: int
) -> None:
    """
    Whatever is done to the sessions of an index, a gap skips what has expired and nothing else.
    """
    model = Model(registry, client, space, Random(seed))
    noted = 0
    for _ in range(150):
        model.act()
        model.look()
        noted += len(model.index.gaps())
    assert noted > 30
    assert model.living <= set(found(registry))


class Model:
    """
    Random acts on the sessions of an index.

    Attributes:
        index: the index.
        living: the IDs that pages have to find.
    """

    def __init__(
        self, registry: SessionRegistry, client: Redis, space: Namespace, chance: Random
    ) -> None:
        self._names = sorted(alike(1200))
        self._registry = registry
        self._client = client
        self._space = space
        self._chance = chance
        self._old = Old(client, space)
        # Sessions whose last touch could not be noted in the ends.
        self._unnoted: set[str] = set()
        self.living: set[str] = set()
        self.index = Index(registry, client, space, self._names)

    def act(self) -> None:
        """
        Do one thing.
        """
        acts: dict[Callable[[], None], int] = {
            self._keep: 20,
            self._expire: 20,
            self._create: 10,
            self._touch: 10,
            self._miss_a_note: 4,
            self._end: 6,
            self._drop: 6,
            self._find: 4,
            self._purge: 1,
            self._be_old: 1,
        }
        self._chance.choices(list(acts), list(acts.values()))[0]()

    def look(self) -> None:
        """
        Compare what is skipped with what has expired.
        """
        self.index.check()
        for start in (b"-", b"(" + self._chance.choice(self._names).encode()):
            names = self.index.read(start, self._chance.choice((7, 30, LEAST, LEAST, 150)))
            assert names == self.index.expected(start)
            assert {one for one in self.living - self._unnoted if one.encode() > start[1:]} <= set(
                names
            )
        self.index.check()

    def _some(self, *, living: bool, most: int) -> list[str]:
        first = self._chance.randrange(len(self._names))
        some = self._names[first : first + most]
        return [one for one in some if (one in self.living) == living]

    def _keep(self) -> None:
        if names := self._some(living=False, most=self._chance.randrange(1, 400)):
            self.index.keep(names)
            self.living |= set(names)

    def _expire(self) -> None:
        if names := self._some(living=True, most=self._chance.randrange(1, 400)):
            self.index.expire(names)
            self.living -= set(names)
            self._unnoted -= set(names)

    def _create(self) -> None:
        for name in self._some(living=False, most=3):
            self._registry.create(name, client_id="c", ttl=self._chance.choice((60, 1000, None)))
            self.living.add(name)

    def _touch(self) -> None:
        chosen = [*self._some(living=True, most=3), *sorted(self._unnoted)[:1]]
        for name in chosen:
            self._registry.touch(name, ttl=self._chance.choice((60, 3700, 9000)))
            self._unnoted.discard(name)

    def _miss_a_note(self) -> None:
        if names := self._some(living=True, most=2):
            self._client.zadd(self.index.ends, dict.fromkeys(names, OVER))
            self._unnoted |= set(names)

    def _end(self) -> None:
        for name in self._some(living=True, most=3):
            self._registry.end(name)
            self.living.remove(name)
            self._unnoted.discard(name)

    def _drop(self) -> None:
        some = self._names[self._chance.randrange(len(self._names)) :][:BATCH]
        follow(
            self._registry,
            drop_names(self._space, self.index.index, [one.encode() for one in some]),
        )
        self._unnoted -= set(some)

    def _find(self) -> None:
        assert set(found(self._registry, 100)) <= self.living
        # It may have looked up any of them.
        self._unnoted -= set(self.index.expected())

    def _purge(self) -> None:
        self._registry.purge_expired()
        self._unnoted.clear()

    def _be_old(self) -> None:
        for name in self._some(living=False, most=2):
            self._old.create(name, "c")
            self.living.add(name)
            # A session that the ends still have as expired is skipped until it is looked up.
            if self._client.zscore(self.index.ends, name) is not None:
                self._unnoted.add(name)

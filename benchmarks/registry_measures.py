"""
What the registry's verbs cost: against the statement by hand, with many sessions, in pages.
"""

from __future__ import annotations

import gc
import re
import statistics
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from registry_stores import Sessions, Store, fill, name_of

if TYPE_CHECKING:
    from registry_faces import Face

BLOCK = 200
PAGE = 100


class Times(NamedTuple):
    """
    How long each call took, in nanoseconds, block by block.
    """

    blocks: list[list[int]]

    @property
    def per_second(self) -> float:
        """
        How many calls there are in a second.
        """
        return 1e9 / statistics.median(statistics.fmean(block) for block in self.blocks)

    @property
    def p99(self) -> float:
        """
        The milliseconds that one call in a hundred takes longer than.
        """
        return (
            statistics.median(statistics.quantiles(block, n=100)[98] for block in self.blocks) / 1e6
        )

    def to(self, others: Times) -> float:
        """
        Return what these take, where the others take one: the median of neighbouring blocks.
        """
        pairs = zip(self.blocks, others.blocks, strict=True)
        return statistics.median(sum(mine) / sum(yours) for mine, yours in pairs)


class Candidate(NamedTuple):
    """
    The calls to time, their names, and the clean-up after a block.
    """

    call: Callable[[str], Any]
    names: Callable[[], list[str]]
    tidy: Callable[[list[str]], object] = len


def in_turns(face: Face, candidates: Sequence[Candidate], rounds: int) -> list[Times]:
    """
    Return what each candidate's calls cost, its blocks beside those of the others.
    """
    times = [Times([]) for _ in candidates]
    for turn in range(rounds):
        for number, candidate in list(enumerate(candidates))[:: -1 if turn % 2 else 1]:
            names = candidate.names()
            times[number].blocks.append(face.timed(candidate.call, names))
            candidate.tidy(names)
    return times


def fresh_names(number: int) -> list[str]:
    """
    Return IDs that nobody has.
    """
    start = uuid4().hex
    return [f"{start}-{one}" for one in range(number)]


def creates(face: Face, store: Store, rounds: int, block: int = BLOCK) -> list[Times]:
    """
    Return what creating costs by the registry, and by hand in the same store.
    """
    names = partial(fresh_names, block)
    with (
        store.empty() as url,
        face.lent(face.kind.open(url)) as ours,
        face.lent(store.by_hand[face.name](url)) as hand,
    ):
        candidates = [Candidate(ours.create, names), Candidate(hand.create, names)]
        # The first makes connections and tables.
        in_turns(face, candidates, 1)
        return in_turns(face, candidates, rounds)


def growth(
    face: Face, store: Store, sizes: Sequence[int], rounds: int, block: int = BLOCK
) -> dict[str, float]:
    """
    Return what create and get cost beside the last number of sessions, against the first.
    """
    chance = Random(0)
    with ExitStack() as stack:
        creating, getting = [], []
        for size in sizes:
            registry = stack.enter_context(filled(face, store, Sessions(size)))
            create = partial(registry.create, client_id="client-0")
            names = partial(fresh_names, block)
            creating.append(Candidate(create, names, partial(_end, face, registry)))
            names = partial(_known_names, chance, size, block)
            getting.append(Candidate(registry.get, names))
        gc.freeze()
        ratios = {}
        for verb, candidates in (("create", creating), ("get", getting)):
            in_turns(face, candidates, 1)
            first, *_, last = in_turns(face, candidates, rounds)
            ratios[verb] = last.to(first)
    gc.unfreeze()
    return ratios


@contextmanager
def filled(face: Face, store: Store, sessions: Sessions) -> Iterator[Any]:
    """
    Lend a registry with sessions in it.
    """
    with store.empty() as url, face.lent(face.kind.open(url)) as registry:
        fill(face, registry, url, sessions)
        yield registry


def _known_names(chance: Random, size: int, number: int) -> list[str]:
    return [name_of(chance.randrange(size)) for _ in range(number)]


def _end(face: Face, registry: Any, names: list[str]) -> None:
    for name in names:
        face.done(registry.end(name))


class Paging(NamedTuple):
    """
    Return the bytes that all pages of a client's sessions take.

    Attributes:
        peak: the most that Python had at once.
        resident: by how much the process grew, as far as the system tells.
    """

    peak: int
    resident: int


def paging(face: Face, store: Store, size: int) -> Paging:
    """
    Page through the sessions of a client who has that many.
    """
    with filled(face, store, Sessions(size, per_client=size)) as registry:
        face.done(registry.find(client_id="client-0", limit=PAGE))
        before = _resident(peak=False)
        _page_through(face, registry, size)
        grown = _resident(peak=True) - before
        tracemalloc.start()
        try:
            _page_through(face, registry, size)
            return Paging(tracemalloc.get_traced_memory()[1], grown)
        finally:
            tracemalloc.stop()


def _page_through(face: Face, registry: Any, size: int) -> None:
    seen, after = 0, None
    while page := face.done(registry.find(client_id="client-0", limit=PAGE, after=after)):
        seen += len(page)
        after = page[-1].session_id
    assert seen == size, f"{seen} sessions were on the pages, not {size}"


def _resident(*, peak: bool) -> int:
    """
    Return the bytes that the process holds, or held at most since this was asked last.
    """
    home = Path("/proc/self")
    if not home.is_dir():
        return 0
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", (home / "status").read_text())
    (home / "clear_refs").write_text("5")
    return 1024 * int(found[1]) if found else 0

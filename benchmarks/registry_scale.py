"""
How the registry's verbs grow with its sessions, the living and the dead.

    python benchmarks/registry_scale.py [--sizes 1000 100000 1000000] [--stores SQLite ...]

Medians in microseconds of one thread that asks one question at a time, and the
exponent by which they grow from the first size to the last: 0 is constant, 1 linear.
With one size there is no exponent.
``find`` returns 100 sessions: of a client who has as many, and of one who has
all; then of one who has 100 living ones and as many expired ones as the size,
which nobody has purged.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from registry_faces import Face
from registry_measures import PAGE, fresh_names
from registry_stores import STORES, Sessions, Store, fill, name_of, started

BLOCK = 100
FINDS = 20
# Long enough to put a batch, short enough to wait for.
LIFE = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    options = parser.parse_args()
    sizes: list[int] = options.sizes
    if min(sizes) < PAGE:
        parser.error(f"--sizes: write at least {PAGE}, which is how many sessions find returns")
    titles = ["store", "verb", *(f"{size:,}" for size in sizes)]
    has_exponent = sizes[0] != sizes[-1]
    if has_exponent:
        titles.append("exponent")
    print(f"| {' | '.join(titles)} |")
    print(f"|---|---|{'--:|' * (len(titles) - 2)}")
    for name in options.stores:
        with started(name) as store:
            for verb, times in measured(store, sizes).items():
                cells = [name, verb, *(f"{one:,.0f}" for one in times)]
                if has_exponent:
                    cells.append(f"{growth_of(sizes, times):.2f}")
                print(f"| {' | '.join(cells)} |", flush=True)


def growth_of(sizes: Sequence[int], times: Sequence[float]) -> float:
    """
    Return the exponent by which times grow with sizes.
    """
    return math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0])


def measured(store: Store, sizes: Sequence[int]) -> dict[str, list[float]]:
    """
    Return the microseconds that each verb takes, by its name, for each size.
    """
    times: dict[str, list[float]] = {}
    for size in sizes:
        for verb, microseconds in (*with_living(store, size), *with_dead(store, size)):
            times.setdefault(verb, []).append(microseconds)
    return times


def with_living(store: Store, size: int) -> Iterator[tuple[str, float]]:
    """
    Yield the verbs' times beside so many living sessions.
    """
    chance, face = Random(0), Face()
    with store.empty() as url, face.lent(face.kind.open(url, timeout=60)) as registry:
        fill(face, registry, url, Sessions(size))
        known = [name_of(chance.randrange(size)) for _ in range(BLOCK)]
        yield (
            "create",
            median(lambda name: registry.create(name, client_id="c"), fresh_names(BLOCK)),
        )
        yield "get", median(registry.get, known)
        yield "touch", median(lambda name: registry.touch(name, ttl=86_400), known)
        yield "find, a client of many", found(registry, "client-0")
    with store.empty() as url, face.lent(face.kind.open(url, timeout=60)) as registry:
        fill(face, registry, url, Sessions(size, per_client=size))
        yield "find, one client", found(registry, "client-0")


def with_dead(store: Store, size: int) -> Iterator[tuple[str, float]]:
    """
    Yield how long it takes to find living sessions among so many dead ones.
    """
    face = Face()
    with store.empty() as url, face.lent(face.kind.open(url, timeout=60)) as registry:
        fill(face, registry, url, Sessions(PAGE, per_client=PAGE, start="zz-alive"))
        dead = Sessions(size, per_client=size, seconds=LIFE + size / 20_000)
        fill(face, registry, url, dead)
        while registry.exists(name_of(size - 1)):
            time.sleep(0.1)
        yield "find among the dead", found(registry, "client-0")


def found(registry: Any, client: str) -> float:
    """
    Return how long it takes to find a client's sessions.
    """
    times = []
    for _ in range(FINDS):
        start = time.perf_counter_ns()
        page = registry.find(client_id=client, limit=PAGE)
        times.append((time.perf_counter_ns() - start) / 1000)
        assert len(page) == PAGE, f"{len(page)} sessions were found, not {PAGE}"
    return statistics.median(times)


def median(call: Callable[[str], Any], names: Sequence[str]) -> float:
    """
    Return the microseconds that a call takes with one of the names.
    """
    return statistics.median(Face().timed(call, names)) / 1000


if __name__ == "__main__":
    main()

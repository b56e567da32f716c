"""
Both registries behind one set of calls, so that one suite asks both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from idlanyard.registry import AsyncSessionRegistry, SessionRegistry
from idlanyard.registry._outages import Outages
from idlanyard.registry._urls import Opened as Opening
from idlanyard.registry._verbs import Verbs

Opened = Any
"""
A ``SessionRegistry``, or something with its methods.
"""


class Awaiting:
    """
    An asynchronous registry whose verbs are awaited on one event loop, call by call.
    """

    def __init__(self, registry: Any, runner: asyncio.Runner) -> None:
        self._registry = registry
        self._runner = runner

    def walk(self) -> list[Any]:
        """
        Return what the walk meets.
        """

        async def walked() -> list[Any]:
            return [record async for record in self._registry.walk()]

        return self._runner.run(walked())

    def store(self) -> Opened:
        """
        Return the registry's store, behind the same set of calls.
        """
        return Awaiting(self._registry._store, self._runner)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._registry, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            return self._runner.run(verb(*args, **kwargs))

        return called


def store_of(registry: Opened) -> Opened:
    """
    Return the store behind a registry, as if it waited.
    """
    return registry.store() if isinstance(registry, Awaiting) else registry._store


def registry_on(store: Any, kind: Any = SessionRegistry, **options: Any) -> Any:
    """
    Return a registry on a store of the test's own.
    """
    outages = Outages("memory", timeout=5.0, remembers=False)
    return kind(Opening(store, outages, "memory"), Verbs(**options))


@contextmanager
def synchronous(url: str, **options: Any) -> Iterator[Opened]:
    """
    Open a ``SessionRegistry`` for a block.
    """
    with SessionRegistry.open(url, **options) as registry:
        yield registry


@contextmanager
def asynchronous(url: str, **options: Any) -> Iterator[Opened]:
    """
    Open an ``AsyncSessionRegistry`` for a block, on a loop of its own.
    """
    with asyncio.Runner() as runner:
        registry = Awaiting(AsyncSessionRegistry.open(url, **options), runner)
        try:
            yield registry
        finally:
            registry.close()

"""
``memory://`` keeps what every store keeps.
"""

from __future__ import annotations

import pytest

from idlanyard import PolicyError
from idlanyard.registry import AsyncSessionRegistry, SessionRegistry
from registries.contract import AwaitedContract, RacingContract
from registries.naming import eventually, fresh


class TestMemory(RacingContract):
    """
    The contract, by the registry that waits.
    """

    @pytest.fixture
    def url(self) -> str:
        """
        Return where the sessions are.
        """
        return "memory://"


class TestMemoryAwaited(AwaitedContract):
    """
    The contract, by the registry that is awaited.
    """

    @pytest.fixture
    def url(self) -> str:
        """
        Return where the sessions are.
        """
        return "memory://"


@pytest.mark.parametrize("url", ["memory://x", "memory:///x", "memory:x", "memory://?x=1"])
def test_memory_has_no_places(url: str) -> None:
    """
    Issue 5, item 1: a URL that names something in memory is refused when opened.
    """
    for registry in (SessionRegistry, AsyncSessionRegistry):
        with pytest.raises(PolicyError, match="memory://"):
            registry.open(url)


def test_purging_forgets() -> None:
    """
    S-D16: what expired is counted once, with its client.
    """
    with SessionRegistry.open("memory://") as registry:
        for _ in range(3):
            registry.create(client_id="c", ttl=0.05)
        name = registry.create(ttl=0.05).session_id
        eventually(lambda: not registry.exists(name))
        assert registry.purge_expired() == 4


def test_the_order_survives_what_comes_and_goes() -> None:
    """
    Issue 5, item 1: pages stay in order though sessions come and go between them.
    """
    with SessionRegistry.open("memory://") as registry:
        client = fresh("client")
        for name in ("b", "a"):
            registry.create(name, client_id=client)
        assert [one.session_id for one in registry.find(client_id=client)] == ["a", "b"]
        registry.create("c", client_id=client)
        registry.end("a")
        assert [one.session_id for one in registry.find(client_id=client)] == ["b", "c"]
        registry.create("a", client_id=client)
        assert [one.session_id for one in registry.find(client_id=client)] == ["a", "b", "c"]

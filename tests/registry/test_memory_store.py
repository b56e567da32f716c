"""
``memory://`` keeps what every store keeps.
"""

from __future__ import annotations

import pytest

from idlanyard import PolicyError
from idlanyard.registry import AsyncSessionRegistry, SessionRegistry
from registry.contract import AwaitedContract, RacingContract
from registry.naming import eventually, fresh


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
    A URL that names something in memory is refused when opened.
    """
    for registry in (SessionRegistry, AsyncSessionRegistry):
        with pytest.raises(PolicyError, match="memory://"):
            registry.open(url)


def test_purging_forgets() -> None:
    """
    An expired session is counted once, with its client.
    """
    with SessionRegistry.open("memory://") as registry:
        for _ in range(3):
            registry.create(client_id="c", ttl=0.05)
        name = registry.create(ttl=0.05).session_id
        eventually(lambda: not registry.exists(name))
        assert registry.purge_expired() == 4


def test_the_order_survives_what_comes_and_goes() -> None:
    """
    Pages stay in order though sessions come and go between them.
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


def test_a_session_is_looked_at_when_its_time_seems_over() -> None:
    """
    Housekeeping leaves a session that was touched, and forgets the moment of one that is gone.
    """
    with SessionRegistry.open("memory://") as registry:
        registry.create("touched", ttl=0.05)
        registry.create("ended", ttl=0.05)
        registry.create("over", ttl=0.05)
        registry.touch("touched", ttl=600)
        registry.end("ended")
        eventually(lambda: not registry.exists("over"))
        assert registry.purge_expired() == 1
        registry.create("short")
        registry.touch("short", ttl=0.05)
        eventually(lambda: not registry.exists("short"))
        assert registry.purge_expired() == 1
        assert [record.session_id for record in registry.walk()] == ["touched"]


def test_an_order_is_made_anew_when_most_of_it_is_gone() -> None:
    """
    A client's order never has more names of ended sessions than of others.
    """
    with SessionRegistry.open("memory://") as registry:
        registry.create("lasting", client_id="c")
        for number in range(100):
            registry.create(f"s{number:03}", client_id="c")
            assert registry.find(client_id="c", limit=1)[0].session_id == "lasting"
            registry.end(f"s{number:03}")
        (index,) = registry._store._sessions._clients.values()  # type: ignore[attr-defined]
        assert len(index.order or []) <= 2


def test_an_expired_id_is_free_before_housekeeping_gets_there() -> None:
    """
    An ID whose session has expired is free at once, however many wait to be given up.
    """
    with SessionRegistry.open("memory://") as registry:
        for number in range(10):
            registry.create(f"s{number}", ttl=0.05)
        eventually(lambda: not registry.exists("s9"))
        assert registry.create("s9").expires_at is None
        assert registry.count() == 1

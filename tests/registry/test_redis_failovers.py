"""
``redis+sentinel://`` follows a failover of real Sentinels, and gives them their password.
"""

from __future__ import annotations

import pytest
from redis import Redis

from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import fresh
from registry.redis_fixtures import SOON, Face, face
from registry.sentinels import SERVICE, Watched, watched
from registry.valkey import ask, until

__all__ = ["face"]


def creates(registry: Opened) -> bool:
    """
    Return whether a session can be created.
    """
    try:
        return bool(registry.create(client_id="c"))
    except RegistryUnavailable:
        return False


def named(servers: Watched) -> set[int]:
    """
    Return the ports of the primaries that the Sentinels name.
    """
    ports: set[int] = set()
    for port in servers.ports:
        with Redis(port=port) as sentinel:
            ports.add(int(ask(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1]))
    return ports


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_a_failover_is_followed(how: str) -> None:
    """
    Once the Sentinels name the replica, sessions go there, and those of before are.
    """
    with watched() as servers:
        url = servers.url
        with synchronous(url, timeout=SOON) as one, asynchronous(url, timeout=SOON) as other:
            name = fresh()
            one.create(name)
            assert other.exists(name)
            primary, replica = servers.servers
            with primary.client() as client:
                client.wait(1, 5000)
            getattr(primary, how)()
            until(lambda: named(servers) == {replica.port})
            for registry in (one, other):
                tried = [creates(registry) for _ in range(4)]
                assert tried[2:] == [True, True]
                assert registry.exists(name)
            primary.wake() if how == "freeze" else None


def test_a_planned_failover_is_followed(face: Face) -> None:
    """
    A failover that an administrator asks for makes no verb fail for long.
    """
    with watched() as servers, face(servers.url) as registry:
        registry.create()
        old, new = servers.servers
        with old.client() as client, Redis(port=servers.ports[0]) as sentinel:
            ask(sentinel, "SENTINEL FAILOVER", SERVICE)
            until(lambda: client.info("replication")["role"] == "slave")
        until(lambda: named(servers) == {new.port})
        with new.client() as client:
            before = client.dbsize()
            assert sum(creates(registry) for _ in range(20)) >= 19
            assert client.dbsize() > before


def test_sentinels_may_have_a_password(face: Face) -> None:
    """
    The option sentinel_password is for the Sentinels; without it they are said to want one.
    """
    with watched("requirepass s3cret") as servers:
        with face(f"{servers.url}?sentinel_password=s3cret") as registry:
            assert creates(registry)
        for query in ("", "?sentinel_password=wr0ng"):
            refused = pytest.raises(RegistryMisconfigured, match="sentinel_password")
            with face(servers.url + query) as registry, refused as told:
                registry.exists("x")
            assert "wr0ng" not in str(told.value)

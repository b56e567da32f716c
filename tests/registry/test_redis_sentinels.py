"""
``redis+sentinel://``: the primary is whom the Sentinels name, and another one after a failover.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable
from ports import free_port
from registry.faces import Opened
from registry.redis_fixtures import Face, face
from registry.sentinels import SERVICE, Watched, watched
from registry.valkey import ask

__all__ = ["face"]


@pytest.fixture(scope="module")
def service() -> Iterator[Watched]:
    """
    Start a primary, a replica and three Sentinels that are not to be harmed.
    """
    with watched() as servers:
        yield servers


def creates(registry: Opened) -> bool:
    """
    Return whether a session can be created.
    """
    try:
        return bool(registry.create(client_id="c"))
    except RegistryUnavailable:
        return False


def test_sentinels_that_are_gone_or_silent_are_passed_over(face: Face, service: Watched) -> None:
    """
    Of several Sentinels one that answers is enough.
    """
    url = f"redis+sentinel://127.0.0.1:{free_port()},{service.hosts}/{SERVICE}"
    with face(url) as registry:
        assert creates(registry)


def test_no_sentinel_is_an_outage(face: Face) -> None:
    """
    If no Sentinel answers, the store is unavailable.
    """
    with face(f"redis+sentinel://127.0.0.1:{free_port()}/{SERVICE}") as registry:
        assert not creates(registry)


def test_a_database_and_a_login_are_for_the_servers(face: Face, service: Watched) -> None:
    """
    The URL's user, password and database are the servers', not the Sentinels'.
    """
    primary = service.servers[0]
    with primary.client() as client:
        ask(client, "ACL SETUSER", "app", "on", ">p@ss", "~*", "+@all")
    url = f"valkey+sentinel://app:p%40ss@{service.hosts}/{SERVICE}/3"
    with face(url) as registry, primary.client(db=3) as client:
        assert creates(registry)
        assert client.dbsize() > 0


def test_an_unknown_service_is_told_with_those_there_are(face: Face, service: Watched) -> None:
    """
    Waiting does not make a service known; the message names those that are.
    """
    refused = pytest.raises(RegistryMisconfigured, match=f"write one of {SERVICE}$")
    with face(f"redis+sentinel://{service.hosts}/other") as registry, refused:
        registry.exists("x")


def test_a_server_is_no_sentinel(face: Face, service: Watched) -> None:
    """
    A URL that takes a server for a Sentinel, or the reverse, is refused with the right scheme.
    """
    port = service.servers[0].port
    refused = pytest.raises(RegistryMisconfigured, match="write redis://host:6379/0")
    with face(f"redis+sentinel://127.0.0.1:{port}/{SERVICE}") as registry, refused:
        registry.exists("x")
    refused = pytest.raises(RegistryMisconfigured, match=r"write redis\+sentinel://host:26379")
    with face(f"redis://127.0.0.1:{service.ports[0]}") as registry, refused:
        registry.exists("x")


def test_a_replica_that_is_named_is_not_used(face: Face, service: Watched) -> None:
    """
    If the Sentinels still name a server that is a replica now, it gets no sessions.
    """
    old, new = service.servers
    with old.client() as one, new.client() as other:
        ask(other, "REPLICAOF", "NO", "ONE")
        ask(one, "REPLICAOF", "127.0.0.1", new.port)
        try:
            with face(service.url) as registry:
                with pytest.raises(RegistryUnavailable) as told:
                    registry.exists("x")
                assert "not the primary" in str(told.value.__cause__)
        finally:
            ask(one, "REPLICAOF", "NO", "ONE")
            ask(other, "REPLICAOF", "127.0.0.1", old.port)

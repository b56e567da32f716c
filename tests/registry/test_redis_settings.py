"""
Settings and rights of the server that a check finds.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from idlanyard._failures import warned
from idlanyard.registry import (
    RegistryMisconfigured,
)
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._settings import faults_of, rights_of
from registry.contract import RacingContract
from registry.redis_fixtures import Face, face, server
from registry.valkey import Valkey, ask, until

__all__ = ["face", "server"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({}, [], id="none"),
        pytest.param(
            {"maxmemory-policy": "allkeys-lru"}, ["once maxmemory is set", "noeviction"], id="evict"
        ),
        pytest.param(
            {"maxmemory-policy": "volatile-lru", "maxmemory": str(2**30)},
            ["once maxmemory is reached", "volatile-lru"],
            id="evict with a maximum",
        ),
        pytest.param({"appendonly": "no"}, ["every session", "appendonly yes"], id="no file"),
        pytest.param(
            {"appendonly": "no", "save": "60 1"}, ["last snapshot", "appendonly yes"], id="snapshot"
        ),
        pytest.param({"appendfsync": "no"}, ["appendfsync everysec"], id="no fsync"),
    ],
)
def test_settings_that_void_a_promise_are_told(
    face: Face, settings: dict[str, str], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A check says each setting that voids a promise, and so does the first use, once.
    """
    caplog.set_level(logging.WARNING, "idlanyard")
    with Valkey(appendonly="yes") as one, one.client() as client:
        for name, value in settings.items():
            client.config_set(name, value)
        with face(one.url) as registry:
            sentences = registry.check()
            assert len(sentences) == bool(words)
            assert all(word in sentence for sentence in sentences for word in words)
            for value in re.findall(r"write (\S+) (\w+)", " ".join(sentences)):
                client.config_set(*value)
            assert registry.check() == []
        for name, value in settings.items():
            client.config_set(name, value)
        warned.difference_update(sentences)
        caplog.clear()
        for _ in range(2):
            with face(one.url) as registry:
                registry.exists("a")
                registry.exists("b")
        assert [record.getMessage() for record in caplog.records] == [
            f"idlanyard: {sentence}" for sentence in sentences
        ]


def test_a_replica_is_told(face: Face, server: Valkey) -> None:
    """
    A check says of a replica that it takes no sessions.
    """
    with Valkey(appendonly="yes") as primary, server.client() as client:
        client.config_set("appendonly", "yes")
        ask(client, "REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: client.info("replication")["master_link_status"] == "up")
        with face(server.url) as registry:
            [sentence] = registry.check()
        assert "replica" in sentence


def test_what_a_server_does_not_tell_is_no_fault() -> None:
    """
    A server that answers neither INFO nor CONFIG is found well.
    """
    assert faults_of({}, {}, {}) == []
    [sentence] = faults_of({"aof_enabled": 0}, {}, {})
    assert "last snapshot" in sentence


@pytest.fixture(scope="module")
def restricted() -> Iterator[str]:
    """
    Return the URL of a server, by a user with no more rights than the page says.
    """
    with Valkey(appendonly="yes") as one, one.client() as client:
        rules = rights_of(Namespace("idlanyard")).split()
        # The contract has namespaces of its own.
        ask(client, "ACL SETUSER", "lanyard", "on", ">secret", *rules, "~{[not]*")
        yield f"redis://lanyard:secret@127.0.0.1:{one.port}/0"


class TestRestricted(RacingContract):
    """
    The contract, by a user with the rights that the page lists.
    """

    @pytest.fixture
    def url(self, restricted: str) -> str:
        """
        Return where the sessions are.
        """
        return restricted


def test_the_page_lists_the_rights() -> None:
    """
    The rights on the page are those that the registry needs.
    """
    page_ = Path(__file__).parents[2] / "docs/registry_machines.md"
    assert f" {rights_of(Namespace('idlanyard'))}\n" in page_.read_text()


def test_a_check_finds_what_is_missing(face: Face, server: Valkey) -> None:
    """
    A check does everything that the verbs do, so that it finds every missing right.
    """
    rights = rights_of(Namespace("idlanyard")).split()
    with server.client() as client:
        url = f"redis://lanyard:secret@127.0.0.1:{server.port}/0"
        for missing in ("+rename", "+zadd", "+pttl", "+evalsha", "+get", "+zrangebylex"):
            rules = [right for right in rights if right != missing]
            ask(client, "ACL SETUSER", "lanyard", "reset", "on", ">secret", *rules)
            with face(url) as registry, pytest.raises(RegistryMisconfigured, match="ACL SETUSER"):
                registry.check()
        ask(client, "ACL SETUSER", "lanyard", "reset", "on", ">secret", *rights)
        with face(url) as registry:
            assert len(registry.check()) == 1


def test_a_missing_right_is_told(face: Face, server: Valkey) -> None:
    """
    A user who lacks a right gets a line with all rights, which works as it is.
    """
    with server.client() as client:
        ask(client, "ACL SETUSER", "lanyard", "on", ">secret", "~idlanyard*", "+@all")
        url = f"redis://lanyard:secret@127.0.0.1:{server.port}/0"
        with face(url) as registry:
            for verb in (registry.create, registry.check, registry.count):
                with pytest.raises(RegistryMisconfigured, match="ACL SETUSER"):
                    verb()
            with pytest.raises(RegistryMisconfigured) as raised:
                registry.exists("a")
            line = raised.value.fault.partition("ACL SETUSER name ")[2]
            ask(client, "ACL SETUSER", "lanyard", "reset", "on", ">secret", *line.split())
            assert registry.create("a", client_id="c", ttl=60) in registry.find(client_id="c")
            assert registry.count() == 1

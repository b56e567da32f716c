"""
``redis://`` keeps the contract of every store; its URLs, logins and TLS.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from idlanyard import PolicyError
from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    SessionRegistry,
)
from idlanyard.registry._redis._url import parse_url
from registry.contract import AwaitedContract, RacingContract
from registry.redis_fixtures import (
    Face,
    certificate,
    cluster_behind,
    face,
    id_of,
    namespace,
    server,
    space,
)
from registry.relay import Relay
from registry.valkey import Valkey, ask, cluster, valkey

__all__ = ["certificate", "cluster", "face", "namespace", "server", "space", "valkey"]


class TestRedis(RacingContract):
    """
    The contract on one server, by the registry that waits.
    """

    @pytest.fixture
    def url(self, valkey: str) -> str:
        """
        Return where the sessions are.
        """
        return valkey


class TestRedisAwaited(AwaitedContract):
    """
    The contract on one server, by the registry that is awaited.
    """

    @pytest.fixture
    def url(self, valkey: str) -> str:
        """
        Return where the sessions are.
        """
        return valkey


class TestCluster(RacingContract):
    """
    The contract on a cluster, by the registry that waits.
    """

    @pytest.fixture
    def url(self, cluster: str) -> str:
        """
        Return where the sessions are.
        """
        return cluster


class TestClusterAwaited(AwaitedContract):
    """
    The contract on a cluster, by the registry that is awaited.
    """

    @pytest.fixture
    def url(self, cluster: str) -> str:
        """
        Return where the sessions are.
        """
        return cluster


@pytest.mark.parametrize(
    ("url", "options"),
    [
        pytest.param("redis://h", {"host": "h", "port": 6379}, id="a host"),
        pytest.param("redis://h:1/", {"host": "h", "port": 1}, id="a port"),
        pytest.param("redis://h/0", {"host": "h", "port": 6379}, id="the first database"),
        pytest.param("redis://h/12", {"host": "h", "port": 6379, "db": 12}, id="a database"),
        pytest.param("redis://[::1]:7", {"host": "::1", "port": 7}, id="IPv6"),
        pytest.param(
            "redis://:p%40%2F@h", {"host": "h", "port": 6379, "password": "p@/"}, id="a password"
        ),
        pytest.param(
            "redis://u%3A:p@h",
            {"host": "h", "port": 6379, "username": "u:", "password": "p"},
            id="a user",
        ),
        pytest.param(
            "rediss://h?ssl_ca_certs=/a/b.pem&ssl_check_hostname=false&ssl_cert_reqs=required",
            {
                "host": "h",
                "port": 6379,
                "ssl_ca_certs": "/a/b.pem",
                "ssl_check_hostname": False,
                "ssl_cert_reqs": "required",
            },
            id="certificates",
        ),
    ],
)
def test_a_url_says_where_and_who(url: str, options: dict[str, object]) -> None:
    """
    Host, port, user, password, database and certificates come from the URL.
    """
    target = parse_url(url, url.partition(":")[0])
    assert target.options_of(target.nodes[0]) == options


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        pytest.param("redis:", "names one host", id="nothing"),
        pytest.param("redis:///0", "names one host", id="no host"),
        pytest.param("redis://secret@/0", "names one host", id="only a user"),
        pytest.param("redis://h:x/0", "names one host", id="no number as port"),
        pytest.param("redis://h:0/0", "names one host", id="port 0"),
        pytest.param("redis://h:99999/0", "names one host", id="too large a port"),
        pytest.param("redis://a:1,b:2/0", "names one host", id="two hosts"),
        pytest.param("redis://:secret[@h/0", "names one host", id="a bracket in a password"),
        pytest.param(f"redis://{'x' * 64}.h/0", "names one host", id="too long a label"),
        pytest.param("redis://h/0#secret", "names one host", id="a fragment"),
        pytest.param("redis://:sec ret@h/0", "percent-encode", id="a space"),
        pytest.param("redis://:sec\nret@h/0", "percent-encode", id="a line end"),
        pytest.param("redis://secret@h/0", "user without a password", id="a user"),
        pytest.param("redis://h/secret", "number of a database", id="a name as database"),
        pytest.param("redis://h/1/2", "number of a database", id="two databases"),
        pytest.param("redis://h/-1", "number of a database", id="a negative database"),
        pytest.param("redis://h/0?socket_timeout=secret", "only rediss://", id="an option"),
        pytest.param("redis://h/0?secret", "write '\\?name=value'", id="no option"),
        pytest.param("rediss://h/0?db=secret", "these options", id="an unknown option"),
        pytest.param(
            "rediss://h?ssl_keyfile=secret&ssl_keyfile=b", "these options once", id="twice"
        ),
        pytest.param("rediss://h?ssl_keyfile=", "write the path of a file", id="no path"),
        pytest.param(
            "rediss://h?ssl_check_hostname=secret", "write true or false", id="no yes or no"
        ),
        pytest.param("rediss://h?ssl_cert_reqs=", "write required or none", id="no check"),
    ],
)
def test_a_url_that_cannot_be_followed_is_refused(url: str, sentence: str) -> None:
    """
    A wrong URL is a PolicyError when opened, without what may be secret in it.
    """
    for registry in (SessionRegistry, AsyncSessionRegistry):
        with pytest.raises(PolicyError, match=sentence) as raised:
            registry.open(url)
        assert "sec" not in str(raised.value).replace("user:password", "")
        assert raised.value.option == "url"
        assert raised.value.value is None


def test_a_user_with_a_password_may_be_asked_for(face: Face, server: Valkey) -> None:
    """
    User, password and database of the URL are used, and a wrong one is refused.
    """
    rules = ("on", ">p@ss", "~{idlanyard:*", "+@all", "-info", "-select", "+select|1")
    with server.client() as client:
        ask(client, "ACL SETUSER", "lanyard", *rules)
        client.config_set("requirepass", "root")
    host = f"127.0.0.1:{server.port}"
    with face(f"redis://lanyard:p%40ss@{host}/1") as registry:
        registry.create("known", client_id="c")
        assert [one.session_id for one in registry.find(client_id="c")] == ["known"]
        assert registry.purge_expired() == 0
    for login in ("lanyard:wrong@", ":wrong@", ""):
        refused = pytest.raises(RegistryMisconfigured, match="password")
        with face(f"redis://{login}{host}/1") as registry, refused:
            registry.get("known")
    with server.client(password="root", db=1) as client:
        assert client.dbsize() == 4


def test_tls_is_spoken_and_certificates_are_checked(
    face: Face, server: Valkey, certificate: Path
) -> None:
    """
    Rediss:// speaks TLS, to whom the certificate says it is, and to nobody else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Relay(server.port, context=context) as relay:
        home = f"rediss://127.0.0.1:{relay.port}/0"
        for options in (f"?ssl_ca_certs={certificate}", "?ssl_cert_reqs=none"):
            with face(home + options, timeout=20) as registry:
                made = registry.create(client_id="c")
                assert made in registry.find(client_id="c")
        for options in ("", f"?ssl_ca_certs={certificate}.not"):
            refused = pytest.raises(RegistryMisconfigured, match="ssl_ca_certs")
            with face(home + options, timeout=20) as registry, refused:
                registry.exists("x")


def test_a_cluster_speaks_tls(face: Face, certificate: Path) -> None:
    """
    Rediss:// reaches a cluster by the same URL, every node through TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with cluster_behind([Relay(context=context) for _ in range(3)]) as route:
        url = route.url.replace("redis:", "rediss:") + f"?ssl_ca_certs={certificate}"
        with face(url, timeout=20) as registry:
            made = sorted((registry.create(client_id="c") for _ in range(20)), key=id_of)
            assert registry.find(client_id="c") == made

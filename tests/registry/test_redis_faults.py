"""
What waiting will not mend on Redis is told in a sentence; an outage is told in time.
"""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Lost

from idlanyard import PolicyError
from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable, SessionRegistry
from idlanyard.registry._redis._faults import fault_of, sentinel_fault_of
from idlanyard.registry._redis._url import Kind, parse_url
from ports import free_port
from registry.patience import SLACK, stopwatch
from registry.redis_fixtures import SOON, Face, certificate, face
from registry.relay import Relay
from registry.valkey import Valkey, ValkeyCluster, ask, cluster, valkey

__all__ = ["certificate", "cluster", "face", "valkey"]


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """
    Return the host and port of a server with users.
    """
    with Valkey() as server:
        with server.client() as client:
            ask(client, "ACL SETUSER", "app", "on", ">p@ss", "~*", "+@all")
            client.config_set("requirepass", "root")
        yield f"127.0.0.1:{server.port}"


@contextmanager
def tls(port: int, certificate: Path, **options: object) -> Iterator[Relay]:
    """
    Make a server reachable by TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    for name, value in options.items():
        setattr(context, name, value)
    with Relay(port, context=context) as relay:
        yield relay


def fault(face: Face, url: str, *, timeout: float = 5) -> str:
    """
    Return the fault of a registry that cannot work.
    """
    with face(url, timeout=timeout) as registry:
        with pytest.raises(RegistryMisconfigured) as told:
            registry.exists("x")
        with pytest.raises(RegistryMisconfigured):
            registry.create()
    assert told.value.__cause__ is not None
    assert "s3cret" not in str(told.value)
    assert told.value.scheme == "redis"
    return told.value.fault


@pytest.mark.parametrize(
    ("login", "sentence"),
    [
        pytest.param("", "asks for a password and the URL has none: write redis://", id="none"),
        pytest.param(":s3cret@", "refuses the user or the password", id="a wrong password"),
        pytest.param("app:s3cret@", "refuses the user or the password", id="a user's wrong one"),
        pytest.param("who:s3cret@", "refuses the user or the password", id="an unknown user"),
    ],
)
def test_a_wrong_login_is_a_fault(face: Face, guarded: str, login: str, sentence: str) -> None:
    """
    A login that the server refuses is a fault, and its message has no password.
    """
    assert sentence in fault(face, f"redis://{login}{guarded}")


def test_a_login_that_nobody_asks_for_is_a_fault(face: Face, valkey: str) -> None:
    """
    A password for a server without one is a fault of the URL, and leaving it out works.
    """
    host = valkey.removeprefix("redis://").partition("/")[0]
    assert "has no password: leave it out" in fault(face, f"redis://:s3cret@{host}")


def test_a_database_that_is_not_there_is_a_fault(face: Face, valkey: str) -> None:
    """
    A number beyond the server's databases is a fault of the URL.
    """
    assert "no database of that number" in fault(face, valkey.rpartition("/")[0] + "/99")


def test_a_clusters_other_databases_are_a_fault(face: Face, cluster: str) -> None:
    """
    A cluster with another database than 0 in the URL is a fault of the URL.
    """
    assert "database" in fault(face, cluster.rpartition("/")[0] + "/1")


def test_tls_against_a_plain_server_is_a_fault(face: Face, server_port: int) -> None:
    """
    A server that does not speak TLS waits in silence, and is found out within the timeout.
    """
    told = pytest.raises(RegistryMisconfigured, match="not speak TLS at this port: write redis:")
    url = f"rediss://127.0.0.1:{server_port}"
    with stopwatch() as seconds:
        with face(url, timeout=2 * SOON) as registry, told:
            registry.exists("x")
        assert seconds() < 2 * SOON + SLACK


@pytest.fixture
def server_port(valkey: str) -> int:
    """
    Return the port of a server without TLS.
    """
    return int(valkey.rpartition(":")[2].partition("/")[0])


def test_plain_against_tls_is_a_fault(face: Face, server_port: int, certificate: Path) -> None:
    """
    A server that speaks TLS hangs up on a URL without, which is told the right scheme.
    """
    with tls(server_port, certificate) as relay:
        assert "write rediss://" in fault(face, relay.url)
        assert "write valkeys://" in fault(face, relay.url.replace("redis:", "valkey:"))


def test_certificates_and_files_are_faults(
    face: Face, server_port: int, certificate: Path, tmp_path: Path
) -> None:
    """
    A foreign signer, a wrong name and a file that cannot be used have a sentence each.
    """
    (tmp_path / "empty.pem").write_text("nothing")
    with tls(server_port, certificate) as relay:
        home = f"rediss://127.0.0.1:{relay.port}"
        other = f"rediss://localhost:{relay.port}?ssl_ca_certs={certificate}"
        assert "?ssl_ca_certs=" in fault(face, home)
        assert "for another name" in fault(face, other)
        for option in ("ssl_ca_certs", "ssl_certfile"):
            assert "is not there" in fault(face, f"{home}?{option}={tmp_path}/none.pem")
        assert "in PEM" in fault(face, f"{home}?ssl_ca_certs={tmp_path}/empty.pem")


def test_a_certificate_that_the_server_asks_for_is_a_fault(
    face: Face, server_port: int, certificate: Path
) -> None:
    """
    A server that asks for the client's certificate is a fault that names the options.
    """
    # TLS 1.3 tells only after the handshake, and a reset may be faster.
    options = {"verify_mode": ssl.CERT_REQUIRED, "maximum_version": ssl.TLSVersion.TLSv1_2}
    with tls(server_port, certificate, **options) as relay:
        url = f"rediss://127.0.0.1:{relay.port}?ssl_ca_certs={certificate}"
        assert "?ssl_certfile=" in fault(face, url)


def test_something_else_at_the_port_is_a_fault(face: Face) -> None:
    """
    A server that answers but is no Redis is named as such.
    """
    handler = http.server.BaseHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,)).start()
        try:
            url = f"redis://127.0.0.1:{web.server_address[1]}"
            assert "is not Redis" in fault(face, url)
        finally:
            web.shutdown()


def test_rights_are_faults(face: Face, guarded: str) -> None:
    """
    A user without the rights gets the line that grants them, and with it all works.
    """
    host, port = guarded.split(":")
    with Valkey() as server, server.client() as client:
        ask(client, "ACL SETUSER", "app", "on", ">p", "~*", "+info")
        url = f"redis://app:p@{host}:{server.port}"
        line = fault(face, url).partition("write ACL SETUSER ")[2]
        rest = line.split()[2:]
        ask(client, "ACL SETUSER", "app", *rest)
        with face(url) as registry:
            made = registry.create(client_id="c")
            assert registry.find(client_id="c") == [made]
    assert port


def test_a_cluster_that_may_not_be_recognized_is_a_fault(face: Face) -> None:
    """
    A user without the right to ask for the cluster is told which right to get.
    """
    with ValkeyCluster() as servers:
        for node in servers.nodes:
            with node.client() as client:
                ask(client, "ACL SETUSER", "app", "on", ">p", "~*", "+@all", "-info")
        url = servers.url.replace("127", "app:p@127", 1)
        # One of three nodes has this session; the other two say so.
        with face(url) as registry, pytest.raises(RegistryMisconfigured, match=r"\+info"):
            [registry.exists(str(number)) for number in range(20)]


@pytest.mark.parametrize(
    ("error", "kind", "mark"),
    [
        pytest.param(Lost("gone"), "tcp", None, id="lost"),
        pytest.param(ResponseError("LOADING"), "tcp", None, id="a refusal"),
        pytest.param(ResponseError("DENIED Redis is running"), "tcp", "protected", id="protected"),
        pytest.param(InvalidResponse("Protocol Error: x"), "tcp", "is not Redis", id="not Redis"),
        pytest.param(MovedError("1 h:1"), "tcp", "+info", id="a cluster"),
        pytest.param(PermissionError(), "unix", "socket", id="a socket of others"),
        pytest.param(PermissionError(), "tls", "may not be read", id="a file of others"),
        pytest.param(PermissionError(), "tcp", None, id="a firewall"),
        pytest.param(FileNotFoundError(), "unix", None, id="no socket yet"),
        pytest.param(ssl.SSLEOFError(), "tls", None, id="hung up"),
    ],
)
def test_a_fault_is_told_from_an_outage(error: Exception, kind: Kind, mark: str | None) -> None:
    """
    The error and the kind of connection decide whether waiting may help.
    """
    told = fault_of(error, kind)
    assert (told is None) if mark is None else (told is not None and mark in told)


def test_a_sentinels_fault_is_told_as_one() -> None:
    """
    A login or a right that the Sentinels refuse is named as theirs.
    """
    assert "sentinel_password" in str(sentinel_fault_of(AuthenticationError("x"), "tcp"))
    assert "+sentinel" in str(sentinel_fault_of(NoPermissionError("x"), "tcp"))
    assert sentinel_fault_of(Lost("gone"), "tcp") is None


def certified(code: int) -> ssl.SSLCertVerificationError:
    """
    Return the error of a certificate that was not accepted.
    """
    error = ssl.SSLCertVerificationError()
    error.verify_code = code
    return error


def refused(reason: str) -> ssl.SSLError:
    """
    Return the error of a handshake that failed.
    """
    error = ssl.SSLError()
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "mark"),
    [
        pytest.param(certified(10), "expired", id="expired"),
        pytest.param(certified(18), "signed", id="self-signed"),
        pytest.param(refused("WRONG_VERSION_NUMBER"), "write redis://", id="no TLS"),
        pytest.param(refused("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "ssl_certfile", id="asked for"),
    ],
)
def test_a_failed_handshake_is_told(error: Exception, mark: str) -> None:
    """
    Each way in which TLS cannot be set up has its sentence, wrapped or not.
    """
    lost = Lost("x")
    lost.__context__ = error
    told = fault_of(lost, "tls")
    assert told is not None
    assert mark in told


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel"])
def test_a_silent_server_is_an_outage_in_time(face: Face, scheme: str) -> None:
    """
    A server that accepts connections and never answers is unavailable within the timeout.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            face(f"{scheme}://{host}/service", timeout=SOON)
            if "+" in scheme
            else face(f"{scheme}://{host}", timeout=SOON) as registry
        ):
            with stopwatch() as seconds, pytest.raises(RegistryUnavailable):
                registry.exists("x")
            assert seconds() < SOON + SLACK


def test_too_few_replicas_are_an_outage(face: Face) -> None:
    """
    A server that wants replicas to write to, and has none, is unavailable for writes.
    """
    with Valkey(min_replicas_to_write=1) as server, face(server.url) as registry:
        with pytest.raises(RegistryUnavailable, match="redis"):
            registry.create()
        assert not registry.exists("x")


@pytest.mark.parametrize("kind", ["tls", "tcp"])
def test_a_server_that_is_down_is_not_taken_for_another(face: Face, kind: str) -> None:
    """
    Nobody listens: that is an outage, whatever the scheme.
    """
    scheme = "rediss" if kind == "tls" else "redis"
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with face(url, timeout=SOON) as registry, pytest.raises(RegistryUnavailable):
        registry.exists("x")


@pytest.mark.parametrize(
    ("url", "nodes", "options", "service"),
    [
        pytest.param("valkey://h", (("h", 6379),), {}, None, id="valkey"),
        pytest.param("valkeys://h:1/2", (("h", 1),), {"db": 2}, None, id="valkeys"),
        pytest.param(
            "redis+unix://u:p@/a%20b/c.sock?db=3",
            (("/a b/c.sock", 0),),
            {"username": "u", "password": "p", "db": 3},
            None,
            id="a socket",
        ),
        pytest.param("unix:///s", (("/s", 0),), {}, None, id="unix"),
        pytest.param(
            "redis+sentinel://:p@a,b:1,[::1]:2/my%20service/4",
            (("a", 26379), ("b", 1), ("::1", 2)),
            {"password": "p", "db": 4},
            "my service",
            id="Sentinels",
        ),
        pytest.param(
            "rediss+sentinel://a/s?ssl_ca_certs=/c&sentinel_password=x",
            (("a", 26379),),
            {"ssl_ca_certs": "/c"},
            "s",
            id="Sentinels through TLS",
        ),
    ],
)
def test_a_url_leads_where_it_says(
    url: str, nodes: object, options: object, service: str | None
) -> None:
    """
    Sockets, Sentinels and Valkey's own schemes are followed.
    """
    target = parse_url(url, url.partition(":")[0])
    assert (target.nodes, target.options, target.service) == (nodes, options, service)
    if "sentinel_password" in url:
        assert target.sentinel_options == {"password": "x", "ssl_ca_certs": "/c"}
        assert target.kind_of(("b", 1)) == "tls"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        pytest.param("redis+unix://host/s", r"write 'redis\+unix:///run", id="a host"),
        pytest.param("redis+unix://", "the path of a socket", id="no path"),
        pytest.param("redis+unix:///s?db=x", "number of a database", id="no number"),
        pytest.param("redis+unix:///s?db=", "number of a database", id="nothing as number"),
        pytest.param("redis+unix:///s?x=1", "each of these options once: db", id="an option"),
        pytest.param("redis+unix://[/s", "the path of a socket", id="a bracket"),
        pytest.param("redis+sentinel://a:1", "names a service", id="no service"),
        pytest.param("redis+sentinel://a/s/x", "names a service", id="no number"),
        pytest.param("redis+sentinel:///s", "hosts of Sentinels", id="no host"),
        pytest.param("redis+sentinel://a,,b/s", "hosts of Sentinels", id="a host too few"),
        pytest.param("redis+sentinel://a/s?x=1", "sentinel_username", id="an unknown option"),
        pytest.param("redis+sentinel://a/s?ssl_ca_certs=/c", "once", id="TLS without"),
        pytest.param("redis://h?db=1", "at the end, as in 'redis://host:6379/1'", id="db"),
        pytest.param("valkey://h?db=1", "only valkeys://", id="valkey's options"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str, sentence: str) -> None:
    """
    A wrong URL is refused when it is opened, with a URL that works instead.
    """
    with pytest.raises(PolicyError, match=sentence):
        SessionRegistry.open(url)

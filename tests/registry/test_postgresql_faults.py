"""
A wrongly configured ``postgresql://`` is a fault with a sentence; one that is down is an outage.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from idlanyard import PolicyError
from idlanyard.registry import RegistryMisconfigured, RegistryUnavailable, SessionRegistry
from idlanyard.registry._postgresql._faults import connection_fault, was_terminated
from ports import free_port
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import fresh
from registry.patience import SLACK, stopwatch
from registry.postgres import PASSWORD, QUOTED, ROLE, PostgreSQL, execute

Face = Callable[..., AbstractContextManager[Opened]]
SHORT = 2.0


@pytest.fixture(params=[synchronous, asynchronous])
def face(request: pytest.FixtureRequest) -> Face:
    """
    The sync and the async registry.
    """
    chosen: Face = request.param
    return chosen


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A folder with a certificate of "localhost", signed by itself, and its key.
    """
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *kinds))
    return folder


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[PostgreSQL]:
    """
    A server with TLS, one role that may not log in, and one that may connect nowhere.
    """
    with PostgreSQL() as one:
        data = one.sockets / "data"
        for name, behind in (("cert.pem", "server.crt"), ("key.pem", "server.key")):
            # The server refuses files with another owner or mode.
            shutil.copy(data / "PG_VERSION", data / behind)
            stat = (data / "PG_VERSION").stat()
            (data / behind).write_bytes((certificate / name).read_bytes())
            shutil.chown(data / behind, stat.st_uid, stat.st_gid)
            (data / behind).chmod(0o600)
        rules = data / "pg_hba.conf"
        rules.write_text(f"host all refused 127.0.0.1/32 reject\n{rules.read_text()}")
        execute(one.url, "ALTER SYSTEM SET ssl = on")
        for role, options in (("refused", "LOGIN"), ("idle", "NOLOGIN"), ("nowhere", "LOGIN")):
            execute(one.url, f"CREATE ROLE {role} {options} PASSWORD '{PASSWORD}'")
        execute(one.url, "CREATE DATABASE private")
        execute(one.url, "REVOKE CONNECT ON DATABASE private FROM PUBLIC")
        one.restart()
        yield one


def put_into(pattern: str, server: PostgreSQL, certificate: Path) -> str:
    """
    Return a URL with the placeholders of its pattern replaced.
    """
    return pattern.format(
        port=server.port,
        free=free_port(),
        password=QUOTED,
        secret=QUOTED,
        role=ROLE,
        folder=quote(str(certificate), safe=""),
        sockets=quote(str(server.sockets), safe=""),
    )


FAULTS = [
    pytest.param("{role}:n0t-it@127.0.0.1:{port}/postgres", "password is wrong", id="password"),
    pytest.param("nobody:{secret}@127.0.0.1:{port}/postgres", "no such role", id="role"),
    pytest.param("{role}@127.0.0.1:{port}/postgres", "wants a password", id="no password"),
    pytest.param("{role}:{secret}@127.0.0.1:{port}/nowhere", "no such database", id="database"),
    pytest.param("refused:{secret}@127.0.0.1:{port}/postgres", "pg_hba.conf", id="pg_hba"),
    pytest.param("idle:{secret}@127.0.0.1:{port}/postgres", "ALTER ROLE", id="may not log in"),
    pytest.param("nowhere:{secret}@127.0.0.1:{port}/private", "GRANT CONNECT", id="no right"),
    pytest.param(
        "{role}:{secret}@127.0.0.1:{port}/postgres?sslmode=verify-ca&sslrootcert={folder}/no.pem",
        "sslrootcert",
        id="no file of an authority",
    ),
    pytest.param(
        "{role}:{secret}@127.0.0.1:{port}/postgres?sslmode=verify-ca&sslrootcert=system",
        "sslrootcert",
        id="system's authorities need more",
    ),
    pytest.param(
        "{role}:{secret}@127.0.0.1:{port}/postgres?sslmode=verify-full"
        "&sslrootcert={folder}/cert.pem",
        "sslrootcert",
        id="another name",
    ),
    pytest.param(
        "{role}:{secret}@127.0.0.1:{port}/postgres?sslmode=require&sslcert={folder}/cert.pem"
        "&sslkey={folder}/no.pem",
        "sslcert and sslkey",
        id="no key",
    ),
    pytest.param(
        "{role}:{secret}@/postgres?host={sockets}&port={port}&sslmode=require&gssencmode=require",
        "gssencmode",
        id="no GSSAPI",
    ),
    pytest.param("{role}@127.0.0.1:{port}/postgres?sslmode=no", "options", id="no such mode"),
    pytest.param(
        "{role}:{secret}@127.0.0.1:{port}/postgres?options=-cno_such_thing%3D1",
        "options",
        id="options",
    ),
    pytest.param(
        "{role}:n0t-it@127.0.0.1:{port},localhost:{port}/postgres",
        "password is wrong",
        id="several hosts that refuse",
    ),
]


@pytest.mark.parametrize(("pattern", "fault"), FAULTS)
def test_what_waiting_will_not_mend_is_told(
    server: PostgreSQL, certificate: Path, face: Face, pattern: str, fault: str
) -> None:
    """
    A fault of configuration is RegistryMisconfigured, with a sentence without secrets.
    """
    url = put_into(pattern, server, certificate)
    with (
        face(f"postgresql://{url}") as registry,
        pytest.raises(RegistryMisconfigured, match=fault) as raised,
    ):
        registry.create("x")
    told = f"{raised.value!r} {raised.value.__cause__!r}"
    assert "n0t-it" not in told
    assert PASSWORD not in told
    assert raised.value.scheme == "postgresql"


def test_a_server_without_tls_is_told(face: Face) -> None:
    """
    TLS to a server without TLS is a fault of configuration.
    """
    with (
        PostgreSQL() as plain,
        face(f"{plain.url}?sslmode=require") as registry,
        pytest.raises(RegistryMisconfigured, match="sslmode=disable"),
    ):
        registry.create("x")


def test_a_server_that_wants_tls_is_told(face: Face) -> None:
    """
    A plain connection to a server that requires TLS is a fault with the option to write.
    """
    with PostgreSQL() as plain:
        rules = plain.sockets / "data" / "pg_hba.conf"
        rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        plain.restart()
        with (
            face(f"{plain.url}?sslmode=disable") as registry,
            pytest.raises(RegistryMisconfigured, match="sslmode=require"),
        ):
            registry.create("x")


def test_an_address_of_something_else_is_told(face: Face) -> None:
    """
    A server of another kind at the address is a fault of configuration.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer() -> None:
            with closing(other.accept()[0]) as taken:
                taken.recv(100)
                taken.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                while taken.recv(100):
                    pass

        thread = Thread(target=answer)
        thread.start()
        with (
            face(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable") as registry,
            pytest.raises(RegistryMisconfigured, match="no PostgreSQL at this address"),
        ):
            registry.create("x")
        thread.join()


OUTAGES = [
    pytest.param("{role}:{secret}@127.0.0.1:{free}/postgres", id="nobody listens"),
    pytest.param("{role}:{secret}@127.0.0.1:{silent}/postgres", id="silence"),
    pytest.param("{role}:{secret}@/postgres?host={sockets}&port=1", id="no socket"),
    pytest.param("{role}:{secret}@no-such-host.invalid/postgres", id="no such name"),
    pytest.param(
        "{role}:n0t-it@127.0.0.1:{port},127.0.0.1:{free}/postgres", id="one refuses, one is down"
    ),
    pytest.param(
        "{role}:n0t-it@127.0.0.1:{free},127.0.0.1:{port}/postgres", id="one is down, one refuses"
    ),
    pytest.param(
        "{role}:{secret}@127.0.0.1:{port}/postgres?target_session_attrs=standby",
        id="no standby yet",
    ),
]


@pytest.mark.parametrize("pattern", OUTAGES)
def test_what_waiting_may_mend_is_unavailable_in_time(
    server: PostgreSQL, face: Face, pattern: str
) -> None:
    """
    An outage is RegistryUnavailable within the timeout and half a second.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listening = silent.getsockname()[1]
        url = put_into(pattern.replace("{silent}", str(listening)), server, Path())
        with face(f"postgresql://{url}", timeout=SHORT) as registry, stopwatch() as seconds:
            with pytest.raises(RegistryUnavailable):
                registry.create("x")
            assert seconds() < SHORT + SLACK


def test_a_silent_host_leaves_time_for_the_next(server: PostgreSQL, face: Face) -> None:
    """
    Of three hosts the first two are silent, and the third is reached in time.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        hosts = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two))
        url = f"postgresql://{ROLE}:{QUOTED}@{hosts},127.0.0.1:{server.port}/postgres"
        with face(url, timeout=SHORT) as registry:
            assert not registry.exists(fresh())


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_schemes_lead_to_the_server(server: PostgreSQL, face: Face, scheme: str) -> None:
    """
    ``postgres://`` is the same as ``postgresql://``.
    """
    url = server.url.replace("postgresql:", f"{scheme}:")
    with face(url) as registry:
        assert not registry.exists(fresh())


def test_the_message_of_a_wrong_url_works_when_it_is_written() -> None:
    """
    The URL that the message suggests is accepted.
    """
    with pytest.raises(PolicyError) as raised:
        SessionRegistry.open("postgres://u:p@h:5432,/d?=")
    _, written, _ = str(raised.value).split("'")
    SessionRegistry.open(written).close()


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        pytest.param("", False, id="nothing"),
        pytest.param("FATAL:  the database system is starting up", False, id="starting up"),
        pytest.param("FATAL:  the database system is shutting down", False, id="shutting down"),
        pytest.param("FATAL:  the database system is in recovery mode", False, id="recovery"),
        pytest.param("FATAL:  sorry, too many clients already", False, id="full"),
        pytest.param(
            "FATAL:  remaining connection slots are reserved for superusers", False, id="reserved"
        ),
        pytest.param("Connection refused", False, id="refused"),
        pytest.param("SSL error: certificate verify failed", True, id="authority"),
        pytest.param("Psycopg cannot use the 'ProactorEventLoop'", True, id="loop"),
        pytest.param('FATAL:  LDAP authentication failed for user "u"', True, id="other way"),
    ],
)
def test_refusals_are_told_by_their_text(text: str, is_told: bool) -> None:
    """
    Refused connections have no code, and are recognised by their text.
    """
    assert (connection_fault(psycopg.OperationalError(text)) is not None) is is_told


@pytest.mark.parametrize(
    ("error", "is_ended"),
    [
        pytest.param(psycopg.errors.AdminShutdown("no matter"), True, id="by its code"),
        pytest.param(
            psycopg.OperationalError("terminating connection due to administrator command"),
            True,
            id="by its text",
        ),
        pytest.param(
            psycopg.OperationalError(
                "canceling the wait for synchronous replication and "
                "terminating connection due to administrator command"
            ),
            False,
            id="done, but not on the standby",
        ),
        pytest.param(
            psycopg.errors.CrashShutdown("terminating connection because of crash"),
            False,
            id="perhaps done",
        ),
        pytest.param(psycopg.OperationalError("server closed the connection"), False, id="lost"),
        pytest.param(TimeoutError(), False, id="no answer"),
    ],
)
def test_only_what_was_surely_not_done_is_asked_again(error: BaseException, is_ended: bool) -> None:
    """
    A statement that may have been done is never repeated.
    """
    assert was_terminated(error) is is_ended

"""
Fixtures and steps that the tests of Redis share.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import Redis
from redis.exceptions import (
    RedisError,
)

from idlanyard.registry import (
    RegistryUnavailable,
    SessionRegistry,
)
from idlanyard.registry._redis._keys import TAGS, Namespace
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import fresh
from registry.relay import Relay
from registry.valkey import Valkey, ValkeyCluster

Face = Callable[..., AbstractContextManager[Opened]]


# Shorter than what a test may take, longer than a loaded machine stalls.
SOON = 1.0


@pytest.fixture(params=[synchronous, asynchronous])
def face(request: pytest.FixtureRequest) -> Face:
    """
    Return how to open a registry: one that waits, or one that is awaited.
    """
    chosen: Face = request.param
    return chosen


@pytest.fixture(params=["valkey", "cluster"])
def anywhere(request: pytest.FixtureRequest) -> str:
    """
    Return the URL of a server, and of a cluster.
    """
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def server() -> Iterator[Valkey]:
    """
    Start a server of the test's own.
    """
    with Valkey(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """
    Return a namespace of the test's own.
    """
    return f"t{uuid4().hex}"


@pytest.fixture
def space(namespace: str) -> Namespace:
    """
    Return the names of the keys in that namespace.
    """
    return Namespace(namespace)


def key_of(name: str) -> bytes:
    """
    Return the key of an ID.
    """
    return sha256(name.encode()).digest()


def where(space: Namespace, name: str) -> bytes:
    """
    Return the name of a session's key.
    """
    return space.session(key_of(name))


def alike(count: int, *, tag: int = 0) -> list[str]:
    """
    Return IDs that are all in one index.
    """
    names: list[str] = []
    while len(names) < count:
        name = fresh()
        if key_of(name)[0] % TAGS == tag:
            names.append(name)
    return names


@contextmanager
def unavailable(*causes: type[Exception]) -> Iterator[None]:
    """
    Expect that the store is unavailable, for one of these reasons.
    """
    with pytest.raises(RegistryUnavailable) as raised:
        yield
    assert isinstance(raised.value.__cause__, causes or (RedisError, OSError))
    assert str(raised.value) == "the session registry's redis store is unavailable"


def follow(registry: SessionRegistry, steps: Any) -> Any:
    """
    Return the answer that a store's steps lead to.
    """
    return registry._store._follow(steps)  # type: ignore[attr-defined]


def once(method: str, *arguments: Any) -> Any:
    """
    Return the steps that consist of this one.
    """
    answer = yield method, arguments
    return answer


def run(program: str, *arguments: str) -> str:
    """
    Run a program that ends in success; return its standard error.

    Coverage is off in it: a thread that is interrupted inside coverage keeps its lock for ever.
    """
    surroundings = {name: text for name, text in os.environ.items() if "COV" not in name}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=surroundings,
    )
    assert done.stdout == "well\n", done.stderr
    return done.stderr


def index_sizes(client: Redis, kind: str = "client") -> int:
    """
    Return the number of entries that all indexes have together.
    """
    return sum(client.zcard(key) for key in client.scan_iter(match=f"*:{kind}:*", count=1000))


def connections(server: Valkey) -> int:
    """
    Return the number of a server's connections, without the one that counts them.
    """
    with server.client() as client:
        return len(client.client_list()) - 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a file with a certificate for 127.0.0.1 and its key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idlanyard")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = serialization.Encoding.PEM
    secret = key.private_bytes(
        text, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(made.public_bytes(text) + secret)
    return path


REQUEST = b"r" * 32


class Route:
    """
    A way to a server or a cluster on which answers can be lost.
    """

    def __init__(self, relays: list[Relay], url: str) -> None:
        self.relays = relays
        self.url = url
        for relay in relays:
            relay.marks = relays[0].marks

    def lose(self, mark: bytes, between: Callable[[], object] = lambda: None) -> None:
        """
        Lose the answer to the next question with this in it, wherever it goes.
        """
        self.relays[0].lose(mark)
        for relay in self.relays:
            relay.between = between

    @property
    def lost(self) -> int:
        """
        The number of lost answers.
        """
        return sum(relay.lost for relay in self.relays)


@contextmanager
def cluster_behind(relays: list[Relay]) -> Iterator[Route]:
    """
    Start a cluster that is reached through relays only.
    """
    with ExitStack() as stack:
        for relay in relays:
            stack.enter_context(relay)
        servers = stack.enter_context(ValkeyCluster(announced=[relay.port for relay in relays]))
        for relay, node in zip(relays, servers.nodes, strict=True):
            relay.target = node.port
        yield Route(relays, relays[0].url)


def works(registry: Opened, name: str) -> bool:
    """
    Return whether the registry finds a session; ``False`` if it is unavailable.
    """
    try:
        return bool(registry.exists(name))
    except RegistryUnavailable:
        return False


def id_of(record: Any) -> str:
    """
    Return the ID of a session.
    """
    return str(record.session_id)

"""
Envoy ends mutual TLS and says who the client is, as docs/certificates.md configures it; no client
says it in its place, neither in a header nor in its own certificate.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from assertions.minting import ec_key, private_pem_of
from attacks.test_raw_requests import SERVERS
from ports import free_port
from servers.caches import binary
from servers.launch import Address, Running, running
from servers.proxies import start_process
from servers.raw import Line, ask

PAGE = Path(__file__).parents[2].joinpath("docs", "certificates.md").read_text(encoding="utf-8")
(SANITIZE_SET,) = re.findall(r"```yaml\n(forward_client_cert.*?)```", PAGE, re.DOTALL)
MODES = {
    "SANITIZE_SET": SANITIZE_SET,
    "APPEND_FORWARD": SANITIZE_SET.replace("SANITIZE_SET", "APPEND_FORWARD"),
    "SANITIZE": "forward_client_cert_details: SANITIZE\n",
}
WEB, ADMIN = "spiffe://mesh/web", "spiffe://mesh/admin"
NAMES = {
    "web": ("web", WEB),
    "comma": (f"x,URI={ADMIN}", WEB),
    "quote": (f'x";URI={ADMIN};Subject="', WEB),
    "backslash": (f'x\\";URI={ADMIN}', WEB),
    "nothing": ("web", None),
    "a URI with another": ("web", f"https://x/;URI={ADMIN}"),
    "a URI with an element": ("web", f"https://x/,URI={ADMIN}"),
}
LISTENER = """
    - name: {name}
      address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": {extensions}.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              common_tls_context:
                tls_certificates:
                  - certificate_chain: {{filename: server.pem}}
                    private_key: {{filename: server.key}}
                validation_context: {{trusted_ca: {{filename: authority.pem}}}}
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": {extensions}.{manager}
                stat_prefix: {name}
{mode}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": {extensions}.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: service
                      domains: ["*"]
                      routes: [{{match: {{prefix: /}}, route: {{cluster: service}}}}]
"""
ENVOY = """
static_resources:
  listeners:{listeners}
  clusters:
    - name: service
      load_assignment:
        cluster_name: service
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
"""


def sign_certificate(folder: Path, file: str, name: str, other: x509.GeneralName | None) -> None:
    """
    Write a certificate of the authority, which is its own, and its key.
    """
    now = dt.datetime.now(dt.UTC)
    is_authority = file == "authority"
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
        .public_key(ec_key(file).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if other is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([other]), critical=False)
    made = builder.sign(ec_key("authority"), SHA256())
    folder.joinpath(f"{file}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    folder.joinpath(f"{file}.key").write_text(private_pem_of(ec_key(file)), encoding="ascii")


@dataclass
class Secured(Running):
    """
    A listener of Envoy as a client with a certificate reaches it.

    Attributes:
        context: with the client's certificate.
    """

    context: ssl.SSLContext

    def connect(self) -> socket.socket:
        """
        Return a new connection, after the handshake.
        """
        return self.context.wrap_socket(super().connect(), server_hostname="127.0.0.1")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Address]]]:
    """
    Envoy in front of a service, with a listener for each way to forward, and certificates.
    """
    folder = tmp_path_factory.mktemp("mesh")
    sign_certificate(folder, "authority", "authority", None)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    sign_certificate(folder, "server", "server", address)
    for file, (name, uri) in NAMES.items():
        other = None if uri is None else x509.UniformResourceIdentifier(uri)
        sign_certificate(folder, file, name, other)
    ports = {mode: free_port() for mode in MODES}
    listeners = "".join(
        LISTENER.format(
            extensions="type.googleapis.com/envoy.extensions",
            manager="filters.network.http_connection_manager.v3.HttpConnectionManager",
            name=mode,
            port=ports[mode],
            mode="".join(f"{' ' * 16}{line}\n" for line in lines.splitlines()),
        )
        for mode, lines in MODES.items()
    )
    with running(SERVERS[0]) as up:
        assert isinstance(up.address, tuple)
        text = ENVOY.format(listeners=listeners, port=up.address[1])
        folder.joinpath("envoy.yaml").write_text(text, encoding="utf-8")
        words = [binary("envoy"), "-c", "envoy.yaml", "--disable-hot-restart", "--concurrency", "1"]
        addresses: dict[str, Address] = {mode: ("127.0.0.1", port) for mode, port in ports.items()}
        with start_process("envoy", words, addresses["SANITIZE"], folder, {}):
            yield folder, addresses


SPOOFS: dict[str, list[Line]] = {
    "nothing": [],
    "a header": [("X-Forwarded-Client-Cert", f"URI={ADMIN}")],
    "an open quote": [("X-Forwarded-Client-Cert", f'URI={ADMIN};Subject="')],
    "an open escape": [("X-Forwarded-Client-Cert", f'URI={ADMIN};Subject="\\')],
    "two lines": [("X-Forwarded-Client-Cert", f"URI={ADMIN}")] * 2,
    "an alias": [("X_Forwarded_Client_Cert", f"URI={ADMIN}")],
}


def users_of(mesh: tuple[Path, dict[str, Address]], mode: str, path: str, file: str) -> list[str]:
    """
    Return the user of each spoof of a client with one certificate.
    """
    folder, addresses = mesh
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    # The authority of the test has no key identifiers, which Python 3.13 asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(folder / f"{file}.pem", folder / f"{file}.key")
    up = Secured(SERVERS[0], addresses[mode], folder / "envoy.output", context)
    answers = [ask(up, path, lines) for lines in SPOOFS.values()]
    assert {answer.status for answer in answers} == {200}
    return [answer.json()["ids"].get("user_id") for answer in answers]


def test_envoy_names_the_client_of_the_connection(
    mesh: tuple[Path, dict[str, Address]],
) -> None:
    """
    S1: with SANITIZE_SET the certificate of the connection is the user, whatever the client sends.
    """
    # An alias of the header beside it leaves nobody, as under any server that keeps both.
    everybody = [WEB] * 5 + [None]
    assert users_of(mesh, "SANITIZE_SET", "/meshed/", "web") == everybody
    assert users_of(mesh, "SANITIZE_SET", "/appended/", "web") == everybody
    assert users_of(mesh, "SANITIZE_SET", "/meshed/", "nothing") == [None] * 6


@pytest.mark.parametrize("file", ["comma", "quote", "backslash"])
def test_a_certificate_names_nobody_else(mesh: tuple[Path, dict[str, Address]], file: str) -> None:
    """
    S1: a common name that looks like a part of the header is not one.
    """
    for mode, path in (("SANITIZE_SET", "/meshed/"), ("APPEND_FORWARD", "/appended/")):
        assert set(users_of(mesh, mode, path, file)) <= {WEB, None}


@pytest.mark.parametrize("file", ["a URI with another", "a URI with an element"])
def test_a_uri_that_holds_another_is_none(mesh: tuple[Path, dict[str, Address]], file: str) -> None:
    """
    S1: a URI that looks like a part of the header is no ID, and neither is the one in it.
    """
    assert set(users_of(mesh, "SANITIZE_SET", "/meshed/", file)) == {None}


def test_what_a_client_sent_is_not_what_envoy_appends(
    mesh: tuple[Path, dict[str, Address]],
) -> None:
    """
    S1, S4: with APPEND_FORWARD only the last element is believed, and only where that is asked for.
    """
    last = users_of(mesh, "APPEND_FORWARD", "/appended/", "web")
    assert last[:2] == [WEB, WEB]
    assert set(last) <= {WEB, None}
    assert users_of(mesh, "APPEND_FORWARD", "/meshed/", "web") == [WEB, *[None] * 5]


def test_where_envoy_forwards_nothing_there_is_nobody(
    mesh: tuple[Path, dict[str, Address]],
) -> None:
    """
    S1: by default Envoy takes the header out, and nobody is named.
    """
    assert users_of(mesh, "SANITIZE", "/meshed/", "web") == [None] * 6

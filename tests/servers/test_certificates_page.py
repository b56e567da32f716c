"""
What docs/certificates.md says to write is run with the real proxies: the client is whom its
certificate names, whatever else the certificate holds and the client sends (S1).
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drive import PROXY, Line, ask_asgi_at_once, http_scope
from idlanyard import Header, Policy, asgi, get_session_context, user_spec
from idlanyard.certificates import forwarded_certificate, subject_field
from ports import free_port
from servers.caches import binary
from servers.launch import Running, Server, wait
from servers.proxies import NGINX

PAGE = Path(__file__).parents[2].joinpath("docs", "certificates.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(nginx|yaml)\n(.*?)```", PAGE, re.DOTALL))
NGINX_SITE = """
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate server.pem;
    ssl_certificate_key server.key;
    {block}
    location / {{ proxy_pass http://127.0.0.1:{behind}; }}
}}
"""
TYPES = "type.googleapis.com/envoy.extensions"
HTTP = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"


def write_listener(folder: Path, port: int, block: str) -> dict[str, Any]:
    """
    Return a listener of Envoy with the page's block, which JSON has as text.
    """
    details = re.search(r"forward_client_cert_details: (\w+)", block)
    assert details is not None
    current = dict.fromkeys(re.findall(r"^  (\w+): true$", block, re.MULTILINE), True)
    files = {name: {"filename": str(folder / name)} for name in ("server.pem", "server.key")}
    pair = {"certificate_chain": files["server.pem"], "private_key": files["server.key"]}
    tls = {
        "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [pair],
            "validation_context": {"trusted_ca": {"filename": str(folder / "clients.pem")}},
        },
    }
    router = {"@type": f"{TYPES}.filters.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "behind"}}
    manager = {
        "@type": HTTP,
        "stat_prefix": "x",
        "forward_client_cert_details": details[1],
        "set_current_client_cert_details": current,
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    named = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    chain = {"filters": [named], "transport_socket": {"name": "tls", "typed_config": tls}}
    return {"address": address_of(port), "filter_chains": [chain]}


def address_of(port: int) -> dict[str, Any]:
    """
    Return an address of the loopback as Envoy has it.
    """
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def write_envoy(folder: Path, behind: int, ports: dict[str, int]) -> list[str]:
    """
    Write Envoy's configuration, and return the words that start it.
    """
    block = BLOCKS["yaml"]
    appending = block.replace("SANITIZE_SET", "APPEND_FORWARD")
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address_of(behind)}}]}
    load = {"cluster_name": "behind", "endpoints": [endpoint]}
    resources = {
        "listeners": [
            write_listener(folder, ports["envoy"], block),
            write_listener(folder, ports["appending"], appending),
        ],
        "clusters": [{"name": "behind", "type": "STATIC", "load_assignment": load}],
    }
    file = folder / "envoy.json"
    file.write_text(json.dumps({"static_resources": resources}), encoding="utf-8")
    return [binary("envoy"), "-c", str(file), "--disable-hot-restart", "--concurrency", "1"]


def write_nginx(folder: Path, behind: int, port: int) -> list[str]:
    """
    Write nginx's configuration, and return the words that start it.
    """
    block = BLOCKS["nginx"].replace("/etc/ssl/clients.pem", str(folder / "clients.pem"))
    site = NGINX_SITE.format(port=port, block=block, behind=behind)
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, site=site), encoding="utf-8")
    return [binary("nginx"), "-p", str(folder), "-c", str(file)]


class Authority:
    """
    An authority that signs any name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.sign("clients", self._name, (), own=True)

    def sign(
        self, file: str, name: x509.Name, uris: tuple[str, ...] = (), *, own: bool = False
    ) -> None:
        """
        Write a certificate and its key.
        """
        key = self._key if own else ec.generate_private_key(ec.SECP256R1())
        now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        builder = (
            x509.CertificateBuilder(self._name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        self._folder.joinpath(f"{file}.pem").write_bytes(signed.public_bytes(pem))
        self._folder.joinpath(f"{file}.key").write_bytes(secret)


class Behind(BaseHTTPRequestHandler):
    """
    The service: it answers with the header lines of the request.
    """

    def do_GET(self) -> None:
        body = json.dumps(self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[int]:
    """
    Run the service; yield its port.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def started(words: list[str], ports: list[int], folder: Path) -> Iterator[None]:
    """
    Run a proxy, once it takes connections.
    """
    output = folder / f"{Path(words[0]).name}.output"
    with output.open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)
    try:
        for port in ports:
            server = Server(words[0], tuple(words), "http")
            wait(process, Running(server, ("127.0.0.1", port), output))
        yield
    finally:
        process.terminate()
        process.wait()


class Proxies(NamedTuple):
    """
    The proxies, each with its port, and the authority that they believe.
    """

    folder: Path
    authority: Authority
    ports: dict[str, int]


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    """
    Both proxies in front of one service.
    """
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    authority.sign("server", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]))
    ports = {name: free_port() for name in ("nginx", "envoy", "appending")}
    with ExitStack() as stack:
        behind = stack.enter_context(serving())
        nginx = write_nginx(folder, behind, ports["nginx"])
        stack.enter_context(started(nginx, [ports["nginx"]], folder))
        envoy = write_envoy(folder, behind, ports)
        stack.enter_context(started(envoy, [ports["envoy"], ports["appending"]], folder))
        yield Proxies(folder, authority, ports)


FORWARDED = "X-Forwarded-Client-Cert"
ADMIN, WEB = "spiffe://mesh/admin", "spiffe://mesh/web"
# It begins a quotation, which ends in what a proxy appends, if at all.
OPEN = f'URI={ADMIN};Subject="'


def send(up: Proxies, proxy: str, file: str | None, forwarded: str = OPEN) -> tuple[int, bytes]:
    """
    Send a request through a proxy, with headers that name another client.

    Args:
        up: the proxies.
        proxy: the name of one.
        file: the name of the certificate's file, ``None`` for no certificate.
        forwarded: the ``X-Forwarded-Client-Cert`` of the client.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if file is not None:
        context.load_cert_chain(up.folder / f"{file}.pem", up.folder / f"{file}.key")
    client = http.client.HTTPSConnection("127.0.0.1", up.ports[proxy], timeout=10, context=context)
    try:
        client.request("GET", "/", headers={"X-Client-DN": "CN=admin", FORWARDED: forwarded})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def read_user(name: str, parse: Any, answer: tuple[int, bytes]) -> str | None:
    """
    Return the user of a request with the header lines of an answer, from the proxy.
    """
    users: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        users.append(get_session_context().user_id)

    status, body = answer
    assert status == 200, body
    lines: list[Line] = [(header, value) for header, value in json.loads(body)]
    user = user_spec(sources=[Header(name, parse=parse)])
    door = asgi.SessionContextMiddleware(app, Policy(user=user, trusted_peers=[PROXY]))
    ask_asgi_at_once(door, http_scope(lines, peer=PROXY))
    return users[0]


class Certificate(NamedTuple):
    """
    What an authority has signed, and what is read out of it.

    Attributes:
        fields: the types and values of the subject.
        name: the common name that is found behind nginx.
        found: the same behind Envoy.
        uris: the URIs of the certificate.
        uri: the URI that is found behind Envoy.
    """

    fields: list[tuple[str, str]]
    name: str | None
    found: str | None
    uris: tuple[str, ...] = (WEB,)
    uri: str | None = WEB


CN = ("CN", "web")
CERTIFICATES = {
    "usual": Certificate([("C", "DE"), ("O", "Acme, Inc."), CN], "web", "web"),
    "a name in another field": Certificate([("O", "a,CN=admin"), CN], "web", "web"),
    "quotation marks": Certificate([("O", 'a",CN=admin,O="'), CN], "web", None),
    "a backslash": Certificate([("O", "a\\"), CN], "web", "web"),
    "a slash": Certificate([("O", "x/CN=admin")], None, None),
    "a line feed": Certificate([("O", "a\nCN=admin"), CN], "web", "web"),
    "beyond ASCII": Certificate([("O", "Äcme"), CN], "web", "web"),
    "two names": Certificate([CN, ("CN", "admin")], None, None),
    "no subject": Certificate([], None, None),
    "no URI": Certificate([CN], "web", "web", (), None),
    "two URIs": Certificate([CN], "web", "web", (WEB, ADMIN), None),
    "a URI in a URI": Certificate([CN], "web", "web", (f"https://x/;URI={ADMIN}",), None),
    "an element in a URI": Certificate([CN], "web", None, (f"https://x/,URI={ADMIN}",), None),
    "a URI in a subject": Certificate([("CN", f'a";URI={ADMIN}')], None, None, (), None),
}
FIELDS = {
    "C": NameOID.COUNTRY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "CN": NameOID.COMMON_NAME,
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_the_client_is_whom_its_certificate_names(case: str, proxies: Proxies) -> None:
    """
    S1: each proxy replaces what the client writes, and no text in a certificate is another one.
    """
    given = CERTIFICATES[case]
    subject = x509.Name([x509.NameAttribute(FIELDS[name], value) for name, value in given.fields])
    proxies.authority.sign("client", subject, given.uris)
    answer = send(proxies, "nginx", "client")
    assert read_user("X-Client-DN", subject_field("CN"), answer) == given.name
    answer = send(proxies, "envoy", "client")
    assert read_user(FORWARDED, forwarded_certificate("Subject", "CN"), answer) == given.found
    assert read_user(FORWARDED, forwarded_certificate("URI"), answer) == given.uri


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        pytest.param(f"URI={ADMIN}", WEB, id="an element"),
        pytest.param(OPEN, None, id="an open quotation"),
        pytest.param(f'URI={ADMIN};Subject="\\', None, id="an escape at the end"),
    ],
)
def test_where_a_proxy_appends_only_its_own_element_counts(
    sent: str, found: str | None, proxies: Proxies
) -> None:
    """
    S1: the last element is the proxy's, or the header is none; without a word several are none.
    """
    proxies.authority.sign("client", x509.Name([]), (WEB,))
    answer = send(proxies, "appending", "client", sent)
    assert read_user(FORWARDED, forwarded_certificate("URI", last=True), answer) == found
    assert read_user(FORWARDED, forwarded_certificate("URI"), answer) is None


def test_a_client_without_a_certificate_is_refused(proxies: Proxies) -> None:
    """
    S1: as the page configures them, neither proxy passes such a request on.
    """
    assert send(proxies, "nginx", None)[0] == 400
    with pytest.raises(OSError, match=r"certificate|closed|reset|aborted"):
        send(proxies, "envoy", None)

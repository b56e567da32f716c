"""
What docs/certificates.md says to write is run with nginx: the client is whom its certificate
names, whatever else the certificate holds and the client sends (S1).
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import re
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drive import PROXY, Line, ask_asgi_at_once, http_scope
from idlanyard import Header, Policy, asgi, get_session_context, user_spec
from idlanyard.certificates import subject_field
from ports import free_port
from servers.caches import binary
from servers.proxies import NGINX, serving, start_process

PAGE = Path(__file__).parents[2].joinpath("docs", "certificates.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
NGINX_SITE = """
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate server.pem;
    ssl_certificate_key server.key;
    {block}
    location / {{ proxy_pass http://127.0.0.1:{behind}; }}
}}
"""


def write_nginx(folder: Path, behind: int, port: int) -> list[str]:
    """
    Write nginx's configuration, and return the words that start it.
    """
    block = BLOCK.replace("/etc/ssl/clients.pem", str(folder / "clients.pem"))
    site = NGINX_SITE.format(port=port, block=block, behind=behind)
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, site=site), encoding="utf-8")
    return [binary("nginx"), "-p", str(folder), "-c", str(file)]


class Authority:
    """
    An authority that signs any name.

    Attributes:
        folder: where its certificates are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.sign("clients", self._name, own=True)

    def sign(self, file: str, name: x509.Name, *, own: bool = False) -> tuple[Path, Path]:
        """
        Write a certificate and its key, and return their files.
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
        signed = builder.sign(self._key, hashes.SHA256())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        files = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        files[0].write_bytes(signed.public_bytes(pem))
        files[1].write_bytes(secret)
        return files


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


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """
    The authority that nginx believes, with a certificate of nginx.
    """
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.sign("server", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]))
    return made


@pytest.fixture(scope="module")
def nginx(authority: Authority) -> Iterator[int]:
    """
    The port of nginx, in front of the service.
    """
    port = free_port()
    with serving(Behind) as behind:
        words = write_nginx(authority.folder, behind, port)
        with start_process("nginx", words, ("127.0.0.1", port), authority.folder, {}):
            yield port


def send(port: int, files: tuple[Path, Path] | None) -> tuple[int, bytes]:
    """
    Send a request through nginx, with a header that names another client.

    Args:
        port: that of nginx.
        files: the client's certificate and its key, ``None`` for none.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if files is not None:
        context.load_cert_chain(*files)
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        client.request("GET", "/", headers={"X-Client-DN": "CN=admin"})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def read_user(answer: tuple[int, bytes]) -> str | None:
    """
    Return the user of a request with the header lines of an answer, from the proxy.
    """
    users: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        users.append(get_session_context().user_id)

    status, body = answer
    assert status == 200, body
    lines: list[Line] = [(header, value) for header, value in json.loads(body)]
    user = user_spec(sources=[Header("X-Client-DN", parse=subject_field("CN"))])
    door = asgi.SessionContextMiddleware(app, Policy(user=user, trusted_peers=[PROXY]))
    ask_asgi_at_once(door, http_scope(lines, peer=PROXY))
    return users[0]


CN = ("CN", "web")
SUBJECTS: dict[str, tuple[list[tuple[str, str]], str | None]] = {
    "usual": ([("C", "DE"), ("O", "Acme, Inc."), CN], "web"),
    "a name in another field": ([("O", "a,CN=admin"), CN], "web"),
    "quotation marks": ([("O", 'a",CN=admin,O="'), CN], "web"),
    "a backslash": ([("O", "a\\"), CN], "web"),
    "a slash": ([("O", "x/CN=admin")], None),
    "a line feed": ([("O", "a\nCN=admin"), CN], "web"),
    "beyond ASCII": ([("O", "Äcme"), CN], "web"),
    "two names": ([CN, ("CN", "admin")], None),
    "no subject": ([], None),
}
FIELDS = {
    "C": NameOID.COUNTRY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "CN": NameOID.COMMON_NAME,
}


@pytest.mark.parametrize("case", SUBJECTS)
def test_the_client_is_whom_its_certificate_names(
    case: str, nginx: int, authority: Authority
) -> None:
    """
    S1: nginx replaces what the client writes, and no text in a certificate is another field.
    """
    fields, user = SUBJECTS[case]
    subject = x509.Name([x509.NameAttribute(FIELDS[name], value) for name, value in fields])
    assert read_user(send(nginx, authority.sign("client", subject))) == user


def test_a_client_without_a_certificate_is_refused(nginx: int) -> None:
    """
    S1: as the page configures it, nginx does not pass such a request on.
    """
    assert send(nginx, None)[0] == 400

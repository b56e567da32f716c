"""
What docs/certificates.md says to write is run with nginx before an HTTP server and before uWSGI,
and with Apache and mod_wsgi: the client is whom its certificate names, whatever else the
certificate holds and the client sends (S1).
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import re
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import idlanyard
from drive import PROXY, Line, ask_asgi_at_once, http_scope
from idlanyard import Header, Policy, asgi, get_session_context, user_spec
from idlanyard.certificates import subject_field
from ports import free_port
from servers.caches import binary
from servers.launch import UWSGI
from servers.proxies import NGINX, serving, start_process

PAGE = Path(__file__).parents[2].joinpath("docs", "certificates.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
(APACHE_BLOCK,) = re.findall(r"```apache\n(.*?)```", PAGE, re.DOTALL)
(APACHE_SOURCE,) = re.findall(r"^\| Apache with mod_wsgi \| `(.*?)`", PAGE, re.MULTILINE)
NGINX_SITE = """
server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate server.pem;
    ssl_certificate_key server.key;
    uwsgi_param REQUEST_METHOD $request_method;
    uwsgi_param PATH_INFO $document_uri;
    uwsgi_param SERVER_NAME $server_name;
    uwsgi_param SERVER_PORT $server_port;
    uwsgi_param SERVER_PROTOCOL $server_protocol;
    {block}
    location / {{ proxy_pass http://127.0.0.1:{behind}; }}
    location /uwsgi {{ uwsgi_pass 127.0.0.1:{uwsgi}; }}
}}
"""
APACHE_MODULES = Path("/usr/lib/apache2/modules")
# Two sites: as the page has it, and one that asks for a certificate and takes any.
APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile pid
ErrorLog /dev/stderr
Mutex pthread
User #65534
Group #65534
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule wsgi_module {modules}/mod_wsgi.so
StartServers 1
ServerLimit 1
ThreadsPerChild 4
MaxRequestWorkers 4
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{lax_port}
SSLSessionCache none
SSLCertificateFile server.pem
SSLCertificateKeyFile server.key
WSGIScriptAlias / {folder}/site.wsgi
<VirtualHost 127.0.0.1:{port}>
    SSLEngine on
    {block}
</VirtualHost>
<VirtualHost 127.0.0.1:{lax_port}>
    SSLEngine on
    {lax_block}
</VirtualHost>
"""
# The package needs the standard library only, so that any Python of mod_wsgi can import it.
APPLICATION = """
import json, sys
sys.path.insert(0, {home!r})
from idlanyard import Environ, Policy, get_session_context, user_spec
from idlanyard.certificates import subject_field
from idlanyard.wsgi import SessionContextMiddleware

def say_user(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    shown = [get_session_context().user_id, environ["SSL_CLIENT_VERIFY"]]
    return [json.dumps(shown).encode()]

user = user_spec(sources=[{source}])
application = SessionContextMiddleware(say_user, Policy(user=user))
"""


def write_application(folder: Path, home: Path) -> Path:
    """
    Write an application that answers with the user and with the word of the server about it.

    Args:
        folder: where its file goes.
        home: where the package is.
    """
    file = folder / "site.wsgi"
    text = APPLICATION.format(home=str(home), source=APACHE_SOURCE)
    file.write_text(text, encoding="utf-8")
    return file


def write_nginx(folder: Path, behind: int, uwsgi: int, port: int) -> list[str]:
    """
    Write nginx's configuration, and return the words that start it.

    Args:
        folder: where the certificates are.
        behind: the port of the HTTP server.
        uwsgi: the port of uWSGI.
        port: where nginx listens.
    """
    block = BLOCK.replace("/etc/ssl/clients.pem", str(folder / "clients.pem"))
    site = NGINX_SITE.format(port=port, block=block, behind=behind, uwsgi=uwsgi)
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, site=site), encoding="utf-8")
    return [binary("nginx"), "-p", str(folder), "-c", str(file)]


def write_apache(folder: Path, authority: Path, port: int, lax_port: int) -> list[str]:
    """
    Write Apache's configuration and its application, and return the words that start it.

    Args:
        folder: one that everybody may read, since Apache does not serve as root.
        authority: where the certificates are.
        port: where it follows the page.
        lax_port: where it takes any certificate.
    """
    if not APACHE_MODULES.joinpath("mod_wsgi.so").exists():
        pytest.skip("mod_wsgi is not installed")
    for name in ("clients.pem", "server.pem", "server.key"):
        shutil.copy(authority / name, folder)
    shutil.copytree(Path(idlanyard.__file__).parent, folder / "idlanyard")
    write_application(folder, folder)
    block = APACHE_BLOCK.replace("/etc/ssl/clients.pem", str(folder / "clients.pem"))
    lax_block = block.replace("SSLVerifyClient require", "SSLVerifyClient optional_no_ca")
    assert lax_block != block
    text = APACHE.format(
        folder=folder,
        modules=APACHE_MODULES,
        port=port,
        lax_port=lax_port,
        block=block,
        lax_block=lax_block,
    )
    file = folder / "apache.conf"
    file.write_text(text, encoding="utf-8")
    return [binary("apache2"), "-D", "FOREGROUND", "-d", str(folder), "-f", str(file)]


class Authority:
    """
    An authority that signs any name.

    Attributes:
        folder: where its certificates are.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
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
    The port of nginx, in front of the service and of uWSGI.
    """
    port, uwsgi, folder = free_port(), free_port(), authority.folder
    file = write_application(folder, Path(idlanyard.__file__).parents[1])
    start = [sys.executable, "-c", UWSGI, "--socket", f"127.0.0.1:{uwsgi}", "--need-app"]
    with ExitStack() as stack:
        behind = stack.enter_context(serving(Behind))
        for name, listens, words in (
            ("uwsgi", uwsgi, [*start, "--wsgi-file", str(file)]),
            ("nginx", port, write_nginx(folder, behind, uwsgi, port)),
        ):
            address = ("127.0.0.1", listens)
            stack.enter_context(start_process(name, words, address, folder, {}))
        yield port


@pytest.fixture(scope="module")
def apache(authority: Authority) -> Iterator[tuple[int, int]]:
    """
    The ports of Apache: as the page configures it, and where it takes any certificate.
    """
    port, lax_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        words = write_apache(folder, authority.folder, port, lax_port)
        with start_process("apache", words, ("127.0.0.1", port), folder, {}):
            yield port, lax_port


def make_client(port: int, files: tuple[Path, Path] | None) -> http.client.HTTPSConnection:
    """
    Return a connection to a web server that is not open yet.

    Args:
        port: that of the server.
        files: the client's certificate and its key, ``None`` for none.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if files is not None:
        context.load_cert_chain(*files)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)


def send(port: int, files: tuple[Path, Path] | None, path: str = "/") -> tuple[int, bytes]:
    """
    Send a request to a web server, with headers that name another client.
    """
    spoofs = dict.fromkeys(("X-Client-DN", "SSL-Client-S-DN", "SSL_CLIENT_S_DN"), "CN=admin")
    with closing(make_client(port, files)) as client:
        client.request("GET", path, headers=spoofs)
        answer = client.getresponse()
        return answer.status, answer.read()


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


def make_subject(case: str) -> x509.Name:
    """
    Return the subject of a case.
    """
    fields, _ = SUBJECTS[case]
    return x509.Name([x509.NameAttribute(FIELDS[name], value) for name, value in fields])


@pytest.mark.parametrize("case", SUBJECTS)
def test_the_client_is_whom_its_certificate_names(
    case: str, nginx: int, authority: Authority
) -> None:
    """
    S1: nginx replaces what the client writes, and no text in a certificate is another field; the
    header before an HTTP server and the variables before uWSGI name the same client.
    """
    files = authority.sign("client", make_subject(case))
    user = SUBJECTS[case][1]
    assert read_user(send(nginx, files)) == user
    status, body = send(nginx, files, "/uwsgi")
    assert (status, json.loads(body)) == (200, [user, "SUCCESS"])


def test_a_client_without_a_certificate_is_refused(nginx: int) -> None:
    """
    S1: as the page configures it, nginx does not pass such a request on.
    """
    assert send(nginx, None)[0] == 400


@pytest.mark.parametrize("case", SUBJECTS)
def test_the_client_of_apache_is_whom_its_certificate_names(
    case: str, apache: tuple[int, int], authority: Authority
) -> None:
    """
    S1: the variables that Apache sets as the page says name the client, and no text in a
    certificate and no header is another name.
    """
    status, body = send(apache[0], authority.sign("client", make_subject(case)))
    assert (status, json.loads(body)) == (200, [SUBJECTS[case][1], "SUCCESS"])


def test_apache_refuses_a_client_without_a_certificate(apache: tuple[int, int]) -> None:
    """
    S1: as the page configures it, Apache ends the connection of such a client.
    """
    with closing(make_client(apache[0], None)) as client:
        client.connect()
        # Nothing is sent: a request that Apache leaves unread may cost us the alert.
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            client.sock.recv(1)


def test_apache_names_nobody_by_a_certificate_that_it_has_not_verified(
    apache: tuple[int, int], tmp_path: Path
) -> None:
    """
    S1: where Apache takes any certificate, that of a stranger's authority makes no user.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    stranger = Authority(tmp_path, "stranger")
    status, body = send(apache[1], stranger.sign("client", name))
    assert status == 200
    user, verified = json.loads(body)
    assert (user, verified == "SUCCESS") == (None, False)

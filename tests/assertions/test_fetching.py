"""
Keys are fetched in bounded time and size, from the URL that the code names and no other.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from assertions import key_servers
from assertions.key_servers import Answer, KeyServer, whole
from assertions.minting import ec_key, private_pem_of
from idlanyard.signing._assertions.fetching import (
    MOST_BYTES,
    KeyURL,
    connect_to_any,
    fetch_answer,
    measure_rest,
    parse_key_url,
)
from idlanyard.signing._assertions.keys import KeysUnusable

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://login.example", KeyURL(True, "login.example", None, "/")),
        ("https://LOGIN.example:8443/a/b?c=d", KeyURL(True, "login.example", 8443, "/a/b?c=d")),
        ("https://keys.example/{kid}", KeyURL(True, "keys.example", None, "/{kid}")),
        ("http://localhost:8000/keys", KeyURL(False, "localhost", 8000, "/keys")),
        ("http://127.0.0.1/keys", KeyURL(False, "127.0.0.1", None, "/keys")),
        ("http://[::1]/keys", KeyURL(False, "::1", None, "/keys")),
        ("http://login.example/keys", None),
        ("http://127.0.0.1.evil.example/keys", None),
        ("http://localhost.evil.example/keys", None),
        ("http://10.0.0.5/keys", None),
        ("ftp://login.example/keys", None),
        ("file:///etc/passwd", None),
        ("https://user@login.example/keys", None),
        ("https://login.example/@realm/keys", KeyURL(True, "login.example", None, "/@realm/keys")),
        ("https://user@login.example/@realm/keys", None),
        ("https://{kid}.example/keys", None),
        ("https://login.example/keys#part", None),
        ("https://login.example/a b", None),
        ("https://login.example/\r\nX: y", None),
        ("https://login.example\\@evil.example/", None),
        ("https://l\xf6gin.example/", None),
        ("https:///keys", None),
        ("https://login.example:port/", None),
        ("https://[login.example/", None),
        ("login.example", None),
    ],
)
def test_a_url_is_https_or_of_this_machine(text: str, parts: KeyURL | None) -> None:
    """
    Anything else is refused when the policy is built, and never fetched.
    """
    assert parse_key_url(text) == parts


def fetch(url: str, seconds: float = 5) -> bytes:
    """
    Return the answer at a URL.
    """
    parts = parse_key_url(url)
    assert parts is not None
    return fetch_answer(parts, seconds)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(whole(b"keys"), id="whole"),
        pytest.param(key_servers.raw(HEAD + b"\r\nkeys"), id="until it closes"),
        pytest.param(
            key_servers.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nkeys\r\n0\r\n\r\n"),
            id="chunked",
        ),
    ],
)
def test_an_answer_is_read(answer: Answer) -> None:
    """
    The body of a 200 is what is returned, however it is sent.
    """
    with KeyServer(answer) as server:
        assert fetch(server.url) == b"keys"
        assert server.asked == ["/keys"]


BAD = [
    pytest.param(whole(b"", "302 Found", "Location: /other"), "status 302", id="redirect"),
    pytest.param(whole(b"", "301 Moved", "Location: http://x/"), "status 301", id="moved"),
    pytest.param(whole(b"{}", "500 Oh"), "status 500", id="500"),
    pytest.param(whole(b"", "204 No Content"), "status 204", id="204"),
    pytest.param(whole(b"x" * (MOST_BYTES + 1)), "more than 256000 bytes", id="a byte too much"),
    pytest.param(key_servers.flood(HEAD + b"\r\n"), "more than 256000 bytes", id="10 MB"),
    pytest.param(key_servers.flood(HEAD + b"X: "), "no HTTP", id="10 MB of headers"),
    pytest.param(key_servers.raw(b""), "no (HTTP|connection)", id="nothing"),
    pytest.param(key_servers.raw(b"\x00\xff" * 100), "no HTTP", id="garbage"),
    pytest.param(
        key_servers.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        "no HTTP",
        id="no chunk",
    ),
    pytest.param(
        key_servers.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
        "no answer in time|no HTTP",
        id="goes on",
    ),
    pytest.param(key_servers.hang, "no answer in time", id="hangs"),
    pytest.param(key_servers.drip(b""), "no answer in time", id="drips"),
    pytest.param(key_servers.drip(HEAD + b"X: "), "no answer in time", id="drips a header"),
    pytest.param(key_servers.drip(HEAD + b"\r\n"), "no answer in time", id="drips a body"),
]


@pytest.mark.parametrize(("answer", "why"), BAD)
def test_a_server_that_lies_or_hangs_costs_bounded_time(answer: Answer, why: str) -> None:
    """
    S23: redirects are not followed, and neither 10 MB nor a byte now and then keep the thread busy.
    """
    with KeyServer(answer) as server:
        seconds = 0.5 if why.startswith("no answer in time") else 30
        began = time.monotonic()
        with pytest.raises(KeysUnusable, match=f"^({why})$"):
            fetch(server.url, seconds)
        assert time.monotonic() - began < 20
        assert server.asked == ["/keys"]


def test_a_deadline_that_is_over_is_a_timeout() -> None:
    """
    An answer of which there is always more ends there, whatever bounds http.client has itself.
    """
    assert 0 < measure_rest(time.monotonic() + 60) <= 60
    with pytest.raises(TimeoutError):
        measure_rest(time.monotonic())


def test_addresses_that_do_not_answer_share_the_time() -> None:
    """
    A host with many addresses costs no more time than one, and the one that answers is found.
    """
    with ExitStack() as opened:
        silent: list[tuple[socket.AddressFamily, object]] = []
        for _ in range(4):
            listener = opened.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            # A queue without room makes those who knock wait.
            listener.listen(0)
            silent.append((socket.AF_INET, listener.getsockname()))
            for _ in range(4):
                client = opened.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connect_to_any(silent, began + 0.4)
        assert 0.3 < time.monotonic() - began < 5
        with pytest.raises(TimeoutError):
            connect_to_any(silent, began)
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        found = [*silent, (socket.AF_INET, server.getsockname())]
        with connect_to_any(found, time.monotonic() + 1) as connected:
            assert connected.getpeername() == server.getsockname()


def test_a_server_that_is_not_there_is_a_failure() -> None:
    """
    A closed port is reported like any other failure.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(KeysUnusable, match="no connection"):
        fetch(f"http://127.0.0.1:{port}/keys")


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """
    Return the file of a certificate for 127.0.0.1, and the context of a server that has it.
    """
    key = ec_key("server")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keys")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .sign(key, SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    secret = folder / "server.key"
    secret.write_text(private_pem_of(key), encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, secret)
    return file, context


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Keys come from a server that proves its name, by an authority that this machine trusts.
    """
    file, context = certificate(tmp_path)
    with KeyServer(whole(b"keys"), context) as server:
        with pytest.raises(KeysUnusable, match="no valid certificate"):
            fetch(server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert fetch(server.url) == b"keys"
        with pytest.raises(KeysUnusable, match="no valid certificate"):
            fetch(server.url.replace("127.0.0.1", "localhost"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(KeysUnusable, match="no answer in time"):
            fetch(f"https://127.0.0.1:{port}/keys", 0.5)

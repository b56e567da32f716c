"""
What holds for every HTTP client, against servers that note what reaches them.

A subclass says how its client is made; hosts that are none of this machine's
are reached through a proxy, which notes what it would have sent on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import http.server
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from idlanyard import (
    EVERYONE,
    UNSET,
    Policy,
    PolicyError,
    Provenance,
    SessionContext,
    identify,
    session_context,
    use_policy,
    user_spec,
)
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import RequestIDs, bound, make_request_ids
from idlanyard._failures import failures
from idlanyard.testing import raise_failures

DEADLINE = 30
USERS = 12
ALL = ["s1", "u1", "t1"]
NONE: list[str] = []
NAMES = ("X-Session-ID", "X-User-ID", "X-Tenant-ID")

IN_DOUBT = [
    pytest.param("http://evil.com\\@api.internal/", id="backslash"),
    pytest.param("http://api.internal\\@evil.com/", id="backslash after"),
    pytest.param("http://api.internal\\.evil.com/", id="backslash inside"),
    pytest.param("http://evil.com%2f@api.internal.evil.com/", id="slash"),
    pytest.param("http://%61pi.internal.evil.com/", id="percent"),
    pytest.param("http://api.internal%2eevil.com/", id="percent dot"),
    pytest.param("http://api.internal\t.evil.com/", id="tab"),
    pytest.param("http://api.internal\u3002evil.com/", id="wide dot"),
    pytest.param("http://api.internal\u2100evil.com/", id="sign with a slash"),
    pytest.param("http://api.internal&@evil.com#@api.internal/", id="three hosts"),
    pytest.param("http://api.internal :80@evil.com/", id="space"),
    pytest.param("http://api.internal;@evil.com/", id="semicolon"),
    pytest.param("http://api.internal:80:80@evil.com/", id="two ports"),
    pytest.param("http://[api.internal]@evil.com/", id="brackets"),
]
RELATIVE = [
    pytest.param("//evil.com/", id="no scheme"),
    pytest.param("///evil.com/", id="three slashes"),
    pytest.param("/\\evil.com/", id="slash, backslash"),
    pytest.param("\\\\evil.com/", id="two backslashes"),
    pytest.param("http:evil.com/", id="no slash"),
    pytest.param("http:/evil.com/", id="one slash"),
    pytest.param("http:///evil.com/", id="no host"),
    pytest.param("@evil.com/", id="as after a user"),
    pytest.param(".evil.com/", id="as after a host"),
    pytest.param(":80@evil.com/", id="as after a name"),
]


@dataclass(frozen=True)
class Seen:
    """
    A request as it came.

    Attributes:
        target: the path, or all of the URL at a proxy.
        headers: its lines in order.
    """

    target: str
    headers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """
        Return the values of every line of one name.
        """
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def ids(self) -> list[str]:
        """
        The values of every line that carries an ID.
        """
        return [value for name in NAMES for value in self.all(name)]

    @property
    def host(self) -> str:
        """
        The address that a proxy would have sent it to.
        """
        host = self.target.removeprefix("http://").partition("/")[0].rpartition("@")[2]
        return host.removesuffix(":80").removesuffix(".").lower()


class Destination(http.server.ThreadingHTTPServer):
    """
    A server, or a proxy, that notes its requests.

    ``/to?URL`` redirects, ``/together`` answers once ``USERS`` requests are
    there, ``/busy`` and ``/login`` refuse the first request.
    """

    daemon_threads = False

    def __init__(self, host: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.request_queue_size = USERS
        self.seen: list[Seen] = []
        self.together = threading.Barrier(USERS)
        super().__init__((host, 0), _Noting)

    @property
    def port(self) -> int:
        """
        The port that it listens on.
        """
        return int(self.server_address[1])

    @property
    def origin(self) -> str:
        """
        Itself, under the name that the tests put on the list.
        """
        return f"http://localhost:{self.port}"

    def ids(self) -> list[list[str]]:
        """
        Return the IDs of each request that has come.
        """
        return [one.ids for one in self.seen]


class _Noting(http.server.BaseHTTPRequestHandler):
    server: Destination
    timeout = DEADLINE

    def do_GET(self) -> None:
        self.server.seen.append(Seen(self.path, self.headers.items()))
        path, query = urlsplit(self.path)[2:4]
        first = len(self.server.seen) == 1
        if path == "/together":
            self.server.together.wait(DEADLINE)
        if path == "/to":
            self._answer(302, Location=unquote(query))
        elif path == "/login" and first:
            self._answer(401, **{"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
        else:
            self._answer(503 if path == "/busy" and first else 200)

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.encode().decode("latin-1"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def listening(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Destination]:
    """
    Listen on a free port of this machine meanwhile.
    """
    server = Destination(host)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certify(folder: Path) -> tuple[ssl.SSLContext, str]:
    """
    Return what a server of this machine needs for TLS, and the file by which clients believe it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority, secret = folder / "certificate.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, secret)
    return context, str(authority)


class Sync:
    """
    A client that blocks: many requests are many threads.
    """

    def __init__(self, get: Callable[..., Any]) -> None:
        self.get = get

    def as_users(self, calls: Sequence[tuple[str, str]]) -> None:
        """
        Ask for a URL as each of many users, all at once.
        """

        def ask(call: tuple[str, str]) -> None:
            with session_context(user_id=call[0]):
                self.get(call[1])

        with ThreadPoolExecutor(len(calls)) as pool:
            list(pool.map(ask, calls))


class Async:
    """
    A client of an event loop: many requests are many tasks.
    """

    def __init__(self, runner: asyncio.Runner, get: Callable[..., Awaitable[object]]) -> None:
        self._runner = runner
        self._get = get

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """
        Do the work in the loop, with what is in force here.
        """

        async def working() -> Any:
            return await work()

        return self._runner.run(working(), context=contextvars.copy_context())

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """
        Ask for one URL.
        """
        return self.run(lambda: self._get(url, headers))

    def as_users(self, calls: Sequence[tuple[str, str]]) -> None:
        """
        Ask for a URL as each of many users, all at once.
        """

        async def ask(user: str, url: str) -> None:
            with session_context(user_id=user):
                await self._get(url, None)

        async def ask_all() -> None:
            await asyncio.gather(*(ask(*call) for call in calls))

        self.run(ask_all)


Client = Sync | Async


class OutgoingContract:
    """
    The contract of one client.
    """

    def open(
        self, to: Sequence[str], *, proxy: str | None = None, authority: str | None = None
    ) -> AbstractContextManager[Client]:
        """
        Open a client that has the IDs for some origins.
        """
        raise NotImplementedError

    def test_a_listed_origin_gets_the_ids(self) -> None:
        """
        R12: each ID in force is one header, whatever the path.
        """
        with listening() as here, self.open([here.origin]) as client, full():
            client.get(f"{here.origin}/v1/things?q=1")
        (seen,) = here.seen
        assert [seen.all(name) for name in NAMES] == [["s1"], ["u1"], ["t1"]]

    def test_nobody_is_on_an_empty_list(self) -> None:
        """
        S13: the default is nowhere.
        """
        with listening() as here, self.open([]) as client, full():
            client.get(f"{here.origin}/")
        assert here.ids() == [NONE]

    def test_a_wrong_list_is_refused_at_once(self) -> None:
        """
        S13: what is no origin, such as a prefix of a path, raises when the client is made.
        """
        with pytest.raises(PolicyError, match="write scheme"), self.open(["http://localhost/v1"]):
            raise AssertionError

    @pytest.mark.parametrize(
        ("url", "ids"),
        [
            pytest.param("http://localhost:{here}/", ALL, id="itself"),
            pytest.param("HTTP://LOCALHOST:{here}/", ALL, id="upper case"),
            pytest.param("http://user:word@localhost:{here}/", ALL, id="user before it"),
            pytest.param("http://127.0.0.1:{here}/", NONE, id="address of the same host"),
            pytest.param("http://localhost:{there}/", NONE, id="other port"),
            pytest.param("http://[::1]:{sixth}/", NONE, id="IPv6"),
            pytest.param("http://127.0.0.1:{there}/localhost:{here}", NONE, id="in the path"),
            pytest.param("http://127.0.0.1:{there}/?http://localhost:{here}", NONE, id="in query"),
            pytest.param("http://127.0.0.1:{there}/#@localhost:{here}", NONE, id="in fragment"),
            pytest.param("http://127.0.0.1:{there}#@localhost:{here}", NONE, id="after a hash"),
            pytest.param("http://127.0.0.1:{there}?@localhost:{here}", NONE, id="after a mark"),
            pytest.param("http://localhost:{here}@127.0.0.1:{there}/", NONE, id="as a user"),
        ],
    )
    def test_the_origin_decides(self, url: str, ids: list[str]) -> None:
        """
        S13: the server that a URL really leads to gets the IDs if it is on the list.
        """
        with listening() as here, listening() as there, listening("::1") as sixth:
            ports = {"here": here.port, "there": there.port, "sixth": sixth.port}
            with self.open([here.origin]) as client, full():
                client.get(url.format(**ports))
        assert [*here.ids(), *there.ids(), *sixth.ids()] == [ids]

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_an_address_may_be_listed(self, host: str) -> None:
        """
        S13: an address of either family is an origin, and its name is another.
        """
        with listening(host) as here:
            origin = f"http://[::1]:{here.port}" if ":" in host else f"http://{host}:{here.port}"
            with self.open([origin]) as client, full():
                client.get(f"{origin}/")
        assert here.ids() == [ALL]

    @pytest.mark.parametrize(
        ("url", "ids"),
        [
            pytest.param("http://api.internal/v1", ALL, id="itself"),
            pytest.param("http://API.internal./", ALL, id="upper case, dot"),
            pytest.param("http://api.internal:80/", ALL, id="its own port"),
            pytest.param("http://xn--bcher-kva.example/", ALL, id="IDNA"),
            pytest.param("http://b\xfccher.example/", ALL, id="IDNA, written out"),
            pytest.param("http://a.wild.internal/", ALL, id="subdomain"),
            pytest.param("http://a.b.wild.internal/", ALL, id="deeper"),
            pytest.param("http://wild.internal/", NONE, id="the base itself"),
            pytest.param("http://evilwild.internal/", NONE, id="no label boundary"),
            pytest.param("http://a.wild.internal.evil.com/", NONE, id="wild prefix"),
            pytest.param("http://api.internal.evil.com/", NONE, id="prefix"),
            pytest.param("http://evil-api.internal/", NONE, id="suffix"),
            pytest.param("http://evil.com/api.internal", NONE, id="in the path"),
            pytest.param("http://evil.com/?q=http://api.internal", NONE, id="in query"),
            pytest.param("http://api.internal@evil.com/", NONE, id="as a user"),
            pytest.param("http://api.internal:80@evil.com/", NONE, id="as user and password"),
            pytest.param("http://api.internal:8080/", NONE, id="other port"),
            pytest.param("http://secure.internal/", NONE, id="http for https"),
            pytest.param("http://secure.internal:443/", NONE, id="http on the port of https"),
        ],
    )
    def test_any_host_is_decided_by_its_origin(self, url: str, ids: list[str]) -> None:
        """
        S13: the tricks of the rule, with names that are none of this machine's.
        """
        to = [
            "http://api.internal",
            "https://secure.internal",
            "http://*.wild.internal",
            "http://b\xfccher.example",
        ]
        with listening() as proxy, self.open(to, proxy=proxy.origin) as client, full():
            client.get(url)
        assert proxy.ids() == [ids]

    @pytest.mark.parametrize("url", IN_DOUBT)
    def test_a_host_in_doubt_gets_nothing(self, url: str) -> None:
        """
        S13: a URL that clients read in many ways sends IDs at most to the host that is listed.
        """
        with (
            listening() as proxy,
            self.open(["http://api.internal"], proxy=proxy.origin) as client,
            full(),
            # Better still: the client itself takes it for no URL.
            contextlib.suppress(Exception),
        ):
            client.get(url)
        assert {seen.host for seen in proxy.seen if seen.ids} <= {"api.internal"}

    @pytest.mark.parametrize("url", [*IN_DOUBT, *RELATIVE])
    def test_a_redirect_to_a_host_in_doubt_brings_nothing(self, url: str) -> None:
        """
        S13, S14: a ``Location`` is read in other ways than the caller's URL, and decided alike.
        """
        with (
            listening() as proxy,
            self.open(["http://api.internal"], proxy=proxy.origin) as client,
            full(),
            contextlib.suppress(Exception),
        ):
            client.get(f"http://api.internal/to?{quote(url)}")
        assert proxy.seen[0].ids == ALL
        assert {seen.host for seen in proxy.seen if seen.ids} == {"api.internal"}

    def test_a_redirect_to_the_same_origin_keeps_the_ids(self) -> None:
        """
        S14: each hop of an origin that is listed has each ID once.
        """
        with listening() as here, self.open([here.origin]) as client, full():
            client.get(f"{here.origin}/to?{here.origin}/next")
            client.get(f"{here.origin}/to?/relative")
        assert here.ids() == [ALL] * 4

    def test_a_redirect_elsewhere_loses_the_ids(self) -> None:
        """
        S14: hop 1 has them and hop 2 has not, by another port and by another name.
        """
        with listening() as here, listening() as there, self.open([here.origin]) as client, full():
            client.get(f"{here.origin}/to?{there.origin}/")
            client.get(f"{here.origin}/to?http://127.0.0.1:{here.port}/")
        assert (here.ids(), there.ids()) == ([ALL, ALL, NONE], [NONE])

    def test_a_redirect_back_has_the_ids_again(self) -> None:
        """
        S14: each hop is decided by itself, also the third.
        """
        with listening() as here, listening() as there, self.open([here.origin]) as client, full():
            client.get(f"{here.origin}/to?{there.origin}/to?{here.origin}/end")
        assert (here.ids(), there.ids()) == ([ALL, ALL], [NONE])

    def test_a_redirect_brings_the_ids_to_who_is_listed(self) -> None:
        """
        S14: from an origin that is not listed to one that is.
        """
        with listening() as here, listening() as there, self.open([here.origin]) as client, full():
            client.get(f"{there.origin}/to?{here.origin}/")
        assert (here.ids(), there.ids()) == ([ALL], [NONE])

    def test_a_redirect_from_https_to_http_loses_the_ids(self, tmp_path: Path) -> None:
        """
        S14: plain http is another origin, also on the same host.
        """
        tls, authority = certify(tmp_path)
        with listening(tls=tls) as safe, listening() as plain:
            origin = f"https://localhost:{safe.port}"
            with self.open([origin], authority=authority) as client, full():
                client.get(f"{origin}/to?{plain.origin}/")
        assert (safe.ids(), plain.ids()) == ([ALL], [NONE])

    @pytest.mark.parametrize("name", ["X-User-ID", "x-user-id"])
    def test_the_callers_header_wins(self, name: str) -> None:
        """
        S15: it stays as it is, once, beside the IDs that are not in it.
        """
        with listening() as here, self.open([here.origin]) as client, full():
            client.get(f"{here.origin}/", {name: "own"})
        assert here.ids() == [["s1", "own", "t1"]]

    def test_the_callers_header_goes_where_it_is_sent(self) -> None:
        """
        R12: what the caller writes for an origin off the list is the caller's business.
        """
        with listening() as here, self.open([]) as client, full():
            client.get(f"{here.origin}/", {"X-Tenant-ID": "account-7"})
        assert here.ids() == [["account-7"]]

    def test_the_callers_header_stays_on_redirects_within_the_list(self) -> None:
        """
        S14, S15: an origin that is listed gets the caller's header from the one before.
        """
        with (
            listening() as here,
            listening() as there,
            self.open([here.origin, there.origin]) as client,
            full(),
        ):
            client.get(f"{here.origin}/to?{there.origin}/", {"X-User-ID": "own"})
        assert (here.ids(), there.ids()) == ([["s1", "own", "t1"]], [["s1", "own", "t1"]])

    def test_the_callers_header_comes_back_with_a_redirect(self) -> None:
        """
        S15: by way of an origin that is listed, to where the caller sent it.
        """
        with listening() as here, listening() as there:
            url = f"{here.origin}/to?{there.origin}/to?{here.origin}/"
            with self.open([there.origin]) as client, full():
                client.get(url, {"X-User-ID": "own"})
        assert (here.ids(), there.ids()) == ([["own"], ["own"]], [["s1", "own", "t1"]])

    def test_the_callers_header_does_not_follow_a_redirect_elsewhere(self) -> None:
        """
        S15: an explicit header obeys S14; where the caller sent it, it came, on every hop there.
        """
        with listening() as here, listening() as there:
            url = f"{here.origin}/to?{here.origin}/to?{there.origin}/"
            with self.open([]) as client, full():
                client.get(url, {"X-User-ID": "own", "X-Other": "stays"})
        assert (here.ids(), there.ids()) == ([["own"], ["own"]], [NONE])
        assert there.seen[0].all("X-Other") == ["stays"]

    def test_the_ids_are_read_when_a_request_is_sent(self) -> None:
        """
        R11: one client serves one user after the other, and then nobody.
        """
        with listening() as here, self.open([here.origin]) as client:
            with session_context(user_id="a"):
                client.get(f"{here.origin}/")
            with session_context(user_id="b"):
                client.get(f"{here.origin}/")
                identify(user_id="c")
                client.get(f"{here.origin}/")
            with session_context("s", user_id="u"), session_context(user_id=UNSET):
                client.get(f"{here.origin}/")
            client.get(f"{here.origin}/")
        assert here.ids() == [["a"], ["b"], ["c"], ["s"], NONE]

    def test_users_at_once_are_kept_apart(self) -> None:
        """
        R12: one client, many users at the same moment, each with its own ID.
        """
        users = [f"user-{number}" for number in range(USERS)]
        with listening() as here, self.open([here.origin]) as client:
            client.as_users([(user, f"{here.origin}/together?{user}") for user in users])
        came = {seen.target.partition("?")[2]: seen.ids for seen in here.seen}
        assert came == {user: [user] for user in users}

    def test_what_is_not_declared_for_calls_stays(self) -> None:
        """
        R10: the policy of the scope says which IDs go along, and under which header.
        """
        policy = Policy(user=user_spec(propagate=False), tenant=None)
        with listening() as here, self.open([here.origin]) as client:
            undo = use_policy(policy)
            try:
                with session_context("s1", user_id="u1"):
                    client.get(f"{here.origin}/")
            finally:
                undo()
        assert here.ids() == [["s1"]]

    def test_a_failure_of_ours_fails_no_call(self) -> None:
        """
        R14: a call goes out without the IDs, the failure is counted, and raised under test.
        """
        with listening() as here, self.open([here.origin]) as client:
            broken(lambda: client.get(f"{here.origin}/"))
            assert sum(failures.values()) == 1
            with raise_failures(), pytest.raises(AttributeError):
                broken(lambda: client.get(f"{here.origin}/"))
        assert here.ids() == [NONE]

    def test_ids_of_a_request_that_is_over_are_sent_with_a_word(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        A task that a request has left behind has its IDs, and one warning says what to check.
        """
        with listening() as here, self.open([here.origin]) as client:
            request_ids = make_request_ids(DEFAULT_POLICY, {"user_id": ("u1", Provenance.PEER)})
            client_of = partial(client.get, f"{here.origin}/")
            with caplog.at_level(logging.WARNING, "idlanyard"):
                within(request_ids, client_of)
                assert caplog.records == []
                request_ids.open = False
                within(request_ids, client_of)
                within(request_ids, client_of)
        (record,) = caplog.records
        assert "with without():" in record.getMessage()
        assert here.ids() == [["u1"]] * 3

    def test_everyone_is_refused_in_a_sentence(self) -> None:
        """
        S13: IDs go to origins that are named, and the message says how.
        """
        everyone: Any = EVERYONE
        with pytest.raises(PolicyError, match=r"write to=\['https://"), self.open(everyone):
            raise AssertionError


def within(request_ids: RequestIDs, work: Callable[[], object]) -> None:
    """
    Do the work where a scope is bound.
    """

    def working() -> None:
        bound.set(request_ids)
        work()

    contextvars.copy_context().run(working)


def broken(work: Callable[[], object]) -> None:
    """
    Do the work where a scope of ours is damaged.
    """
    request_ids = make_request_ids(DEFAULT_POLICY, {})
    del request_ids.values
    within(request_ids, work)


def full() -> AbstractContextManager[SessionContext]:
    """
    Have all three IDs in force meanwhile.
    """
    return session_context("s1", user_id="u1", tenant_id="t1")

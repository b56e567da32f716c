"""
Any header bytes at all, through both middlewares (S29, R7, S1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from drive import Message, ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    Cookie,
    Header,
    Policy,
    Query,
    SessionContext,
    asgi,
    get_session_context,
    request_spec,
    session_spec,
    tenant_spec,
    user_spec,
    wsgi,
)
from idlanyard._policy.policy import checked_policy

PROXY = "10.0.0.5"
SECRET = "s" * 40
R7 = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_.~:@/+=|]{0,254}")

POLICIES = [
    Policy(),
    Policy(trusted_peers=[PROXY]),
    Policy(trusted_peers=[PROXY, "unix"], shared_secret=("X-Proxy-Secret", SECRET)),
    Policy(
        trusted_peers=[PROXY],
        session=session_spec(
            on_invalid="reject", sources=["X-Session-ID", Cookie("sid"), Query("sid")]
        ),
        user=user_spec(required=True),
        tenant=tenant_spec(on_invalid="reject", sources=["X-Tenant-ID", "X-Org-ID"]),
        extra=[request_spec(sources=["X-Request-ID", Header.traceparent()])],
        exclude=["/health"],
        expose=True,
    ),
]

INTERESTING = [
    *(b"x-session-id", b"x-user-id", b"x-tenant-id", b"x-org-id", b"x-request-id"),
    *(b"x_user_id", b"x-user_id", b"x_session-id", b"x_proxy_secret", b"x-proxy-secret"),
    *(b"connection", b"x-forwarded-for", b"forwarded", b"x-real-ip", b"cookie", b"host"),
    *(b"traceparent", b"X-User-ID", b""),
]
LIKELY = [
    *(b"s1", b"alice", b"", b",", b"a,b", b"\x85abc", b"a\r\nSet-Cookie: x=1", b"\xff\xfe"),
    *(b"close, X-User-ID", b"x_user_id", b"X-Session-ID", b"\xff", b"for=10.0.0.5", b"[::1"),
    *(SECRET.encode(), PROXY.encode(), b"sid=a; sid=b", b"sid=\xff", b"-" * 60_000, b"a" * 256),
    *(b'for="[::ffff:10.0.0.5]:1"', b"00-" + b"0" * 32, b"%", b"\x00"),
]
PAIRS = st.lists(
    st.tuples(
        st.sampled_from(INTERESTING) | st.binary(max_size=12),
        st.sampled_from(LIKELY) | st.binary(max_size=40),
    ),
    max_size=8,
)
PEERS = st.sampled_from([None, "", PROXY, "10.0.0.6", "::ffff:10.0.0.5", "localhost", "\x00", "%"])
PATHS = st.sampled_from(["/", "/health", "", "/\x85", "/tenants/\udcff"])
QUERIES = st.sampled_from([b"", b"sid=q1", b"sid=%ff", b"\xff=%", b"sid=a&sid=b", b"&" * 2000])
WORDS = st.sampled_from(POLICIES)


class Seen:
    """
    The traces of one request.

    Attributes:
        contexts: what the application found bound, once if it was called.
        headers: what it found in the headers, by the one spelling.
        status: of the response.
        said: the response's header values.
        body: its body.
    """

    def __init__(self) -> None:
        self.contexts: list[SessionContext] = []
        self.headers: dict[str, list[str]] = {}
        self.status = 0
        self.said: list[str] = []
        self.body = b""

    def note(self, pairs: Iterable[tuple[str, str]]) -> None:
        """
        Note what is bound here and which lines the request has.
        """
        self.contexts.append(get_session_context())
        for name, value in pairs:
            self.headers.setdefault(name.lower().replace("_", "-"), []).append(value)


def _by_asgi(policy: Policy, scope: Message) -> Seen:
    """
    Serve the request by the ASGI middleware.
    """
    seen = Seen()

    async def app(inner: Any, receive: Any, send: Any) -> None:
        lines = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in inner["headers"]]
        seen.note(lines)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    start, body = ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), scope)
    seen.status, seen.body = start["status"], body["body"]
    seen.said = [value.decode("latin-1") for _, value in start["headers"]]
    return seen


def _by_wsgi(policy: Policy, environ: Message) -> Seen:
    """
    Serve the request by the WSGI middleware.
    """
    seen = Seen()

    def app(inner: Any, start_response: Any) -> Iterable[bytes]:
        seen.note((key[5:], inner[key]) for key in inner if key.startswith("HTTP_"))
        start_response("200 OK", [])
        return [b""]

    response = ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ)
    seen.status, seen.body = int(response.status[:3]), response.body
    seen.said = [value for _, value in response.headers]
    return seen


def _check(policy: Policy, seen: Seen, pairs: list[tuple[bytes, bytes]]) -> None:
    """
    Check the rules that hold for any request.
    """
    assert seen.status in (200, 400, 401)
    assert len(seen.contexts) == (seen.status == 200)
    values = {name: v for context in seen.contexts for name, v in context.as_dict().items()}
    for value in values.values():
        assert R7.fullmatch(value)
    for line in seen.said:
        assert line.isascii()
        assert line.isprintable()
    if seen.status == 200:
        for name, spec in checked_policy(policy).specs.items():
            # The app's own reading of the header is the same as ours: one line, or none.
            shown = [] if values.get(name) is None else [values[name]]
            assert seen.headers.get(spec.header.lower(), []) == shown
        assert "x-proxy-secret" not in seen.headers or not policy.shared_secret
    else:
        problem = json.loads(seen.body)
        assert problem["status"] == seen.status
        assert problem["field"] in checked_policy(policy).specs
        for _, sent in pairs:
            assert len(sent) < 4 or sent not in seen.body
    assert get_session_context().is_empty()


@given(policy=WORDS, pairs=PAIRS, peer=PEERS, path=PATHS, query=QUERIES)
@example(
    policy=POLICIES[1], pairs=[(b"connection", b"\xff, x-user-id")], peer=PROXY, path="/", query=b""
)
def test_no_bytes_break_the_asgi_middleware(
    policy: Policy, pairs: list[tuple[bytes, bytes]], peer: str | None, path: str, query: bytes
) -> None:
    """
    No header bytes raise, cause a 5xx, are repeated, or bind what R7 forbids, on ASGI (S29).
    """
    # Names are lower-case by protocol on ASGI.
    pairs = [(name.lower(), value) for name, value in pairs]
    scope = http_scope(peer=peer, path=path, query_string=query) | {"headers": pairs}
    before = list(pairs)
    _check(policy, _by_asgi(policy, scope), pairs)
    assert pairs == before


@given(policy=WORDS, pairs=PAIRS, peer=PEERS, path=PATHS, query=QUERIES)
def test_no_bytes_break_the_wsgi_middleware(
    policy: Policy, pairs: list[tuple[bytes, bytes]], peer: str | None, path: str, query: bytes
) -> None:
    """
    No header bytes raise, cause a 5xx, are repeated, or bind what R7 forbids, on WSGI (S29).
    """
    lines = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in pairs]
    environ = environ_of(lines, peer=peer, PATH_INFO=path, QUERY_STRING=query.decode("latin-1"))
    _check(policy, _by_wsgi(policy, environ), pairs)


OPEN = st.sampled_from([Policy(), Policy(trusted_peers=["192.0.2.1"]), POLICIES[1]])
STRANGERS = st.sampled_from(
    [None, "", "10.0.0.6", "::1", "127.0.0.1", "localhost", "10.0.0.5.evil"]
)


@given(policy=OPEN, pairs=PAIRS, peer=STRANGERS)
def test_a_stranger_never_names_anyone(
    policy: Policy, pairs: list[tuple[bytes, bytes]], peer: str | None
) -> None:
    """
    S1, S22: from an untrusted peer no header makes a user or tenant, nor is seen by the app.
    """
    lines = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in pairs]
    scope = http_scope(peer=peer) | {"headers": [(n.lower(), v) for n, v in pairs]}
    for seen in (_by_asgi(policy, scope), _by_wsgi(policy, environ_of(lines, peer=peer))):
        [context] = seen.contexts
        assert (context.user_id, context.tenant_id) == (None, None)
        assert "x-user-id" not in seen.headers
        assert "x-tenant-id" not in seen.headers

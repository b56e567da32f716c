"""
The cases of ``test_parity.py``: one request each, and the one right answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drive import PROXY, STRANGER, Line
from idlanyard import (
    EVERYONE,
    Cookie,
    Header,
    IDSpec,
    PathPrefix,
    Policy,
    Query,
    Subdomain,
    ids,
    request_spec,
    session_spec,
    tenant_spec,
    user_spec,
)

NEW = "new-secret-".ljust(40, "n")
OLD = "old-secret-".ljust(40, "o")
MINT = "<minted>"
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"

CLOSED = Policy()
TRUSTING = Policy(trusted_peers=["10.0.0.0/8"])
SECRET = Policy(shared_secret=("X-Proxy-Secret", [NEW, OLD]))
UNIX = Policy(trusted_peers=["unix"])

SESSION = ("X-Session-ID", "s1")
USER = ("X-User-ID", "alice")
TENANT = ("X-Tenant-ID", "acme")


@dataclass(frozen=True, kw_only=True)
class Case:
    """
    One request and its answer.

    Attributes:
        lines: the header lines as they stand on the wire.
        policy: the rules.
        peer: the address of the sender.
        path: the path, below *root*.
        root: where the application is mounted: ``root_path`` or ``SCRIPT_NAME``.
        query: the query string.
        scope: further keys of the ASGI scope.
        environ: further keys of the environ; ``None`` takes one out.
        only: the protocol that alone knows the case.
        joins: whether the WSGI server joins an alias, or drops it.
        ids: what is bound; ``MINT`` stands for a fresh ID.
        how: the provenance of each, where it is not the usual one.
        seen: the managed headers that the application sees; left out, each
            ID in its own.
        echo: the managed headers of the response; left out, each ID in its own.
        status: of the response.
        field: the ID for which the request is refused.
    """

    lines: tuple[Line, ...] = ()
    policy: Policy = CLOSED
    peer: str | None = STRANGER
    path: str = "/"
    root: str = ""
    query: str = ""
    scope: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None
    joins: bool = True
    ids: Mapping[str, str]
    how: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, str] | None = None
    echo: Mapping[str, str] | None = None
    status: int = 200
    field: str | None = None


def _proven(*lines: Line, **more: Any) -> Case:
    more.setdefault("policy", TRUSTING)
    return Case(lines=(SESSION, *lines), peer=PROXY, **more)


def _refused(status: int, name: str, **more: Any) -> Case:
    echo = more.pop("echo", {"x-session-id": more["ids"].get("session_id", "")})
    return Case(status=status, field=name, echo=echo, **more)


S1 = {"session_id": "s1"}
FRESH = {"session_id": MINT}
ALICE = S1 | {"user_id": "alice"}
BOTH = ALICE | {"tenant_id": "acme"}
PEER = {"user_id": "peer", "tenant_id": "peer"}

BASICS = {
    "no header at all: a session is minted": Case(ids=FRESH),
    "a session of the client is read": Case(lines=(SESSION,), ids=S1),
    "a session from a trusted peer is still the client's": _proven(
        ids=S1, how={"session_id": "client"}
    ),
    "a trusted peer names user and tenant": _proven(USER, TENANT, ids=BOTH, how=PEER),
    "a stranger names nobody": Case(lines=(SESSION, USER, TENANT), policy=TRUSTING, ids=S1),
    "an empty list trusts nobody": _proven(USER, policy=CLOSED, ids=S1),
    "loopback is not implied": Case(lines=(USER,), peer="127.0.0.1", ids=FRESH),
    "everyone, spelled out": Case(
        lines=(SESSION, USER), policy=Policy(trusted_peers=EVERYONE), ids=ALICE
    ),
    "everyone, the peer rewritten": _proven(
        USER, ("X-Forwarded-For", PROXY), policy=Policy(trusted_peers=EVERYONE), ids=ALICE
    ),
    "everyone, the peer unknown": Case(
        lines=(SESSION, USER), policy=Policy(trusted_peers=EVERYONE), peer=None, ids=ALICE
    ),
    "an unmanaged header passes": Case(lines=(("X-Other", "a,b"), SESSION), ids=S1),
    "names in any case": Case(lines=(("x-SESSION-id", "s1"),), ids=S1),
    "no session declared: its header is nobody's": Case(
        lines=(SESSION,), policy=Policy(session=None), ids={}
    ),
    "only a session declared": Case(
        lines=(SESSION, USER), policy=Policy(user=None, tenant=None), ids=S1
    ),
    "a further ID is minted": Case(
        lines=(SESSION,),
        policy=Policy(extra=[request_spec()]),
        ids=S1 | {"request_id": MINT},
    ),
    "a further ID is read": Case(
        lines=(SESSION, ("X-Request-ID", "r1")),
        policy=Policy(extra=[request_spec()]),
        ids=S1 | {"request_id": "r1"},
    ),
    "a further ID that needs proof": _proven(
        ("X-Device-ID", "d1"),
        policy=Policy(
            trusted_peers=[PROXY], extra=[IDSpec(name="device_id", header="X-Device-ID")]
        ),
        ids=S1 | {"device_id": "d1"},
        how={"device_id": "peer"},
    ),
    "a further ID without proof": Case(
        lines=(SESSION, ("X-Device-ID", "d1")),
        policy=Policy(extra=[IDSpec(name="device_id", header="X-Device-ID")]),
        ids=S1,
    ),
    "no mint: absent": Case(policy=Policy(session=session_spec(mint=None)), ids={}),
    "a generator of one's own": Case(
        policy=Policy(session=session_spec(mint=lambda: "made")),
        ids={"session_id": "made"},
        how={"session_id": "minted"},
    ),
    "a user from anyone is the client's": Case(
        lines=(SESSION, USER),
        policy=Policy(user=user_spec(accept="anyone")),
        ids=ALICE,
        how={"user_id": "client"},
    ),
}

PEERS = {
    "the one address that is trusted": _proven(
        USER, policy=Policy(trusted_peers=["10.0.0.5/32"]), ids=ALICE
    ),
    "its neighbour is not": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["10.0.0.5/32"]),
        peer="10.0.0.6",
        ids=S1,
    ),
    "IPv4 mapped into IPv6": Case(
        lines=(SESSION, USER), policy=TRUSTING, peer="::ffff:10.0.0.5", ids=ALICE
    ),
    "a zone is dropped": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["fe80::/10"]),
        peer="fe80::1%eth0",
        ids=ALICE,
    ),
    "IPv4 has no zone": Case(lines=(SESSION, USER), policy=TRUSTING, peer="10.0.0.5%x", ids=S1),
    "leading zeros are no address": Case(
        lines=(SESSION, USER), policy=TRUSTING, peer="010.0.0.5", ids=S1
    ),
    "a name is no address": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["127.0.0.1", "::1"]),
        peer="localhost",
        ids=S1,
    ),
    "a peer without address is unknown": Case(
        lines=(SESSION, USER), policy=TRUSTING, peer=None, ids=S1
    ),
    "the peer stands in X-Forwarded-For": _proven(("X-Forwarded-For", PROXY), USER, ids=S1),
    "the peer stands among others": _proven(
        ("X-Forwarded-For", f"198.51.100.1, {PROXY}"), USER, ids=S1
    ),
    "the peer stands in X-Real-IP": _proven(("X-Real-IP", PROXY), USER, ids=S1),
    "the peer stands in Forwarded": _proven(
        ("Forwarded", f'for=198.51.100.1;proto=http, For="{PROXY}:4711"'), USER, ids=S1
    ),
    "the peer stands there mapped into IPv6": _proven(
        ("X-Forwarded-For", "::ffff:10.0.0.5"), USER, ids=S1
    ),
    "another address stands there": _proven(("X-Forwarded-For", "198.51.100.1"), USER, ids=ALICE),
    "a stranger names a trusted hop": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", PROXY)), policy=TRUSTING, ids=S1
    ),
    "ProxyFix kept the sender": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", STRANGER)),
        policy=TRUSTING,
        environ={"werkzeug.proxy_fix.orig": {"REMOTE_ADDR": PROXY}},
        only="wsgi",
        ids=ALICE,
    ),
    "ProxyFix kept a stranger": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", PROXY)),
        policy=TRUSTING,
        peer=PROXY,
        environ={"werkzeug.proxy_fix.orig": {"REMOTE_ADDR": STRANGER}},
        only="wsgi",
        ids=S1,
    ),
    "a unix socket, with evidence": Case(
        lines=(SESSION, USER),
        policy=UNIX,
        peer=None,
        scope={"server": ("/run/app.sock", None)},
        environ={"REMOTE_ADDR": ""},
        ids=ALICE,
    ),
    "a unix socket, with an empty host": Case(
        lines=(SESSION, USER),
        policy=UNIX,
        peer="",
        scope={"server": ("/run/app.sock", "0")},
        ids=ALICE,
    ),
    "a unix socket that is not trusted": Case(
        lines=(SESSION, USER),
        policy=TRUSTING,
        peer="",
        scope={"server": ("/run/app.sock", None)},
        ids=S1,
    ),
    "a peer of that name is no unix socket": Case(
        lines=(SESSION, USER), policy=UNIX, peer="unix", ids=S1
    ),
    "a peer of that name is none where one is assumed": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer="unix",
        ids=S1,
    ),
    "no evidence of a unix socket": Case(
        lines=(SESSION, USER), policy=UNIX, peer=None, scope={"server": None}, ids=S1
    ),
    "an address is no unix socket": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        scope={"server": ("/run/app.sock", None)},
        ids=S1,
    ),
    "a unix socket, assumed": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer=None,
        scope={"server": None},
        ids=ALICE,
    ),
    "a unix socket, assumed for a name": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer="localhost",
        only="wsgi",
        ids=ALICE,
    ),
    "a unix socket, assumed but not trusted": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["127.0.0.1"], assume_unix=True),
        peer=None,
        scope={"server": None},
        ids=S1,
    ),
    "a server on which the last spelling wins": _proven(
        USER, environ={"SERVER_SOFTWARE": "Cheroot/11.0"}, only="wsgi", ids=S1
    ),
    "another such server": _proven(
        USER, environ={"SERVER_SOFTWARE": "Granian"}, only="wsgi", ids=S1
    ),
    "such a server, all the same": _proven(
        USER,
        policy=Policy(trusted_peers=[PROXY], unsafe_server_ok=True),
        environ={"SERVER_SOFTWARE": "Granian"},
        only="wsgi",
        ids=ALICE,
    ),
    "such a server, everyone trusted": _proven(
        USER,
        policy=Policy(trusted_peers=EVERYONE),
        environ={"SERVER_SOFTWARE": "Granian"},
        only="wsgi",
        ids=S1,
    ),
    "such a server, with the secret": _proven(
        USER,
        ("X-Proxy-Secret", NEW),
        policy=SECRET,
        environ={"SERVER_SOFTWARE": "Granian"},
        only="wsgi",
        ids=S1,
    ),
    "such a server, with the secret, all the same": _proven(
        USER,
        ("X-Proxy-Secret", NEW),
        policy=Policy(shared_secret=("X-Proxy-Secret", NEW), unsafe_server_ok=True),
        environ={"SERVER_SOFTWARE": "Granian"},
        only="wsgi",
        ids=ALICE,
    ),
    "a peer of the PROXY protocol": _proven(
        USER, environ={"PROXY_PROTOCOL": "TCP4"}, only="wsgi", ids=S1
    ),
    "a peer of the PROXY protocol, with the secret": _proven(
        USER,
        ("X-Proxy-Secret", NEW),
        policy=SECRET,
        environ={"PROXY_PROTOCOL": "TCP4"},
        only="wsgi",
        ids=ALICE,
    ),
    "a unix socket, assumed, and an element without an address": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", ",")),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer=None,
        scope={"server": None},
        ids=S1,
    ),
    "a unix socket, assumed, and an empty line": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", "")),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer=None,
        scope={"server": None},
        ids=S1,
    ),
    "a unix socket, assumed, and what a proxy writes": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", "198.51.100.1")),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer=None,
        scope={"server": None},
        ids=ALICE,
    ),
    "a unix socket, proven, and an element without an address": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", "unknown")),
        policy=UNIX,
        peer="",
        scope={"server": ("/run/app.sock", None)},
        ids=ALICE,
    ),
    "a unix socket, proven by its path, and a list in doubt": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", "proxy.example")),
        policy=UNIX,
        peer="",
        scope={"server": ("/run/app.sock", None)},
        only="asgi",
        ids=ALICE,
    ),
    "an address that stands in a list, where a unix socket is assumed": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", PROXY)),
        policy=Policy(trusted_peers=[PROXY, "unix"], assume_unix=True),
        peer=PROXY,
        ids=S1,
    ),
    "a unix socket by an empty host that a list may have made": Case(
        lines=(SESSION, USER, ("X-Forwarded-For", "[]")),
        policy=UNIX,
        peer="",
        only="wsgi",
        ids=S1,
    ),
    "a hidden name is no unix socket": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=["unix"], assume_unix=True),
        peer="_hidden",
        ids=S1,
    ),
}

_IN_DOUBT = {
    "a space before the port": ("X-Forwarded-For", "198.51.100.1 :80"),
    "an empty element": ("X-Forwarded-For", ","),
    "a name": ("X-Forwarded-For", "proxy.example"),
    "another header of that kind": ("X-Client-IP", PROXY),
    "a CDN's header": ("CF-Connecting-IP", PROXY),
    "IPv6 without brackets": ("Forwarded", "for=2001:db8::1:80"),
    "Forwarded in the form of a list": ("Forwarded", "198.51.100.1"),
}
FORWARDED = {
    f"a peer in doubt: {name}": _proven(line, USER, ids=S1) for name, line in _IN_DOUBT.items()
} | {
    "a forwarding header that is empty": _proven(("X-Forwarded-For", ""), USER, ids=ALICE),
    "forwarding headers that are clear": _proven(
        ("X-Forwarded-For", "198.51.100.1:80, [2001:db8::1]:443, unknown"),
        ("Forwarded", 'for=198.51.100.1;proto=https, for="[2001:db8::1]:443";by=10.0.0.5'),
        ("X-Real-IP", "198.51.100.1"),
        USER,
        ids=ALICE,
    ),
}

_SERVERS_OF_WSGI = {
    "gunicorn/27.0.1": True,
    "waitress": True,
    "gevent/26.9 Python/3.11": True,
    "Werkzeug/3.1.3": True,
    "Apache/2.4.57 (Debian) mod_wsgi/4.9.4": True,
    "mod_wsgi/5.0": True,
    "WSGIServer/0.2 CPython/3.11.7": False,
    "Cheroot/11.1.2": False,
    "Granian": False,
    "Rocket 1.2.6 Python/3.11": False,
}
CONFLATING = {
    f"the WSGI server {server}": _proven(
        USER, environ={"SERVER_SOFTWARE": server}, only="wsgi", ids=ALICE if drops else S1
    )
    for server, drops in _SERVERS_OF_WSGI.items()
} | {
    "a WSGI server that is uWSGI": _proven(
        USER, environ={"uwsgi.version": b"2.0.31"}, only="wsgi", ids=S1
    ),
    "a WSGI server that is an adapter with its scope": _proven(
        USER, environ={"asgi.scope": {}}, only="wsgi", ids=S1
    ),
    "a WSGI server that is an adapter": _proven(
        USER, environ={"wsgi.multithread": True, "wsgi.multiprocess": True}, only="wsgi", ids=S1
    ),
}


def _secret(*lines: Line, ids: Mapping[str, str], **more: Any) -> Case:
    return Case(lines=(SESSION, USER, *lines), policy=SECRET, ids=ids, **more)


SECRETS = {
    "the new secret": _secret(("X-Proxy-Secret", NEW), ids=ALICE, how=PEER),
    "the old secret": _secret(("X-Proxy-Secret", OLD), ids=ALICE),
    "a wrong secret": _secret(("X-Proxy-Secret", NEW[:-1] + "x"), ids=S1),
    "a longer secret": _secret(("X-Proxy-Secret", NEW + "n"), ids=S1),
    "an empty secret": _secret(("X-Proxy-Secret", ""), ids=S1),
    "a secret outside ASCII": _secret(("X-Proxy-Secret", "\xe9" * 40), ids=S1),
    "no secret": _secret(ids=S1),
    "the secret twice": _secret(("X-Proxy-Secret", NEW), ("X-Proxy-Secret", NEW), ids=S1),
    "the secret beside an alias": _secret(("X-Proxy-Secret", NEW), ("X_Proxy-Secret", NEW), ids=S1),
    "the secret named by Connection": _secret(
        ("X-Proxy-Secret", NEW), ("Connection", "X-Proxy-Secret"), ids=S1
    ),
    "the secret and no identity": Case(
        lines=(SESSION, ("X-Proxy-Secret", NEW)), policy=SECRET, ids=S1
    ),
    "the secret and an empty identity": Case(
        lines=(SESSION, ("X-User-ID", ""), ("X-Proxy-Secret", NEW)), policy=SECRET, ids=S1
    ),
    "a wrong secret from a trusted peer": _proven(
        USER,
        ("X-Proxy-Secret", "wrong"),
        policy=Policy(trusted_peers=[PROXY], shared_secret=("X-Proxy-Secret", NEW)),
        ids=ALICE,
    ),
    "the secret proves a rewritten peer": _proven(
        USER,
        ("X-Proxy-Secret", NEW),
        ("X-Forwarded-For", PROXY),
        policy=Policy(trusted_peers=[PROXY], shared_secret=("X-Proxy-Secret", NEW)),
        ids=ALICE,
    ),
}

SHAPES = {
    "255 characters": Case(lines=(("X-Session-ID", "a" * 255),), ids={"session_id": "a" * 255}),
    "256 characters": Case(lines=(("X-Session-ID", "a" * 256),), ids=FRESH),
    "every character of the charset": Case(
        lines=(("X-Session-ID", "Aa0-_.~:@/+=|"),), ids={"session_id": "Aa0-_.~:@/+=|"}
    ),
    "a hyphen first": Case(lines=(("X-Session-ID", "-a"),), ids=FRESH),
    "a space first": Case(lines=(("X-Session-ID", " a"),), ids=FRESH),
    "a space last": Case(lines=(("X-Session-ID", "a "),), ids=FRESH),
    "a line feed last": Case(lines=(("X-Session-ID", "abc\n"),), ids=FRESH),
    "a NEL": Case(lines=(("X-Session-ID", "a\x85b"),), ids=FRESH),
    "a letter outside ASCII": Case(lines=(("X-Session-ID", "\xe9"),), ids=FRESH),
    "empty": Case(lines=(("X-Session-ID", ""),), ids=FRESH),
    "a trusted peer does not skip the check": _proven(("X-User-ID", "a b"), ids=S1),
    "an empty identity from a trusted peer": _proven(("X-User-ID", ""), ids=S1),
    "visible": Case(
        lines=(("X-Session-ID", "(a)!"),),
        policy=Policy(session=session_spec(charset="visible")),
        ids={"session_id": "(a)!"},
    ),
    "not visible": Case(
        lines=(("X-Session-ID", "a;b"),),
        policy=Policy(session=session_spec(charset="visible")),
        ids=FRESH,
    ),
    "a pattern that it matches": Case(
        lines=(("X-Session-ID", "sess-7"),),
        policy=Policy(session=session_spec(charset=re.compile(r"sess-\d+"), mint=None)),
        ids={"session_id": "sess-7"},
    ),
    "a pattern that it does not match": Case(
        lines=(("X-Session-ID", "sess-7\n"),),
        policy=Policy(session=session_spec(charset=re.compile(r"sess-\d+\s"), mint=None)),
        ids={},
    ),
    "shorter than usual": Case(
        lines=(("X-Session-ID", "a" * 33),),
        policy=Policy(session=session_spec(max_length=32)),
        ids=FRESH,
    ),
    "rejected: too long": _refused(
        400,
        "session_id",
        lines=(("X-Session-ID", "a" * 256),),
        policy=Policy(session=session_spec(on_invalid="reject")),
        ids=FRESH,
    ),
    "rejected: a character": _refused(
        400,
        "session_id",
        lines=(("X-Session-ID", "a b"),),
        policy=Policy(session=session_spec(on_invalid="reject")),
        ids=FRESH,
    ),
    "rejected: two lines": _refused(
        400,
        "session_id",
        lines=(SESSION, SESSION),
        policy=Policy(session=session_spec(on_invalid="reject")),
        ids=FRESH,
    ),
    "rejected: a proven user": _refused(
        400,
        "user_id",
        lines=(SESSION, ("X-User-ID", "a b")),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(on_invalid="reject")),
        peer=PROXY,
        ids=S1,
    ),
    "a stranger's invalid user is just not believed": Case(
        lines=(SESSION, ("X-User-ID", "a b")),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(on_invalid="reject")),
        ids=S1,
    ),
    "empty is absent, not invalid": Case(
        lines=(("X-Session-ID", ""),),
        policy=Policy(session=session_spec(on_invalid="reject")),
        ids=FRESH,
    ),
}

COPIES = {
    "two lines": Case(lines=(SESSION, ("X-Session-ID", "s2")), ids=FRESH),
    "the same line twice": Case(lines=(SESSION, SESSION), ids=FRESH),
    "a line and an empty one": Case(lines=(SESSION, ("X-Session-ID", "")), ids=FRESH),
    "two values in one line": Case(lines=(("X-Session-ID", "s1,s2"),), ids=FRESH),
    "two users": _proven(USER, ("X-User-ID", "mallory"), ids=S1),
    "two users in one line": _proven(("X-User-ID", "alice, mallory"), ids=S1),
    "an alias behind": _proven(USER, ("X_User_ID", "mallory"), ids=S1),
    "an alias in front": _proven(("X_User_ID", "mallory"), USER, ids=S1),
    "half an alias": _proven(USER, ("X-User_ID", "mallory"), ids=S1),
    "only an alias": _proven(("X_User_ID", "mallory"), joins=False, ids=S1),
    "an alias of the session": Case(lines=(SESSION, ("x_session_id", "s2")), ids=FRESH),
    "only an alias of the session": Case(lines=(("x_session_id", "s2"),), joins=False, ids=FRESH),
}

CONNECTION = {
    "Connection: close": _proven(USER, ("Connection", "close"), ids=ALICE),
    "Connection names another header": _proven(
        USER, ("Connection", "keep-alive, X-Other"), ids=ALICE
    ),
    "Connection names the user": _proven(USER, ("Connection", "close, X-User-ID"), ids=S1),
    "Connection names it in lower case": _proven(USER, ("Connection", "x-user-id"), ids=S1),
    "Connection names the session": _proven(("Connection", "X-Session-ID"), ids=FRESH),
    "Connection names a header that is not there": _proven(("Connection", "X-User-ID"), ids=S1),
    "named by Connection: no other source is read": Case(
        lines=(SESSION, ("X-Correlation-ID", "c1"), ("Connection", "X-Session-ID")),
        policy=Policy(session=session_spec(sources=["X-Session-ID", "X-Correlation-ID"])),
        ids=FRESH,
        seen={"x-session-id": MINT},
    ),
    "named by Connection: no weaker source is read": Case(
        lines=(SESSION, ("Cookie", "sid=c1"), ("Connection", "X-Session-ID")),
        policy=Policy(session=session_spec(sources=["X-Session-ID", Cookie("sid")])),
        ids=FRESH,
    ),
    "the fallback named by Connection": Case(
        lines=(("X-Correlation-ID", "c1"), ("Connection", "X-Correlation-ID")),
        policy=Policy(session=session_spec(sources=["X-Session-ID", "X-Correlation-ID"])),
        ids=FRESH,
        seen={"x-session-id": MINT},
    ),
    "named by Connection and required": _refused(
        401,
        "user_id",
        lines=(SESSION, USER, ("Connection", "X-User-ID")),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(required=True)),
        peer=PROXY,
        ids=S1,
    ),
}


def _not_mallory(value: str, request: Any) -> bool:
    return value != "mallory"


def _as_claimed(value: str, request: Any) -> bool:
    """
    Return whether the tenant is the one that the login named.
    """
    claimed: str | None = request.headers.get("X-Claim")
    return claimed == value and request.path == "/orders" and request.peer == PROXY


CLAIMED = Policy(trusted_peers=[PROXY], tenant=tenant_spec(must_match=_as_claimed))

DEMANDS = {
    "a session is required": _refused(
        400, "session_id", policy=Policy(session=session_spec(required=True)), ids=FRESH
    ),
    "a session is required, and nothing mints": _refused(
        400,
        "session_id",
        policy=Policy(session=session_spec(required=True, mint=None)),
        ids={},
        echo={},
    ),
    "a required session is there": Case(
        lines=(SESSION,), policy=Policy(session=session_spec(required=True)), ids=S1
    ),
    "a user is required": _refused(
        401, "user_id", lines=(SESSION,), policy=Policy(user=user_spec(required=True)), ids=S1
    ),
    "a user is required, and a stranger names one": _refused(
        401,
        "user_id",
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(required=True)),
        ids=S1,
    ),
    "a user is required, and empty": _refused(
        401,
        "user_id",
        lines=(SESSION, ("X-User-ID", "")),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(required=True)),
        peer=PROXY,
        ids=S1,
    ),
    "a required user is there": _proven(
        USER,
        policy=Policy(trusted_peers=[PROXY], user=user_spec(required=True)),
        ids=ALICE,
    ),
    "the first refusal counts": _refused(
        400,
        "session_id",
        policy=Policy(session=session_spec(required=True), user=user_spec(required=True)),
        ids=FRESH,
    ),
    "it matches": _proven(
        TENANT,
        ("X-Claim", "acme"),
        policy=CLAIMED,
        path="/orders",
        ids=S1 | {"tenant_id": "acme"},
    ),
    "it does not match": _refused(
        403,
        "tenant_id",
        lines=(SESSION, TENANT, ("X-Claim", "evil")),
        policy=CLAIMED,
        peer=PROXY,
        path="/orders",
        ids=S1 | {"tenant_id": "acme"},
        echo={"x-session-id": "s1"},
    ),
    "nothing to match": _proven(policy=CLAIMED, ids=S1),
    "a session that must match": _refused(
        403,
        "session_id",
        lines=(("X-Session-ID", "mallory"),),
        policy=Policy(session=session_spec(must_match=_not_mallory)),
        ids={"session_id": "mallory"},
    ),
}

SINKS = {
    "an excluded path": Case(
        lines=(SESSION, USER),
        policy=Policy(trusted_peers=EVERYONE, exclude=["/health"]),
        path="/health",
        ids={},
    ),
    "an excluded path below a mount": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/health"]),
        root="/api",
        path="/health",
        ids={},
        seen={},
        echo={},
    ),
    "a tenant in the path below a mount": Case(
        lines=(SESSION,),
        policy=Policy(tenant=tenant_spec(accept="anyone", sources=[PathPrefix("/t/{tenant_id}")])),
        root="/api",
        path="/t/acme/x",
        ids=S1 | {"tenant_id": "acme"},
        how={"tenant_id": "client"},
    ),
    "a path that is excluded elsewhere": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/api/health"]),
        root="/api",
        path="/health",
        ids=S1,
    ),
    "the root of a mount": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/"]),
        root="/api",
        path="",
        ids={},
        seen={},
        echo={},
    ),
    "a mount whose name ends in a slash": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/health"]),
        root="/api",
        path="/health",
        scope={"root_path": "/api/"},
        ids={},
        seen={},
        echo={},
    ),
    "a path that only begins like the mount": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/apiway/health"]),
        path="/apiway/health",
        scope={"root_path": "/api"},
        ids={},
        seen={},
        echo={},
    ),
    "a server that leaves the mount out of the path": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/health"]),
        path="/health",
        scope={"root_path": "/api"},
        environ={"SCRIPT_NAME": "/api"},
        ids={},
        seen={},
        echo={},
    ),
    "only the exact path is excluded": Case(
        lines=(SESSION,), policy=Policy(exclude=["/health"]), path="/health/", ids=S1
    ),
    "the query string excludes nothing": Case(
        lines=(SESSION, ("Host", "x/health?")),
        policy=Policy(exclude=["/health"]),
        path="/admin",
        query="/health",
        ids=S1,
    ),
    "an excluded path demands nothing": Case(
        lines=(SESSION,),
        policy=Policy(exclude=["/health"], user=user_spec(required=True)),
        path="/health",
        ids={},
    ),
    "an excluded path hides the secret": Case(
        lines=(("X-Proxy-Secret", NEW), USER, ("X_User_ID", "mallory")),
        policy=Policy(shared_secret=("X-Proxy-Secret", NEW), exclude=["/health"]),
        path="/health",
        ids={},
    ),
    "switched off": Case(
        lines=(SESSION, USER), policy=Policy(trusted_peers=EVERYONE, enabled=False), ids={}
    ),
    "not forwarded": Case(
        lines=(SESSION,), policy=Policy(session=session_spec(forward=False)), ids=S1, seen={}
    ),
    "minted and not forwarded": Case(
        policy=Policy(session=session_spec(forward=False)), ids=FRESH, seen={}
    ),
    "a proven user that is not forwarded": _proven(
        USER,
        policy=Policy(trusted_peers=[PROXY], user=user_spec(forward=False)),
        ids=ALICE,
        seen={"x-session-id": "s1"},
    ),
    "not echoed": Case(
        lines=(SESSION,), policy=Policy(session=session_spec(echo=False)), ids=S1, echo={}
    ),
    "minted and not echoed": Case(
        policy=Policy(session=session_spec(echo=False)), ids=FRESH, echo={}
    ),
    "neither minted, forwarded nor echoed": Case(
        policy=Policy(session=session_spec(echo=False, forward=False, mint=None)), ids={}
    ),
    "a user that is not echoed": _proven(
        USER,
        policy=Policy(trusted_peers=[PROXY], user=user_spec(echo=False)),
        ids=ALICE,
        echo={"x-session-id": "s1"},
    ),
}


def _sources(*sources: Any, **more: Any) -> Policy:
    return Policy(session=session_spec(sources=sources, **more))


def _raises(line: str) -> str:
    raise RuntimeError(line)


def _last(line: str) -> str:
    return line.rpartition(";")[2]


TRACED = Policy(extra=[request_spec(sources=[Header.traceparent()])])
TWO = _sources("X-Session-ID", "X-Correlation-ID")
TRACED_IDS = S1 | {"request_id": TRACE}

SOURCES = {
    "a header that is parsed": Case(
        lines=(SESSION, ("traceparent", TRACEPARENT)), policy=TRACED, ids=TRACED_IDS
    ),
    "a header that cannot be parsed": Case(
        lines=(SESSION, ("traceparent", "nonsense")),
        policy=TRACED,
        ids=S1 | {"request_id": MINT},
    ),
    "a header whose parse fails": Case(
        lines=(("X-Raw", "a"),), policy=_sources(Header("X-Raw", parse=_raises)), ids=FRESH
    ),
    "what parse returns is checked": Case(
        lines=(("X-Raw", "x;a b"),), policy=_sources(Header("X-Raw", parse=_last)), ids=FRESH
    ),
    "its own header parsed": Case(
        lines=(("X-Session-ID", "v1;s1"),),
        policy=_sources(Header("X-Session-ID", parse=_last)),
        ids=S1,
    ),
    "its own header, and nothing in it": Case(
        lines=(("X-Session-ID", "v1;"),),
        policy=_sources(Header("X-Session-ID", parse=_last)),
        ids=FRESH,
    ),
    "parsed, and not understood, is rejected": _refused(
        400,
        "session_id",
        lines=(("X-Raw", "x;"),),
        policy=_sources(Header("X-Raw", parse=_last), on_invalid="reject"),
        ids=FRESH,
    ),
    "the root of X-Amzn-Trace-Id": Case(
        lines=(("X-Amzn-Trace-Id", "Self=1-a;Root=1-67891233-abcdef012345678912345678"),),
        policy=_sources(Header.amzn_trace_id()),
        ids={"session_id": "1-67891233-abcdef012345678912345678"},
    ),
    "a cookie": Case(
        lines=(("Cookie", "a=1; sid=s1; b=2"),), policy=_sources(Cookie("sid")), ids=S1
    ),
    "a cookie twice": Case(
        lines=(("Cookie", "sid=s1; sid=s2"),), policy=_sources(Cookie("sid")), ids=FRESH
    ),
    "an empty cookie": Case(lines=(("Cookie", "sid="),), policy=_sources(Cookie("sid")), ids=FRESH),
    "a query parameter": Case(query="a=1&sid=s1", policy=_sources(Query("sid")), ids=S1),
    "a query parameter outside ASCII": Case(
        query="sid=%E6%97%A5", policy=_sources(Query("sid")), ids=FRESH
    ),
    "a query parameter with a line break": _refused(
        400,
        "session_id",
        query="sid=a%0D%0AX",
        policy=_sources(Query("sid"), on_invalid="reject"),
        ids=FRESH,
    ),
    "a query parameter twice": Case(
        query="sid=s1&sid=s1", policy=_sources(Query("sid")), ids=FRESH
    ),
    "more query parameters than are read": Case(
        query="sid=s1" + "&a=1" * 1001, policy=_sources(Query("sid")), ids=FRESH
    ),
    "its own header is no source": Case(
        lines=(("X-Session-ID", "spoof"),),
        query="sid=s1",
        policy=_sources(Query("sid")),
        ids=S1,
    ),
    "its own header is no source, nor seen": Case(
        lines=(("X-User-ID", "spoof"), SESSION),
        policy=Policy(user=user_spec(accept="anyone", sources=[Query("u")])),
        ids=S1,
    ),
    "a subdomain": Case(
        lines=(SESSION, ("Host", "ACME.app.example:8443")),
        policy=Policy(tenant=tenant_spec(accept="anyone", sources=[Subdomain("app.example")])),
        ids=S1 | {"tenant_id": "acme"},
        how={"tenant_id": "client"},
    ),
    "no subdomain": Case(
        lines=(SESSION, ("Host", "app.example")),
        policy=Policy(tenant=tenant_spec(accept="anyone", sources=[Subdomain("app.example")])),
        ids=S1,
    ),
    "a segment of the path": Case(
        lines=(SESSION,),
        path="/tenants/acme/orders",
        policy=Policy(
            tenant=tenant_spec(accept="anyone", sources=[PathPrefix("/tenants/{tenant_id}")])
        ),
        ids=S1 | {"tenant_id": "acme"},
        how={"tenant_id": "client"},
    ),
    "a segment that is no ID": Case(
        lines=(SESSION,),
        path="/tenants/a b/orders",
        policy=Policy(
            tenant=tenant_spec(accept="anyone", sources=[PathPrefix("/tenants/{tenant_id}")])
        ),
        ids=S1,
    ),
    "two sources: the first": Case(
        lines=(SESSION, ("X-Correlation-ID", "c1")),
        policy=TWO,
        ids=S1,
        seen={"x-session-id": "s1"},
    ),
    "two sources: the second": Case(
        lines=(("X-Correlation-ID", "c1"),),
        policy=TWO,
        ids={"session_id": "c1"},
        seen={"x-session-id": "c1", "x-correlation-id": "c1"},
    ),
    "two sources: the first is empty": Case(
        lines=(("X-Session-ID", ""), ("X-Correlation-ID", "c1")),
        policy=TWO,
        ids={"session_id": "c1"},
        seen={"x-session-id": "c1", "x-correlation-id": "c1"},
    ),
    "two sources: the first is invalid": Case(
        lines=(("X-Session-ID", "a b"), ("X-Correlation-ID", "c1")),
        policy=TWO,
        ids={"session_id": "c1"},
        seen={"x-session-id": "c1", "x-correlation-id": "c1"},
    ),
    "two sources: both are invalid": Case(
        lines=(("X-Session-ID", "a b"), ("X-Correlation-ID", "c d")),
        policy=TWO,
        ids=FRESH,
        seen={"x-session-id": MINT},
    ),
    "two proven sources": _proven(
        ("X-Auth-User", "alice"),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(sources=["X-User-ID", "X-Auth-User"])),
        ids=ALICE,
        seen={"x-session-id": "s1", "x-user-id": "alice", "x-auth-user": "alice"},
    ),
    "two sources without proof": Case(
        lines=(SESSION, USER, ("X-Auth-User", "bob")),
        policy=Policy(trusted_peers=[PROXY], user=user_spec(sources=["X-User-ID", "X-Auth-User"])),
        ids=S1,
        seen={"x-session-id": "s1"},
    ),
    "a header, else a cookie": Case(
        lines=(("Cookie", "sid=s1"),), policy=_sources("X-Session-ID", Cookie("sid")), ids=S1
    ),
    "a generator of uuid7 IDs": Case(
        lines=(SESSION,), policy=Policy(session=session_spec(mint=ids.uuid7)), ids=S1
    ),
}

CASES: dict[str, Case] = {
    **BASICS,
    **PEERS,
    **CONFLATING,
    **FORWARDED,
    **SECRETS,
    **SHAPES,
    **COPIES,
    **CONNECTION,
    **DEMANDS,
    **SINKS,
    **SOURCES,
}

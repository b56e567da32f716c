"""
Headers that an ID is read out of, and that others read as well.
"""

from __future__ import annotations

from typing import Any

import pytest

from drive import PROXY, STRANGER, ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    Header,
    IDSpec,
    Policy,
    PolicyError,
    UntrustedID,
    asgi,
    get_session_context,
    get_session_id,
    get_user_id,
    require,
    session_spec,
    user_spec,
    wsgi,
)
from idlanyard.ids import Provenance


def bearer(line: str) -> str:
    """
    Return the subject of a token, as a verification would.
    """
    return line.removeprefix("Bearer ").partition(".")[0]


def seen(policy: Policy, header: str, value: str, peer: str) -> list[tuple[Any, Any, Any]]:
    """
    Return the header, the user and its provenance as applications of both protocols see them.
    """
    found: list[tuple[Any, Any, Any]] = []

    def note(raw: str | None) -> None:
        found.append((raw, get_user_id(), get_session_context().provenance("user_id")))

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        lines = dict(scope["headers"])
        raw = lines.get(header.lower().encode())
        note(None if raw is None else raw.decode())

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        note(environ.get("HTTP_" + header.upper().replace("-", "_")))
        start_response("200 OK", [])
        return []

    lines = [(header, value)]
    ask_asgi_at_once(asgi.SessionContextMiddleware(asgi_app, policy), http_scope(lines, peer=peer))
    environ = environ_of(lines, peer=peer, SERVER_SOFTWARE="gunicorn/23.0.0")
    ask_wsgi(wsgi.SessionContextMiddleware(wsgi_app, policy), environ)
    return found


OWNED = [
    *("Authorization", "Cookie", "Host", "User-Agent", "Referer", "Origin", "X-API-Key"),
    *("Proxy-Authorization", "X-CSRFToken", "traceparent", "X-Amzn-Trace-Id"),
    *("X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Original-URL"),
]


@pytest.mark.parametrize("header", OWNED)
@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["stranger", "proxy"])
def test_a_header_of_others_stays(header: str, peer: str) -> None:
    """
    A header with a meaning of its own stays as it came, from any sender; only the ID is dropped.
    """
    policy = Policy(user=user_spec(sources=[Header(header, bearer)]), trusted_peers=[PROXY])
    user = ("alice", Provenance.PEER) if peer == PROXY else (None, None)
    value = "Bearer alice.sig"
    assert seen(policy, header, value, peer) == [(value, *user)] * 2


@pytest.mark.parametrize("header", ["X-Amzn-Oidc-Data", "X-Forwarded-User", "Remote-User"])
def test_an_assertion_that_nobody_vouches_for_is_removed(header: str) -> None:
    """
    R6: a header that is for nothing but to name the user leaves the request of a stranger.
    """
    policy = Policy(user=user_spec(sources=[Header(header, bearer)]), trusted_peers=[PROXY])
    assert seen(policy, header, "eve", STRANGER) == [(None, None, None)] * 2


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(("x_api_key", "other"), id="an alias"),
        pytest.param(("X-API-Key", "other"), id="a second line"),
        pytest.param(("Connection", "X-API-Key"), id="named by Connection"),
    ],
)
def test_a_header_of_others_stays_whatever_stands_beside_it(beside: tuple[str, str]) -> None:
    """
    A header with a meaning of its own stays for its other readers even if no ID can be read from
    it.
    """
    policy = Policy(user=user_spec(accept="anyone", sources=[Header("X-API-Key", bearer)]))
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.extend([scope["headers"], get_user_id()])

    scope = http_scope([("X-API-Key", "alice.key"), beside])
    ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), dict(scope))
    lines, user = found
    assert (b"x-api-key", b"alice.key") in lines
    assert user is None


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP"])
def test_a_forwarding_header_that_is_read_still_tells_of_a_rewritten_peer(header: str) -> None:
    """
    S19: reading an ID out of a forwarding header does not hide that the peer is in it.
    """
    device = IDSpec(name="device_id", header="X-D", accept="anyone", sources=[Header(header, str)])
    policy = Policy(extra=[device], trusted_peers=[PROXY])
    value = f"for={PROXY}" if header == "Forwarded" else PROXY
    users: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        users.append(get_user_id())
        assert (header.lower().encode(), value.encode()) in scope["headers"]

    lines = [("X-User-ID", "eve"), (header, value)]
    scope = http_scope(lines, peer=PROXY)
    ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), scope)
    assert users == [None]


def test_an_alias_of_a_forwarding_header_that_is_read_says_nothing_about_the_peer() -> None:
    """
    S19: no server writes the peer from another spelling of a forwarding header.
    """
    policy = Policy(
        user=user_spec(sources=["X-User-ID", Header("X-Real-IP", parse=str)]),
        trusted_peers=[PROXY],
    )
    users: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        users.append(get_user_id())

    scope = http_scope([("X-User-ID", "alice"), ("x_real_ip", "no address")], peer=PROXY)
    ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), scope)
    assert users == ["alice"]


@pytest.mark.parametrize("sent", ["X-Session-ID", "X_Session_ID"])
@pytest.mark.parametrize(
    "sources",
    [
        pytest.param(["X-Session-ID", "X_Session_ID"], id="hyphens first"),
        pytest.param(["X_Session_ID", "X-Session-ID"], id="underscores first"),
    ],
)
def test_an_id_may_be_read_from_two_spellings_of_one_header(sources: list[str], sent: str) -> None:
    """
    S3: a spelling that the policy lists is a header of its own and no alias of the other one.
    """
    policy = Policy(session=session_spec(sources=sources), exclude=["/health"])
    found: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(get_session_id())

    served = asgi.SessionContextMiddleware(app, policy)
    for path in ("/", "/health"):
        ask_asgi_at_once(served, http_scope([(sent, "s1")], path=path))
    assert found == ["s1", None]


def test_a_lone_spelling_with_underscores_is_read() -> None:
    """
    An ID that is read from ``X_Session_ID`` alone is echoed by its header.
    """
    policy = Policy(session=session_spec(sources=["X_Session_ID"]))
    found: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(get_session_id())

    served = asgi.SessionContextMiddleware(app, policy)
    ask_asgi_at_once(served, http_scope([("X_Session_ID", "s1")]))
    assert found == ["s1"]


def test_what_is_parsed_is_the_clients_word() -> None:
    """
    R6: a value accepted from anyone is CLIENT, also out of a header that parse verified.
    """
    policy = Policy(user=user_spec(accept="anyone", sources=[Header("Authorization", bearer)]))
    line = "Bearer alice.sig"
    assert seen(policy, "Authorization", line, STRANGER) == [(line, "alice", Provenance.CLIENT)] * 2

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(UntrustedID):
            require("user_id", proven=True)

    scope = http_scope([("Authorization", line)])
    ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), scope)


def test_connection_is_read_by_nobody_else() -> None:
    """
    S5: no ID is read from ``Connection``, which must go on naming headers.
    """
    with pytest.raises(PolicyError, match="names other headers"):
        session_spec(sources=[Header("Connection", bearer)])

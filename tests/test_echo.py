"""
The echo of a request's IDs on its response (R9, S11, S12, S26).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive import (
    PROXY,
    Line,
    Message,
    ask_asgi,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    values_of,
)
from idlanyard import (
    UNSET,
    Policy,
    asgi,
    identify,
    session_context,
    session_spec,
    user_spec,
    wsgi,
)

S1 = [("X-Session-ID", "s1")]
ALWAYS = Policy(session=session_spec(echo="always"))
EXPOSED = Policy(expose=True)


def _by_asgi(
    status: int,
    headers: list[Line],
    *,
    policy: Policy | None = None,
    lines: Any = S1,
    method: str = "GET",
) -> list[Line]:
    """
    Return the final headers of an ASGI response with *headers*.
    """
    pairs = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": pairs})

    scope = http_scope(lines, peer=PROXY, method=method)
    [start] = ask_asgi(asgi.SessionContextMiddleware(app, policy), scope)
    assert start["status"] == status
    return pairs_of(start)


def _by_wsgi(
    status: int,
    headers: list[Line],
    *,
    policy: Policy | None = None,
    lines: Any = S1,
    method: str = "GET",
) -> list[Line]:
    """
    Return the final headers of a WSGI response with *headers*.
    """

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(f"{status} Said", headers)
        return []

    app_ = wsgi.SessionContextMiddleware(app, policy)
    return ask_wsgi(app_, environ_of(lines, peer=PROXY, REQUEST_METHOD=method)).headers


ACAO = ("Access-Control-Allow-Origin", "https://app.example")
EXPOSE = "Access-Control-Expose-Headers"

Serve = Callable[..., list[Line]]
BOTH = pytest.mark.parametrize(
    "serve", [pytest.param(_by_asgi, id="asgi"), pytest.param(_by_wsgi, id="wsgi")]
)


@BOTH
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([("X-Session-ID", "app")], id="one of the app's"),
        pytest.param([("x-session-id", "a"), ("X-SESSION-ID", "b")], id="two of the app's"),
    ],
)
def test_the_echo_replaces(serve: Serve, headers: list[Line]) -> None:
    """
    The client gets exactly the ID that was in force, once, whatever the app set (R9, S26).
    """
    assert values_of(serve(200, headers), "X-Session-ID") == ["s1"]


UNLESS_SET = Policy(session=session_spec(echo="unless set"), trusted_peers=[PROXY], expose=True)


@BOTH
@pytest.mark.parametrize(
    ("headers", "session"),
    [
        pytest.param([], ["s1"], id="none"),
        pytest.param([("x-session-id", "app")], ["app"], id="one of the app's"),
        pytest.param([("X-SESSION-ID", "a"), ("X-Session-ID", "b")], ["a", "b"], id="two"),
        pytest.param([("X-User-ID", "app")], ["s1"], id="of another ID"),
    ],
)
def test_unless_set_leaves_the_header_of_the_app(
    serve: Serve, headers: list[Line], session: list[str]
) -> None:
    """
    ``echo="unless set"`` keeps the app's own copy, for that ID alone, and exposes either (R9).
    """
    lines = [*S1, ("X-User-ID", "alice")]
    said = serve(200, [*headers, ACAO], policy=UNLESS_SET, lines=lines)
    assert values_of(said, "X-Session-ID") == session
    assert values_of(said, "X-User-ID") == ["alice"]
    assert values_of(said, EXPOSE) == ["X-Session-ID, X-User-ID"]


@BOTH
def test_where_the_app_set_every_header_nothing_else_is_said(serve: Serve) -> None:
    """
    A response that none of our IDs is written on is not made private either (R9).
    """
    policy = Policy(session=session_spec(echo="unless set"))
    headers = [("X-Session-ID", "app"), ("Content-Type", "text/plain")]
    said = serve(200, headers, policy=policy)
    assert [(name.lower(), value) for name, value in said] == [
        ("x-session-id", "app"),
        ("content-type", "text/plain"),
    ]


@BOTH
@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 416, 500, 503])
def test_statuses_that_carry_the_echo(serve: Serve, status: int) -> None:
    """
    A final response carries the echo, errors and redirects too (R9, S26).
    """
    assert values_of(serve(status, []), "X-Session-ID") == ["s1"]


@BOTH
@pytest.mark.parametrize("status", [100, 103, 199, 206, 304])
@pytest.mark.parametrize(
    ("policy", "echo"),
    [pytest.param(None, [], id="as usual"), pytest.param(ALWAYS, ["s1"], id="always")],
)
def test_statuses_that_carry_none(
    serve: Serve, status: int, policy: Policy | None, echo: list[str]
) -> None:
    """
    R9, S11: 1xx, 206 and 304 have no echo by default, since they change a stored response.
    """
    assert values_of(serve(status, [], policy=policy), "X-Session-ID") == echo


@BOTH
def test_where_the_echo_is_skipped_the_header_of_the_app_stays(serve: Serve) -> None:
    """
    A skipped echo takes nothing of the app's away (R9).
    """
    headers = [("Cache-Control", "public"), ("X-Session-ID", "app")]
    assert values_of(serve(200, headers), "X-Session-ID") == ["app"]
    assert values_of(serve(304, [("X-Session-ID", "app")]), "X-Session-ID") == ["app"]


@BOTH
def test_always_is_per_id(serve: Serve) -> None:
    """
    R9: ``echo="always"`` of one ID does not echo the others on what caches may store.
    """
    policy = Policy(trusted_peers=[PROXY], session=session_spec(echo="always"))
    lines = [*S1, ("X-User-ID", "alice")]
    said = serve(200, [("Cache-Control", "public")], policy=policy, lines=lines)
    assert values_of(said, "X-Session-ID") == ["s1"]
    assert values_of(said, "X-User-ID") == []


@BOTH
@pytest.mark.parametrize(
    ("headers", "exposed"),
    [
        pytest.param([], [], id="no CORS"),
        pytest.param([(EXPOSE, "ETag")], ["ETag"], id="no origin allowed"),
        pytest.param([ACAO], ["X-Session-ID"], id="an origin"),
        pytest.param(
            [ACAO, (EXPOSE, "X-Total-Count, ETag")],
            ["X-Total-Count, ETag, X-Session-ID"],
            id="merged",
        ),
        pytest.param(
            [ACAO, (EXPOSE, "ETag"), (EXPOSE, "X-Total-Count")],
            ["ETag, X-Total-Count, X-Session-ID"],
            id="several lines",
        ),
        pytest.param([ACAO, (EXPOSE, "x-session-id")], ["x-session-id"], id="known already"),
        pytest.param([ACAO, (EXPOSE, "*")], ["*, X-Session-ID"], id="a wildcard stays"),
        pytest.param([ACAO, (EXPOSE, " ,, ")], ["X-Session-ID"], id="empty members"),
        pytest.param(
            [ACAO, (EXPOSE, "ETag"), ("Cache-Control", "public")], ["ETag"], id="nothing echoed"
        ),
    ],
)
def test_expose_merges_our_names(serve: Serve, headers: list[Line], exposed: list[str]) -> None:
    """
    R9, S12: with ``expose`` our names are once beside the app's, if an origin is allowed.
    """
    said = serve(200, headers, policy=EXPOSED)
    assert values_of(said, EXPOSE) == exposed
    assert values_of(said, "Access-Control-Allow-Headers") == []


@BOTH
def test_expose_is_off_by_default(serve: Serve) -> None:
    """
    Without ``expose`` the CORS headers are the app's (S12).
    """
    said = serve(200, [ACAO, (EXPOSE, "ETag")])
    assert values_of(said, EXPOSE) == ["ETag"]


@BOTH
def test_expose_names_only_what_is_echoed(serve: Serve) -> None:
    """
    An ID that is absent, or not echoed, is not exposed either (S12).
    """
    policy = Policy(expose=True, trusted_peers=[PROXY], user=user_spec(echo=False))
    said = serve(200, [ACAO], policy=policy, lines=[*S1, ("X-User-ID", "alice")])
    assert values_of(said, EXPOSE) == ["X-Session-ID"]


IDENTIFIED: list[tuple[str, Callable[[], Any], dict[str, list[str]]]] = [
    ("identify", lambda: identify(user_id="alice"), {"X-User-ID": ["alice"]}),
    ("removed", lambda: identify(session_id=UNSET), {"X-Session-ID": []}),
    ("an overlay is not echoed", lambda: session_context(user_id="o").__enter__(), {}),
]


@BOTH
@pytest.mark.parametrize(
    ("change", "echo"), [pytest.param(change, echo, id=name) for name, change, echo in IDENTIFIED]
)
def test_the_echo_reads_the_scope_when_the_response_starts(
    serve: Serve, change: Callable[[], Any], echo: dict[str, list[str]]
) -> None:
    """
    R2, R9: IDs that ``identify`` set before the start are echoed, an overlay never.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        change()
        await send({"type": "http.response.start", "status": 200})

    def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:
        change()
        start_response("200 OK", [])
        return []

    if serve is _by_asgi:
        [start] = ask_asgi(asgi.SessionContextMiddleware(app), http_scope(S1))
        said = pairs_of(start)
    else:
        said = ask_wsgi(wsgi.SessionContextMiddleware(wsgi_app), environ_of(S1)).headers
    expected = {"X-Session-ID": ["s1"], "X-User-ID": []} | echo
    assert {name: values_of(said, name) for name in expected} == expected


@BOTH
def test_an_app_that_makes_up_header_names_is_served(serve: Serve) -> None:
    """
    Many different header names in responses pass unchanged and are not all remembered (R14).
    """
    headers = [(f"X-Made-Up-{number}", "v") for number in range(5000)]
    said = serve(200, [*headers, ("X-Session-ID", "app")])
    assert len(said) == 5002
    assert values_of(said, "X-Session-ID") == ["s1"]


NAMES = st.sampled_from(
    ["X-Session-ID", "x-session-id", "X-User-ID", "Cache-Control", "Set-Cookie", "ETag", "X-A"]
)
VALUES = st.sampled_from(["a", "b", "public", "private", "max-age=60", "no-store", ""])
STATUSES = st.sampled_from([200, 204, 206, 304, 404, 500])


@BOTH
@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=8), status=STATUSES)
def test_everything_else_is_as_the_app_said(serve: Serve, headers: list[Line], status: int) -> None:
    """
    R9: apart from the echoed names, a response that no cache keeps is as the app made it, order
    and case included.
    """
    said = serve(status, headers, method="POST")
    written = {"x-session-id"} if ("s1" in values_of(said, "X-Session-ID")) else set()
    rest = [pair for pair in said if pair[0].lower() not in written]
    given_ = [pair for pair in headers if pair[0].lower() not in written]
    if serve is _by_asgi:
        given_ = [(name.lower(), value) for name, value in given_]
    assert rest == given_
    assert len(values_of(said, "X-Session-ID")) == 1 or not written


def test_names_of_an_asgi_app_in_capitals_are_replaced_too() -> None:
    """
    An ASGI app that spells header names in capitals still sends one ID (R9, S26).
    """
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"X-Session-ID", b"app"), (b"X-Kept", b"1")],
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)

    [sent] = ask_asgi(asgi.SessionContextMiddleware(app), http_scope(S1))
    private = (b"cache-control", b"private")
    assert sent["headers"] == [(b"X-Kept", b"1"), (b"x-session-id", b"s1"), private]


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(Policy(exclude=["/"]), id="excluded"),
        pytest.param(Policy(enabled=False), id="switched off"),
    ],
)
@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_where_nothing_is_bound_nothing_is_echoed(protocol: str, policy: Policy) -> None:
    """
    S24: at an excluded path, and with the policy switched off, IDs from ``identify`` end with the
    request and are not echoed.
    """

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        identify(user_id="alice")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        identify(user_id="alice")
        start_response("200 OK", [])
        return []

    if protocol == "asgi":
        sent = ask_asgi(asgi.SessionContextMiddleware(asgi_app, policy), http_scope(S1))
        said = pairs_of(sent[0])
    else:
        said = ask_wsgi(wsgi.SessionContextMiddleware(wsgi_app, policy), environ_of(S1)).headers
    assert said == []

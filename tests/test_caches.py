"""
No cache gives the IDs of one client to another (R9, S11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_cases import BARE, CASES, ETAG, PRIVATE, Case, expected
from drive import (
    PROXY,
    Line,
    ask_asgi,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    values_of,
    websocket_scope,
)
from idlanyard import Policy, PolicyError, asgi, session_spec, user_spec, wsgi
from idlanyard._decision.plan import CompiledPolicy, compile_policy
from idlanyard._decision.protocols import ASGI, WSGI
from idlanyard._decision.response import add_echo
from idlanyard.testing import raise_failures

IDS = [("X-Session-ID", "s1"), ("X-User-ID", "alice")]
ECHO = [("x-session-id", "s1"), ("x-user-id", "alice")]
MARKING = Policy(trusted_peers=[PROXY])
UNMARKED = Policy(trusted_peers=[PROXY], mark_private=False)
ALWAYS = Policy(trusted_peers=[PROXY], session=session_spec(echo="always"))


def _by_asgi(case: Case, policy: Policy) -> list[Line]:
    pairs = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in case.headers]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Such middlewares exist; a cache saw the method that came in.
        scope["method"] = "PURGE"
        await send({"type": "http.response.start", "status": case.status, "headers": pairs})

    scope = http_scope(IDS, peer=PROXY, method=case.method)
    with raise_failures():
        [start] = ask_asgi(asgi.SessionContextMiddleware(app, policy), scope)
    return pairs_of(start)


def _by_wsgi(case: Case, policy: Policy) -> list[Line]:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["REQUEST_METHOD"] = "PURGE"
        start_response(f"{case.status} Said", [*case.headers])
        return []

    environ = environ_of(IDS, peer=PROXY, REQUEST_METHOD=case.method)
    with raise_failures():
        return ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ).headers


Serve = Callable[[Case, Policy], list[Line]]
BOTH = pytest.mark.parametrize(
    "serve", [pytest.param(_by_asgi, id="asgi"), pytest.param(_by_wsgi, id="wsgi")]
)
EACH = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items()]
)


def _plain(lines: Iterable[Line]) -> list[Line]:
    return sorted((name.lower(), value.strip()) for name, value in lines)


@BOTH
@EACH
def test_each_response_ends_as_caches_demand(serve: Serve, case: Case) -> None:
    """
    A response that caches may share has no echo, one that they may not share is echoed as it is,
    and one without instructions is echoed and made private.
    """
    assert _plain(serve(case, MARKING)) == expected(case, ECHO)


@BOTH
@EACH
def test_what_is_not_to_be_marked_is_bare(serve: Serve, case: Case) -> None:
    """
    With ``mark_private=False`` a response without instructions to caches is left as it is,
    without the IDs.
    """
    assert _plain(serve(case, UNMARKED)) == expected(case, ECHO, mark_private=False)


@BOTH
@EACH
def test_always_writes_one_id_whatever_caches_do(serve: Serve, case: Case) -> None:
    """
    ``echo="always"`` of one ID ignores caches, and does not echo the others.
    """
    said = serve(case, ALWAYS)
    assert values_of(said, "X-Session-ID") == ["s1"]
    assert values_of(said, "X-User-ID") == ([] if case.end == BARE else ["alice"])


@BOTH
@EACH
def test_always_alone_leaves_cache_control_alone(serve: Serve, case: Case) -> None:
    """
    If every ID is echoed always, no header about caches is touched.
    """
    policy = Policy(session=session_spec(echo="always"), user=None, tenant=None)
    plain = [(name.lower(), value.strip()) for name, value in case.headers]
    # The user's header is nobody's here.
    assert _plain(serve(case, policy)) == sorted([*plain, ("x-session-id", "s1")])


@BOTH
def test_always_of_one_id_marks_nothing_where_no_other_is_there(serve: Serve) -> None:
    """
    A response whose only echo is that of an ID with ``echo="always"`` is not made private.
    """
    policy = Policy(session=session_spec(echo="always"), user=user_spec(echo="unless set"))
    case = Case(headers=(("Content-Type", "text/plain"),), end=PRIVATE)
    assert values_of(serve(case, policy), "Cache-Control") == []


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_mark_private_is_true_or_false(value: Any) -> None:
    """
    Another value of ``mark_private`` is refused with a sentence that shows the right one.
    """
    with pytest.raises(PolicyError, match="mark_private is True or False"):
        Policy(mark_private=value)


def test_a_handshake_is_echoed_and_says_nothing_to_caches() -> None:
    """
    A WebSocket's handshake is nothing that a cache keeps, whatever method its server names.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "headers": []})

    sent = ask_asgi(asgi.SessionContextMiddleware(app), websocket_scope(IDS))
    assert sent == [{"type": "websocket.accept", "headers": [(b"x-session-id", b"s1")]}]


@pytest.mark.parametrize(
    ("status", "private"),
    [pytest.param(404, ["private"], id="404"), pytest.param(403, [], id="403")],
)
def test_a_denied_handshake_is_an_ordinary_response(status: int, private: list[str]) -> None:
    """
    A response in place of a WebSocket is judged as a response to GET.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})

    [start] = ask_asgi(asgi.SessionContextMiddleware(app), websocket_scope(IDS))
    said = pairs_of(start)
    assert values_of(said, "x-session-id") == ["s1"]
    assert values_of(said, "cache-control") == private


def test_a_request_without_a_method_counts_as_get() -> None:
    """
    A server that names no method is answered as if caches kept the response.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = http_scope(IDS)
    del scope["method"]
    [start] = ask_asgi(asgi.SessionContextMiddleware(app), scope)
    assert values_of(pairs_of(start), "cache-control") == ["private"]

    def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return []

    environ = environ_of(IDS)
    del environ["REQUEST_METHOD"]
    said = ask_wsgi(wsgi.SessionContextMiddleware(wsgi_app), environ).headers
    assert values_of(said, "cache-control") == ["private"]


NAMES = st.sampled_from(
    (
        "Cache-Control CDN-Cache-Control Surrogate-Control Edge-Control X-Accel-Expires Expires "
        "ETag Last-Modified X-Session-ID Access-Control-Allow-Origin X-A"
    ).split()
)
WORDS = st.sampled_from(
    [
        *'=,"\\0@\xff\x85\n ;\xb2',
        *("public", "private", "no-store", "max-age=", "max-age=60", "s-maxage", "-1"),
        "Thu, 01 Jan 2099 00:00:00 GMT",
    ]
)
VALUES = st.one_of(
    st.lists(WORDS, max_size=8).map("".join),
    st.text(st.characters(max_codepoint=255), max_size=40),
)


@BOTH
@pytest.mark.parametrize("policy", [MARKING, UNMARKED], ids=["marked", "unmarked"])
@given(
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    status=st.sampled_from([200, 204, 206, 304, 404, 500]),
)
def test_no_header_of_an_app_makes_the_echo_fail(
    serve: Serve, policy: Policy, headers: list[Line], status: int
) -> None:
    """
    R14: no bytes in the app's headers make the echo fail, and a response has an ID only if a
    strict cache finds a directive against storing it.
    """
    said = serve(Case(headers=tuple(headers), end="", status=status), policy)
    if values_of(said, "X-User-ID") == ["alice"] and status != 500:
        control = ",".join(values_of(said, "Cache-Control"))
        assert "private" in control or "no-store" in control
    assert len(values_of(said, "Cache-Control")) <= max(1, len(values_of(headers, "Cache-Control")))


def _plan_of(policy: Policy) -> CompiledPolicy:
    return compile_policy(policy, WSGI)


@given(
    responses=st.lists(
        st.tuples(
            st.lists(st.tuples(NAMES, VALUES), max_size=4),
            st.sampled_from([200, 304, 404, 500]),
            st.sampled_from(["GET", "POST"]),
        ),
        max_size=6,
    ),
    policy=st.sampled_from([MARKING, UNMARKED, ALWAYS, Policy(expose=True)]),
)
def test_what_is_remembered_changes_no_response(
    responses: list[tuple[list[Line], int, str]], policy: Policy
) -> None:
    """
    R9: a policy that has seen other responses decides on one as a policy does that has seen none.
    """
    seasoned = _plan_of(policy)
    for headers, status, method in responses * 2:
        said = add_echo(seasoned, method, status, headers, IDS)
        assert said == add_echo(_plan_of(policy), method, status, headers, IDS)


@pytest.mark.parametrize("dialect", [ASGI, WSGI], ids=["asgi", "wsgi"])
def test_what_is_remembered_of_headers_is_bounded(dialect: Any) -> None:
    """
    Effects, names and dates are remembered up to a number, and the long ones never.
    """
    plan = compile_policy(Policy(), dialect)
    encode = (lambda text: text.encode()) if dialect is ASGI else str
    for number in range(2000):
        for name, value in (
            (f"x-{number}", "a"),
            ("x" * 300, "a"),
            (f"x{number}-cache-control", "a"),
            ("cache-control", f"max-age=0, x={number}"),
            ("cache-control", "no-store" + "," * 300),
            ("expires", f"{number}"),
        ):
            add_echo(plan, "GET", 200, [(encode(name), encode(value))], [])
    effects = plan.effects
    tables: list[list[Any]] = [[*effects.plain], [*effects.values_count], [*plan.caches.dates]]
    tables.append([b"".join(map(_to_bytes, parts)) for parts in effects._known])
    assert [0 < len(table) <= 256 for table in tables] == [True] * 4
    assert max(len(text) for table in tables for text in table) <= 256


def _to_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def test_a_verdict_that_is_remembered_is_the_same() -> None:
    """
    A line seen before is judged as it was the first time, for its own header.
    """
    plan = _plan_of(Policy())
    for _ in range(2):
        for before, after in (
            ([("Cache-Control", "private")], [("Cache-Control", "private"), *IDS]),
            (
                [("Surrogate-Control", "private")],
                [("Surrogate-Control", "private, no-store"), *IDS, ("Cache-Control", "private")],
            ),
            ([ETAG, ("Cache-Control", "private")], [ETAG, ("Cache-Control", "private"), *IDS]),
            ([ETAG], [ETAG]),
        ):
            assert add_echo(plan, "GET", 200, before, IDS) == after


def test_a_header_that_is_no_instruction_tells_caches_nothing() -> None:
    """
    R9: what caches are told depends on the headers that are meant for them.
    """
    caches = _plan_of(Policy()).caches
    assert caches.read_instructions([("X-A", "public")]) == caches.read_instructions([])


def test_a_pair_of_the_application_may_be_a_list() -> None:
    """
    R9: whatever iterable the application writes for a pair, its header is made private.
    """
    headers: Any = [[b"x-a", b"1"], [b"cache-control", b"no-cache"]]
    plan = compile_policy(Policy(), ASGI)
    said = add_echo(plan, "GET", 200, headers, [(b"x-session-id", b"s1")])
    assert (b"cache-control", b"no-cache, private") in said

"""
One middleware inside another, of one protocol or two, and inside frameworks (R15).
"""

from __future__ import annotations

import asyncio
import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

import a2wsgi
import pytest
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, Response, stream_with_context
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from drive import PROXY, ask_asgi, ask_wsgi, environ_of, http_scope, pairs_of, serve_asgi, values_of
from idlanyard import (
    IDSpec,
    Policy,
    get_session_context,
    get_session_id,
    identify,
    request_spec,
    session_spec,
    tenant_spec,
    user_spec,
)
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

TRUSTING = Policy(trusted_peers=[PROXY])
IDENTIFIED = [("X-Session-ID", "s1"), ("X-User-ID", "alice")]

FURTHER = [
    IDSpec(name=f"id_{n}", header=f"X-ID-{n}", accept="anyone", required=True) for n in range(5)
]

Answer = tuple[int, list[tuple[str, str]], list[Any]]


def _asgi(policy: Policy | None, inner: Policy, lines: Any, peer: str = PROXY) -> Answer:
    """
    Serve a request by one ASGI middleware in another.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identity = [v for n, v in pairs_of(scope) if n in ("x-user-id", "x-auth-user")]
        seen.append((get_session_context().as_dict(), identity))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    start, _ = ask_asgi(
        ASGIMiddleware(ASGIMiddleware(app, inner), policy), http_scope(lines, peer=peer)
    )
    return start["status"], pairs_of(start), seen


def _wsgi(policy: Policy | None, inner: Policy, lines: Any, peer: str = PROXY) -> Answer:
    """
    Serve a request by one WSGI middleware in another.
    """
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        names = ("HTTP_X_USER_ID", "HTTP_X_AUTH_USER")
        seen.append((get_session_context().as_dict(), [environ[n] for n in names if n in environ]))
        start_response("200 OK", [])
        yield b""

    stack = WSGIMiddleware(WSGIMiddleware(app, inner), policy)
    response = ask_wsgi(stack, environ_of(lines, peer=peer))
    return int(response.status[:3]), response.headers, seen


BOTH = pytest.mark.parametrize(
    "serve", [pytest.param(_asgi, id="asgi"), pytest.param(_wsgi, id="wsgi")]
)
Serve = Callable[..., Answer]


@BOTH
@pytest.mark.parametrize(
    "lines", [pytest.param([], id="minted"), pytest.param(IDENTIFIED, id="read")]
)
def test_a_nested_middleware_mints_and_echoes_nothing(serve: Serve, lines: Any) -> None:
    """
    A request passes two middlewares with one mint, one scope and one echo (R15, S26).
    """
    status, headers, [(context, identity)] = serve(TRUSTING, TRUSTING, lines)
    assert status == 200
    assert values_of(headers, "X-Session-ID") == [context["session_id"]]
    assert values_of(headers, "X-User-ID") == identity == (["alice"] if lines else [])


@BOTH
def test_a_nested_middleware_binds_nothing_of_its_own(serve: Serve) -> None:
    """
    R15: IDs that only the inner policy declares are neither minted nor read by a nested
    middleware.
    """
    inner = Policy(trusted_peers=[PROXY], extra=[request_spec()])
    _, headers, [(context, _)] = serve(TRUSTING, inner, IDENTIFIED)
    assert context == {"session_id": "s1", "user_id": "alice"}
    assert values_of(headers, "X-Request-ID") == []


@BOTH
def test_a_nested_middleware_shows_its_own_headers(serve: Serve) -> None:
    """
    R15: headers that the inner policy manages show the outer IDs to the app, and nothing else.
    """
    inner = Policy(trusted_peers=[PROXY], user=user_spec(header="X-Auth-User"))
    lines = [*IDENTIFIED, ("X-Auth-User", "mallory")]
    _, _, [(_, identity)] = serve(TRUSTING, inner, lines)
    assert identity == ["alice", "alice"]


@BOTH
def test_a_nested_middleware_believes_no_more_than_the_outer_one(serve: Serve) -> None:
    """
    A user that the outer policy takes from anyone is no proven user of the inner one (R6, R15).
    """
    outer = Policy(user=user_spec(accept="anyone"))
    inner = Policy(user=user_spec(required=True))
    status, _, seen = serve(outer, inner, IDENTIFIED)
    assert (status, seen) == (401, [])


def _never(value: str, request: Any) -> bool:
    return False


@BOTH
@pytest.mark.parametrize(
    ("inner", "status"),
    [
        pytest.param(Policy(user=user_spec(required=True)), 200, id="a user that is there"),
        pytest.param(Policy(tenant=tenant_spec(required=True)), 401, id="a tenant that is not"),
        pytest.param(Policy(session=session_spec(required=True)), 200, id="a session"),
        pytest.param(Policy(extra=[request_spec(required=True)]), 400, id="a further ID"),
        pytest.param(Policy(extra=FURTHER), 400, id="more IDs than the outer one has"),
        pytest.param(Policy(user=user_spec(must_match=_never)), 403, id="a user that must match"),
        pytest.param(Policy(tenant=tenant_spec(must_match=_never)), 200, id="nothing to match"),
    ],
)
def test_a_nested_middleware_still_makes_its_demands(
    serve: Serve, inner: Policy, status: int
) -> None:
    """
    ``required`` and ``must_match`` of a nested policy refuse, with the session echoed once (R15).
    """
    answered, headers, seen = serve(TRUSTING, inner, IDENTIFIED)
    assert answered == status
    assert values_of(headers, "X-Session-ID") == ["s1"]
    assert len(seen) == (status == 200)


@BOTH
@pytest.mark.parametrize(
    ("inner", "words"),
    [
        pytest.param(Policy(tenant=tenant_spec(required=True)), "send X-Tenant-ID", id="absent"),
        pytest.param(Policy(user=user_spec(must_match=_never)), "must_match", id="unmatched"),
    ],
)
def test_a_nested_refusal_is_explained(
    serve: Serve, inner: Policy, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: the log explains a refusal by a nested middleware, and never has a value.
    """
    with caplog.at_level("WARNING", "idlanyard"):
        serve(TRUSTING, inner, IDENTIFIED)
    [record] = caplog.records
    assert words in record.getMessage()
    assert "alice" not in record.getMessage()


def test_a_copy_of_a_request_is_the_same_request() -> None:
    """
    R15: a middleware that copies the ``scope`` as deep as it goes, as hypercorn's does, leaves one.
    """
    copies: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        copies.append(deepcopy(scope))
        assert copies[0]["idlanyard"] is scope["idlanyard"]
        identify(user_id="alice")

    ask_asgi(ASGIMiddleware(app), http_scope([("X-Session-ID", "s1")]))
    assert not copies[0]["idlanyard"].open
    assert copies[0]["idlanyard"].look_up("user_id")[0] == "alice"


@BOTH
@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        pytest.param([("X-Session-ID", "s1")], {"session_id": "s1"}, id="its session"),
        pytest.param(IDENTIFIED, {"session_id": "s1", "user_id": "alice"}, id="all its IDs"),
        pytest.param(
            [("X-Session-ID", "s1"), ("X-User-ID", "bob")],
            {"session_id": "s1", "user_id": "bob"},
            id="its session, another user",
        ),
    ],
)
def test_a_binding_around_a_request_proves_nothing(
    serve: Serve, lines: Any, ids: dict[str, str]
) -> None:
    """
    A request made while another one of its protocol is bound has its own IDs and echo (R15, S28).
    """
    found: list[Answer] = []

    def outer(environ: Any, start_response: Any) -> Iterable[bytes]:
        found.append(serve(TRUSTING, TRUSTING, lines))
        start_response("200 OK", [])
        return []

    ask_wsgi(WSGIMiddleware(outer, TRUSTING), environ_of(IDENTIFIED, peer=PROXY))
    [(_, headers, [(context, _)])] = found
    assert context == ids
    assert values_of(headers, "X-Session-ID") == ["s1"]


@pytest.mark.parametrize("user", ["bob", "alice"])
def test_the_next_request_of_a_connection_is_nobody_elses(user: str) -> None:
    """
    A request that a server starts in the Context of the one before has its own IDs (R15, S28).
    """
    seen: list[Any] = []

    async def main() -> None:
        ended, started = asyncio.Event(), list[asyncio.Task[list[Any]]]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if scope["path"] == "/first":
                identify(tenant_id="acme")
                started.append(asyncio.create_task(serve_asgi(middleware, following)))
                await ended.wait()
                return
            seen.append((get_session_context().as_dict(), pairs_of(scope)))
            await send({"type": "http.response.start", "status": 200})
            ended.set()

        middleware = ASGIMiddleware(app, TRUSTING)
        lines = [("X-Session-ID", "s1"), ("X-User-ID", user)]
        following = http_scope(lines, peer=PROXY, path="/second")
        await serve_asgi(middleware, http_scope(IDENTIFIED, peer=PROXY, path="/first"))
        [start] = await started[0]
        assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]

    asyncio.run(main())
    [(context, lines)] = seen
    assert context == {"session_id": "s1", "user_id": user}
    assert values_of(lines, "X-User-ID") == [user]


def test_a_request_with_another_session_is_one_of_its_own() -> None:
    """
    A request under an open scope that carries another session, or none, is not nested (R15).
    """
    found: list[Answer] = []

    def outer(environ: Any, start_response: Any) -> Iterable[bytes]:
        found.append(_wsgi(TRUSTING, TRUSTING, [("X-Session-ID", "s2")]))
        found.append(_wsgi(TRUSTING, TRUSTING, []))
        start_response("200 OK", [])
        assert get_session_context().user_id == "alice"
        return []

    ask_wsgi(WSGIMiddleware(outer, TRUSTING), environ_of(IDENTIFIED, peer=PROXY))
    [(_, headers, [(context, _)]), (_, _, [(fresh, _)])] = found
    assert context == {"session_id": "s2"}
    assert values_of(headers, "X-Session-ID") == ["s2"]
    assert fresh["session_id"] not in ("s1", "s2")
    assert "user_id" not in fresh


def test_a_scope_that_has_ended_encloses_nothing() -> None:
    """
    An environ or scope of a finished request, used again, is a new request (R15, S28).
    """

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return []

    environ = environ_of(IDENTIFIED, peer=PROXY)
    ask_wsgi(WSGIMiddleware(app, TRUSTING), environ)
    environ["HTTP_X_SESSION_ID"] = "s2"
    response = ask_wsgi(WSGIMiddleware(app, TRUSTING), environ)
    assert values_of(response.headers, "X-Session-ID") == ["s2"]


def test_a_nested_middleware_shows_the_ids_where_headers_are_missing() -> None:
    """
    A nested middleware shows the outer IDs even if the headers were removed on the way.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])

    inner = ASGIMiddleware(app)

    async def between(scope: Any, receive: Any, send: Any) -> None:
        del scope["headers"]
        await inner(scope, receive, send)

    ask_asgi(ASGIMiddleware(between), http_scope([("X-Session-ID", "s1")]))
    assert seen == [[(b"x-session-id", b"s1")]]


def test_a_task_that_outlives_its_request_starts_requests_of_their_own() -> None:
    """
    Once the ASGI call has ended its scope encloses nothing, also in a task it left (R15, S28).
    """

    async def outer() -> Answer:
        asked: list[asyncio.Task[Answer]] = []
        ended = asyncio.Event()

        async def later() -> Answer:
            await ended.wait()
            assert get_session_id() == "s1"
            return await asyncio.to_thread(_asgi, TRUSTING, TRUSTING, [("X-Session-ID", "s1")])

        async def app(scope: Any, receive: Any, send: Any) -> None:
            asked.append(asyncio.create_task(later()))

        scope = http_scope(IDENTIFIED, peer=PROXY)
        await serve_asgi(ASGIMiddleware(app, TRUSTING), scope)
        ended.set()
        return await asked[0]

    _, headers, [(context, _)] = asyncio.run(outer())
    assert context == {"session_id": "s1"}
    assert values_of(headers, "X-Session-ID") == ["s1"]


def test_an_asgi_scope_that_has_ended_is_a_new_request() -> None:
    """
    The scope of a finished request, served again, gets its own IDs and echo (R15, S28).
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    scope = http_scope(IDENTIFIED, peer=PROXY)
    ask_asgi(ASGIMiddleware(app, TRUSTING), scope)
    scope["headers"] = [(b"x-session-id", b"s2")]
    [start] = ask_asgi(ASGIMiddleware(app, TRUSTING), scope)
    assert values_of(pairs_of(start), "X-Session-ID") == ["s2"]
    assert values_of(pairs_of(start), "X-User-ID") == []


def _identified(request: Request) -> PlainTextResponse:
    identify(user_id="alice")
    return PlainTextResponse(get_session_context().as_dict()["session_id"])


def test_a_mounted_app_with_a_middleware_of_its_own() -> None:
    """
    A mounted app that is wrapped again shares the request's scope, and one echo goes out (S26).
    """
    mounted = ASGIMiddleware(Starlette(routes=[Route("/who", _identified)]))
    app = ASGIMiddleware(Starlette(routes=[Mount("/sub", app=mounted)]))
    start, body = ask_asgi(app, http_scope([("X-Session-ID", "s1")], path="/sub/who"))
    assert body["body"] == b"s1"
    assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]
    assert values_of(pairs_of(start), "X-User-ID") == ["alice"]


def _streamed(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield str(environ.get("HTTP_X_USER_ID")).encode()
    yield b" "
    yield str(get_session_id()).encode()


def _starlette_adapter() -> Any:
    """
    Return Starlette's own adapter, which warns on import that others are better.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("starlette.middleware.wsgi").WSGIMiddleware


ADAPTERS = pytest.mark.parametrize(
    "adapt",
    [
        pytest.param(a2wsgi.WSGIMiddleware, id="a2wsgi"),
        pytest.param(WsgiToAsgi, id="asgiref"),
        pytest.param(_starlette_adapter(), id="Starlette"),
    ],
)


@ADAPTERS
@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(WSGIMiddleware(_streamed), id="wrapped again"),
        pytest.param(_streamed, id="not wrapped"),
    ],
)
def test_a_wsgi_app_under_an_adapter(adapt: Any, inner: Any) -> None:
    """
    Under an adapter a WSGI app sees the sanitised request, alias and all, and one echo (S3).
    """
    lines = [("X-Session-ID", "s1"), ("X_User_ID", "mallory"), ("X-User-ID", "mallory")]
    sent = ask_asgi(ASGIMiddleware(adapt(inner)), http_scope(lines))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert body == b"None s1"
    assert values_of(pairs_of(sent[0]), "X-Session-ID") == ["s1"]


@ADAPTERS
def test_adapters_that_never_close_leave_nothing_behind(adapt: Any) -> None:
    """
    A wrapped WSGI app under an adapter that never calls ``close`` keeps requests apart (S28).
    """
    app = adapt(WSGIMiddleware(_streamed))
    for session in ("s1", "s2"):
        sent = ask_asgi(app, http_scope([("X-Session-ID", session)]))
        assert b"".join(m.get("body", b"") for m in sent[1:]) == f"None {session}".encode()
        assert values_of(pairs_of(sent[0]), "X-Session-ID") == [session]
    assert get_session_context().is_empty()


class _WithoutKey:
    """
    An adapter that passes on nothing but the request: our key is dropped.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        environ = environ_of(pairs_of(scope), peer=PROXY, SERVER_SOFTWARE="gunicorn/27.0.1")
        response = ask_wsgi(self.app, environ)
        headers = [(n.encode(), v.encode()) for n, v in response.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})


@pytest.mark.parametrize(
    ("change", "nested"),
    [
        pytest.param({}, True, id="the lines that were forwarded"),
        pytest.param({b"x-user-id": b"bob"}, False, id="another user"),
        pytest.param({b"x-user-id": None}, False, id="no user"),
        pytest.param({b"x-session-id": b"s2"}, False, id="another session"),
        pytest.param({b"x-tenant-id": b"acme"}, False, id="a tenant besides"),
    ],
)
def test_only_forwarded_lines_make_a_wsgi_request_part_of_an_asgi_one(
    change: dict[bytes, bytes | None], nested: bool
) -> None:
    """
    R15: if an adapter drops our key, all managed lines must be those that the outer middleware
    forwards.
    """
    seen: list[Any] = []

    def inner(environ: Any, start_response: Any) -> Iterable[bytes]:
        identify(user_id="carol")
        start_response("200 OK", [])
        return [b""]

    adapted = _WithoutKey(WSGIMiddleware(inner, TRUSTING))

    async def between(scope: Any, receive: Any, send: Any) -> None:
        lines = dict(scope["headers"]) | change
        changed = {**scope, "headers": [(n, v) for n, v in lines.items() if v is not None]}
        await adapted(changed, receive, send)
        seen.append(get_session_context().user_id)

    ask_asgi(ASGIMiddleware(between, TRUSTING), http_scope(IDENTIFIED, peer=PROXY))
    assert seen == ["carol" if nested else "alice"]


def test_a_wsgi_request_without_lines_is_no_part_of_an_asgi_one() -> None:
    """
    R15: an outer middleware that forwards nothing encloses no WSGI request merely by its binding.
    """
    seen: list[Any] = []

    def inner(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(get_session_id())
        start_response("200 OK", [])
        return [b""]

    outer = Policy(session=session_spec(mint=None))
    adapted = _WithoutKey(WSGIMiddleware(inner, TRUSTING))
    ask_asgi(ASGIMiddleware(adapted, outer), http_scope([], peer=PROXY))
    assert seen != [None]


@pytest.mark.parametrize(
    ("environ", "user"),
    [
        pytest.param({}, "alice", id="a test client"),
        pytest.param({"SERVER_SOFTWARE": "gunicorn/27.0"}, "alice", id="one that drops aliases"),
        pytest.param({"SERVER_SOFTWARE": "Cheroot/11.0"}, None, id="the last spelling"),
        pytest.param({"uwsgi.version": b"2.0"}, None, id="both spellings"),
        pytest.param({"PROXY_PROTOCOL": "TCP4"}, None, id="relayed"),
    ],
)
def test_an_asgi_application_is_judged_by_the_wsgi_server_behind_it(
    environ: dict[str, Any], user: str | None
) -> None:
    """
    S3, S19: a WSGI server has merged spellings and replaced peers before an adapter sees the
    request.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_context().user_id)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    adapted: Any = a2wsgi.ASGIMiddleware(ASGIMiddleware(app, TRUSTING))
    ask_wsgi(adapted, environ_of(IDENTIFIED, peer=PROXY, REMOTE_PORT="50000", **environ))
    assert seen == [user]


def test_a_user_identified_outside_a2wsgi_is_known_inside() -> None:
    """
    R15: an adapter that passes the ASGI scope on passes our key on, whatever the headers are.
    """
    seen: list[Any] = []

    def inner(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(get_session_context().as_dict())
        start_response("200 OK", [])
        return [b""]

    wrapped: Any = WSGIMiddleware(inner, TRUSTING)
    adapted = a2wsgi.WSGIMiddleware(wrapped)

    async def between(scope: Any, receive: Any, send: Any) -> None:
        identify(user_id="carol")
        await adapted(scope, receive, send)

    ask_asgi(ASGIMiddleware(between, TRUSTING), http_scope([("X-Session-ID", "s1")], peer=PROXY))
    assert seen == [{"session_id": "s1", "user_id": "carol"}]


def _flask() -> Flask:
    app = Flask(__name__)

    @app.get("/plain")
    def plain() -> str:
        return str(get_session_id())

    @app.get("/stream")
    def stream() -> Response:
        def chunks() -> Iterator[str]:
            yield "a"
            identify(user_id="alice")
            yield str(get_session_id())

        return Response(stream_with_context(chunks()))

    app.wsgi_app = WSGIMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize("buffered", [True, False])
def test_flask_keeps_its_context_for_the_test(buffered: bool) -> None:
    """
    ``with app.test_client()`` works around the middleware, with a primed stream and without (R4).
    """
    with _flask().test_client() as client:
        for path, body in (("/plain", "s1"), ("/stream", "as1"), ("/plain", "s1")):
            response = client.get(path, headers={"X-Session-ID": "s1"}, buffered=buffered)
            assert response.text == body
            assert response.headers.getlist("X-Session-ID") == ["s1"]
            response.close()
    assert get_session_context().is_empty()

"""
The ASGI middleware: which messages it passes on, binds, changes and puts back.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import types
from collections.abc import Callable, Generator
from typing import Any

import pytest
from asgiref.sync import AsyncToSync

from drive import (
    PROXY,
    Message,
    ask_asgi,
    http_scope,
    pairs_of,
    serve_asgi,
    values_of,
    websocket_scope,
)
from idlanyard import (
    Policy,
    get_session_context,
    get_session_id,
    get_user_id,
    session_context,
    session_spec,
    user_spec,
)
from idlanyard._binding.state import ids_of_error
from idlanyard.asgi import SessionContextMiddleware

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}
BODY: Message = {"type": "http.response.body", "body": b"ok"}
S1 = (("X-Session-ID", "s1"),)
REJECTING = Policy(session=session_spec(on_invalid="reject"))


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer 200.
    """
    await send(START)
    await send(BODY)


def _sending(*messages: Message) -> Callable[..., Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize(
    "kind",
    [pytest.param("lifespan", id="lifespan"), pytest.param("mqtt", id="an unknown scope type")],
)
def test_other_scope_types_pass_untouched(kind: str) -> None:
    """
    A scope that is neither http nor websocket reaches the app with its own callables.
    """
    scope = {"type": kind, "headers": [(b"x-user-id", b"mallory")]}
    seen: list[Any] = []

    async def app(*call: Any) -> None:
        seen.extend(call)
        assert get_session_context().is_empty()

    async def receive() -> None: ...

    async def send(_: Any) -> None: ...

    asyncio.run(SessionContextMiddleware(app)(scope, receive, send))
    assert seen[0] is scope
    assert seen[1:] == [receive, send]
    assert scope == {"type": kind, "headers": [(b"x-user-id", b"mallory")]}


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        pytest.param(http_scope(S1), START, id="http.response.start"),
        pytest.param(
            websocket_scope(S1), {"type": "websocket.accept", "headers": []}, id="websocket.accept"
        ),
        pytest.param(
            websocket_scope(S1),
            {"type": "websocket.http.response.start", "status": 403, "headers": []},
            id="websocket.http.response.start",
        ),
        pytest.param(
            http_scope(S1), {"type": "http.response.start", "status": 200}, id="http, no headers"
        ),
        pytest.param(websocket_scope(S1), {"type": "websocket.accept"}, id="accept, no headers"),
        pytest.param(
            http_scope(S1),
            {"type": "http.response.start", "status": 200, "headers": ((b"x-app", b"1"),)},
            id="headers in a tuple",
        ),
    ],
)
def test_every_start_message_carries_the_echo(scope: Message, message: Message) -> None:
    """
    R9: the echo is once on each of the three start messages, with or without headers.
    """
    before = {k: list(v) if k == "headers" else v for k, v in message.items()}
    [sent] = ask_asgi(SessionContextMiddleware(_sending(message)), dict(scope))
    assert values_of(pairs_of(sent), "x-session-id") == ["s1"]
    # The app's own message, and its headers, are as they were.
    assert sent is not message
    assert {k: list(v) if k == "headers" else v for k, v in message.items()} == before


def test_other_messages_pass_as_they_are() -> None:
    """
    Messages that start nothing reach the server as the very objects that the app sent.
    """
    sent = ask_asgi(SessionContextMiddleware(hello), http_scope())
    assert sent[1] is BODY


def test_one_message_sent_in_two_requests_is_echoed_each_time_anew() -> None:
    """
    A start message that an app reuses never carries an earlier request's ID (R9, S28).
    """
    app = SessionContextMiddleware(hello)
    first = ask_asgi(app, http_scope(S1))[0]
    second = ask_asgi(app, http_scope([("X-Session-ID", "s2")]))[0]
    assert values_of(pairs_of(first), "x-session-id") == ["s1"]
    assert values_of(pairs_of(second), "x-session-id") == ["s2"]


def test_the_scope_is_changed_in_place_and_its_headers_stay_sanitised() -> None:
    """
    The app gets the server's own dict, and a list of headers that stays when the call ends.
    """
    pair = (b"x-user-id", b"mallory")
    headers = [pair, (b"host", b"h")]
    scope = http_scope() | {"headers": headers}
    during: list[Any] = []

    async def app(inner: Any, receive: Any, send: Any) -> None:
        during.extend([inner, inner["headers"]])
        inner["route"] = "/orders/{id}"

    asyncio.run(serve_asgi(SessionContextMiddleware(app), scope))
    assert during[0] is scope
    assert pair not in during[1]
    assert scope["headers"] is during[1]
    assert headers == [pair, (b"host", b"h")]
    assert headers[0] is pair
    # Outer layers read here what the router has written.
    assert scope["route"] == "/orders/{id}"


def test_the_headers_stay_sanitised_also_after_an_error() -> None:
    """
    An exception on its way out finds no spoofed header in the scope.
    """
    scope = http_scope([("X-User-ID", "mallory")])

    async def app(inner: Any, receive: Any, send: Any) -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError):
        ask_asgi(SessionContextMiddleware(app), scope)
    assert [name for name, _ in scope["headers"]] == [b"x-session-id"]


def test_what_a_server_adds_to_its_list_later_is_not_seen() -> None:
    """
    Promise 2: a line that a server appends to its header list while the app runs stays out.
    """
    lines = [(b"x-session-id", b"s")]
    scope = http_scope() | {"headers": lines}
    seen: list[Any] = []

    async def app(inner: Any, receive: Any, send: Any) -> None:
        lines.append((b"x-user-id", b"mallory"))
        seen.append([*inner["headers"]])

    ask_asgi(SessionContextMiddleware(app), scope)
    assert seen == [[(b"x-session-id", b"s")]]


def test_a_task_that_outlives_its_request_never_reads_the_spoof() -> None:
    """
    Promise 2: the raw header is gone from the scope also once the request is over.
    """
    seen: list[Any] = []

    async def audit(inner: Any, over: asyncio.Event) -> None:
        await over.wait()
        seen.append(values_of(pairs_of(inner), "x-user-id"))

    async def main() -> None:
        over, tasks = asyncio.Event(), set[asyncio.Task[None]]()

        async def app(inner: Any, receive: Any, send: Any) -> None:
            tasks.add(asyncio.create_task(audit(inner, over)))

        lines = [("X-Session-ID", "s1"), ("X-User-ID", "mallory")]
        await serve_asgi(SessionContextMiddleware(app), http_scope(lines))
        over.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert seen == [[]]


PAIRS = [(b"x-session-id", b"s1"), (b"x-user-id", b"mallory"), (b"host", b"h")]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda: tuple(PAIRS), id="a tuple"),
        pytest.param(lambda: iter(PAIRS), id="an iterator"),
        pytest.param(lambda: (pair for pair in PAIRS), id="a generator"),
        pytest.param(lambda: [list(pair) for pair in PAIRS], id="pairs that are lists"),
        pytest.param(lambda: dict(PAIRS).items(), id="a view"),
    ],
)
def test_headers_may_be_any_iterable(headers: Callable[[], Any]) -> None:
    """
    Header lines are read, and sanitised, from any iterable that a test suite passes.
    """
    scope = http_scope() | {"headers": headers()}
    seen: list[Any] = []

    async def app(inner: Any, receive: Any, send: Any) -> None:
        seen.append((get_session_id(), type(inner["headers"]), [*map(tuple, inner["headers"])]))

    ask_asgi(SessionContextMiddleware(app), scope)
    assert seen == [("s1", list, [PAIRS[0], PAIRS[2]])]


def test_headers_without_edits_may_be_any_iterable() -> None:
    """
    If no header is edited, the application still gets a list, which it can read twice.
    """
    scope = http_scope() | {"headers": iter([(b"x-session-id", b"s1")])}
    seen: list[Any] = []

    async def app(inner: Any, receive: Any, send: Any) -> None:
        seen.extend([list(inner["headers"]), list(inner["headers"])])

    ask_asgi(SessionContextMiddleware(app), scope)
    assert seen == [[(b"x-session-id", b"s1")]] * 2


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_headers_may_be_missing(kind: str) -> None:
    """
    A scope without headers gets a list of them, with the minted session.
    """
    scope = http_scope(type=kind)
    del scope["headers"]
    seen: list[Any] = []

    async def app(inner: Any, receive: Any, send: Any) -> None:
        seen.append((get_session_id(), inner["headers"]))

    ask_asgi(SessionContextMiddleware(app), scope)
    [(session, headers)] = seen
    assert headers == [(b"x-session-id", str(session).encode())]
    assert scope["headers"] is headers


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(asyncio.CancelledError(), id="cancelled"),
        pytest.param(OSError("the client went away"), id="disconnected"),
        pytest.param(ValueError("a bug"), id="failed"),
        pytest.param(KeyboardInterrupt(), id="interrupted"),
    ],
)
def test_an_error_unbinds_and_carries_a_snapshot(error: BaseException) -> None:
    """
    After any exception of the app nothing stays bound, and the exception has a snapshot (S28, R4).
    """
    args = error.args

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async def outer() -> None:
        with pytest.raises(type(error)) as caught:
            await serve_asgi(SessionContextMiddleware(app), http_scope(S1))
        assert caught.value is error
        assert get_session_context().is_empty()

    asyncio.run(outer())
    context = ids_of_error(error)
    assert context is not None
    assert context.session_id == "s1"
    assert error.args == args
    assert not hasattr(error, "__notes__")


def test_cancelling_a_waiting_request_unbinds() -> None:
    """
    A request that is cancelled from outside while it waits leaves nothing bound (S28).
    """

    async def outer() -> None:
        waiting = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            waiting.set()
            await asyncio.Future()

        scope = http_scope([("X-User-ID", "mallory")])
        call = SessionContextMiddleware(app)(scope, None, None)
        task: asyncio.Task[None] = asyncio.ensure_future(call)
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert get_session_context().is_empty()
        assert values_of(pairs_of(scope), "x-user-id") == []

    asyncio.run(outer())


def test_a_call_closed_in_another_context_ends_quietly() -> None:
    """
    A call that is closed in another Context, as by collection, leaves this one alone (R3, S28).
    """
    waiting: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    @types.coroutine
    def receive() -> Generator[None, None, None]:
        waiting.append(get_session_id())
        yield

    call = SessionContextMiddleware(app)(http_scope(S1), receive, None)
    contextvars.copy_context().run(call.send, None)
    assert waiting == [None]
    with session_context(session_id="mine"):
        call.close()
        assert get_session_id() == "mine"
    assert get_session_context().is_empty()


@pytest.mark.parametrize(
    ("scope", "messages", "bound"),
    [
        pytest.param(
            http_scope(S1),
            [START, BODY | {"more_body": True}, BODY],
            ["s1", "s1", None],
            id="a body in two parts",
        ),
        pytest.param(http_scope(S1), [START, BODY], ["s1", None], id="a body in one part"),
        pytest.param(
            http_scope(S1),
            [START, {"type": "http.response.pathsend", "path": "/x"}],
            ["s1", None],
            id="a path",
        ),
        pytest.param(
            http_scope(S1),
            [START, {"type": "http.response.zerocopysend", "file": 0}],
            ["s1", None],
            id="a file",
        ),
        pytest.param(
            http_scope(S1),
            [START, {"type": "http.response.trailers", "headers": []}],
            ["s1", None],
            id="trailers",
        ),
        pytest.param(
            websocket_scope(S1),
            [
                {"type": "websocket.accept"},
                {"type": "websocket.send", "text": "a"},
                {"type": "websocket.close"},
            ],
            ["s1", "s1", None],
            id="a WebSocket",
        ),
        pytest.param(
            websocket_scope(S1),
            [
                {"type": "websocket.http.response.start", "status": 403},
                {"type": "websocket.http.response.body", "body": b""},
            ],
            ["s1", None],
            id="a denial",
        ),
        pytest.param(
            http_scope(S1),
            [{"type": "http.response.push", "path": "/style.css", "headers": []}, START, BODY],
            [None, "s1", None],
            id="a push, which begins another request",
        ),
    ],
)
def test_the_servers_code_never_runs_inside_the_binding(
    scope: Message, messages: list[Message], bound: list[str | None]
) -> None:
    """
    ``receive`` and the last ``send`` of a response run with the binding from outside the request.
    """
    seen: list[Any] = []

    async def receive() -> Message:
        seen.append(("receive", get_session_id()))
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        seen.append(get_session_id())

    async def app(inner: Any, receive: Any, send: Any) -> None:
        await receive()
        assert get_session_id() == "s1"
        for message in messages:
            await send(message)
            assert get_session_id() == "s1"

    asyncio.run(SessionContextMiddleware(app)(dict(scope), receive, send))
    assert seen == [("receive", None), *bound]


def test_headers_that_are_read_once_survive_an_echo_that_fails() -> None:
    """
    R14: a response keeps its headers if the echo fails, even if they are an iterator.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # Not of bytes: a server may take it, the echo cannot.
        pairs = iter([(bytearray(b"x-app"), b"1"), (b"x-more", b"2")])
        await send(START | {"headers": pairs})
        await send(BODY)

    start, _ = ask_asgi(SessionContextMiddleware(app), http_scope(S1))
    assert [name for name, _ in start["headers"]] == [b"x-app", b"x-more"]


def test_values_may_be_bytearrays() -> None:
    """
    A response whose values are bytearrays has the echo that the same bytes would have.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pairs = [(b"cache-control", bytearray(b"max-age=0")), (b"etag", bytearray(b'"1"'))]
        await send(START | {"headers": pairs[: scope["path"].count("/")]})
        await send(BODY)

    for path in ("/", "//"):
        start, _ = ask_asgi(SessionContextMiddleware(app), http_scope(S1, path=path))
        private = (b"cache-control", b"max-age=0, private")
        expected = [private, (b"x-session-id", b"s1")] if path == "/" else []
        assert [pair for pair in start["headers"] if pair in expected] == expected


def test_dates_and_addresses_may_be_bytearrays() -> None:
    """
    A date of a response and a forwarding line of a request may be bytearrays as well.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_user_id())
        await send(START | {"headers": [(b"expires", bytearray(b"0"))]})
        await send(BODY)

    scope = http_scope([*S1, ("X-User-ID", "alice")], peer="10.0.0.5")
    scope["headers"].append((b"x-forwarded-for", bytearray(b"203.0.113.9")))
    policy = Policy(trusted_peers=["10.0.0.0/8"])
    start, _ = ask_asgi(SessionContextMiddleware(app, policy), scope)
    assert seen == ["alice"]
    assert (b"x-session-id", b"s1") in start["headers"]


def test_the_server_finds_what_it_has_bound_itself() -> None:
    """
    A binding made around the middleware is the current one in ``receive`` and in the last
    ``send``.
    """
    seen: list[Any] = []

    async def receive() -> Message:
        seen.append(get_session_id())
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        seen.append(get_session_id())

    async def app(inner: Any, receive: Any, send: Any) -> None:
        with session_context(session_id="block"):
            await receive()
            await send(BODY)
            assert get_session_id() == "block"

    with session_context(session_id="server"):
        asyncio.run(SessionContextMiddleware(app)(http_scope(S1), receive, send))
    assert seen == ["server", "server"]


def test_a_failing_server_leaves_the_binding_as_it_was() -> None:
    """
    A ``receive`` and a last ``send`` that raise put the application's binding back.
    """

    async def fail(*_: Any) -> None:
        raise OSError("gone")

    async def app(inner: Any, receive: Any, send: Any) -> None:
        for call in (receive(), send(BODY)):
            with pytest.raises(OSError, match="gone"):
                await call
            assert get_session_id() == "s1"

    asyncio.run(SessionContextMiddleware(app)(http_scope(S1), fail, fail))


def test_a_disconnect_that_send_reports_unbinds() -> None:
    """
    A server whose ``send`` raises on a gone client finds nothing bound afterwards (S28).
    """

    async def send(message: Any) -> None:
        raise OSError("gone")

    async def outer() -> None:
        with pytest.raises(OSError, match="gone"):
            await SessionContextMiddleware(hello)(http_scope(S1), None, send)
        assert get_session_context().is_empty()

    asyncio.run(outer())


def test_one_exception_raised_in_two_requests_tells_of_the_second() -> None:
    """
    The snapshot of an exception object that is raised again is the later request's.
    """
    error = LookupError("once for all")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    for session in ("s1", "s2"):
        with pytest.raises(LookupError):
            ask_asgi(SessionContextMiddleware(app), http_scope([("X-Session-ID", session)]))
        context = ids_of_error(error)
        assert context is not None
        assert context.session_id == session
    assert str(error) == "once for all"


def test_the_send_wrapper_is_taken_for_a_coroutine_function() -> None:
    """
    Adapters that want an async ``send``, such as ``AsyncToSync``, take ours silently.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # A warning would be an error here.
        assert AsyncToSync(send).awaitable is send
        await send(START)
        await send(BODY)

    sent = ask_asgi(SessionContextMiddleware(app), http_scope(S1))
    assert values_of(pairs_of(sent[0]), "x-session-id") == ["s1"]
    assert sent[1] is BODY


def test_an_echo_that_fails_leaves_the_response_alone() -> None:
    """
    Headers of an app that are no pairs cost the echo, never the response (R14).
    """
    broken: Message = {"type": "http.response.start", "status": 200, "headers": [b"nonsense"]}
    assert ask_asgi(SessionContextMiddleware(_sending(broken)), http_scope())[0] is broken


def test_a_policy_of_another_type_is_refused() -> None:
    """
    R14: anything but a ``Policy`` is refused with a sentence that names the type.
    """
    with pytest.raises(TypeError, match="write Policy"):
        SessionContextMiddleware(hello, {"trusted_peers": []})  # type: ignore[arg-type]


def test_without_a_policy_the_environment_describes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A middleware without a policy uses ``Policy.from_env()``.
    """
    monkeypatch.setenv("IDLANYARD_TRUSTED_PEERS", PROXY)
    app = SessionContextMiddleware(hello)
    [start, _] = ask_asgi(app, http_scope([("X-User-ID", "alice")], peer=PROXY))
    assert values_of(pairs_of(start), "x-user-id") == ["alice"]


@pytest.mark.parametrize(
    ("method", "length"),
    [pytest.param("GET", True, id="GET"), pytest.param("HEAD", False, id="HEAD")],
)
def test_a_refused_request_never_reaches_the_app(method: str, length: bool) -> None:
    """
    The app of a refused request is not called, and HEAD gets the head alone (R8).
    """
    app = _sending({"type": "http.response.start", "status": 599})
    scope = http_scope([("X-Session-ID", "a b")], method=method)
    start, body = ask_asgi(SessionContextMiddleware(app, REJECTING), scope)
    assert start["status"] == 400
    [announced] = values_of(pairs_of(start), "content-length")
    assert bool(body["body"]) is length
    assert len(body["body"]) == (int(announced) if length else 0)


def test_a_refused_websocket_is_closed_before_accept() -> None:
    """
    Without the denial extension a WebSocket is closed after its connect is received (R8, S29).
    """
    scope = websocket_scope([("X-Session-ID", "a b")])
    received: list[Message] = []
    sent: list[Message] = []

    async def receive() -> Message:
        received.append({"type": "websocket.connect"})
        return received[-1]

    async def send(message: Message) -> None:
        assert received
        sent.append(message)

    asyncio.run(SessionContextMiddleware(hello, REJECTING)(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_refused_websocket_gets_a_denial_response_where_offered() -> None:
    """
    With the denial extension a refused WebSocket gets the same problem as a request (R8).
    """
    policy = Policy(user=user_spec(required=True))
    extensions: Message = {"websocket.http.response": {}}
    start, body = ask_asgi(
        SessionContextMiddleware(hello, policy), websocket_scope(S1, extensions=extensions)
    )
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 401
    assert values_of(pairs_of(start), "x-session-id") == ["s1"]
    assert body["type"] == "websocket.http.response.body"
    assert json.loads(body["body"])["field"] == "user_id"


def test_a_websocket_is_bound_until_it_ends() -> None:
    """
    A WebSocket has its IDs at the handshake and at each message.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            seen.append(get_session_id())

    message = {"type": "websocket.receive", "text": "hi"}
    ask_asgi(SessionContextMiddleware(app), websocket_scope(S1), message, message)
    assert seen == ["s1"] * 3


def test_a_response_may_end_in_another_context() -> None:
    """
    R3: a server that goes on with the last message in another Context loses nothing and gets no
    error.
    """
    sent: list[Message] = []

    @types.coroutine
    def pause() -> Generator[None]:
        yield

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await pause()
        sent.append(message)

    coroutine: Any = SessionContextMiddleware(hello)(http_scope(S1), None, send)
    contextvars.Context().run(coroutine.send, None)
    with pytest.raises(StopIteration):
        contextvars.Context().run(coroutine.send, None)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]

"""
Headers that an async function verifies: awaited by ASGI before the decision, refused by WSGI.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from flask import Flask

from drive import (
    PROXY,
    STRANGER,
    Line,
    ask_asgi,
    http_scope,
    serve_asgi,
    websocket_scope,
)
from idlanyard import (
    Header,
    Policy,
    PolicyError,
    Provenance,
    asgi,
    get_session_context,
    session_context,
    subscribe,
    tenant_spec,
    user_spec,
    wsgi,
)
from idlanyard._decision import awaited_headers, claims, compiled_spec, resolve, trust
from idlanyard.integrations.flask import IDLanyard

NAME = "X-Signed-User"
GOOD = "alice.signed"

Verify = Callable[[str], Awaitable[str | None]]


async def verify(line: str) -> str | None:
    """
    Return the name that is signed, after somebody else has had a turn.
    """
    if hasattr(trio.lowlevel, "in_trio_run") and trio.lowlevel.in_trio_run():
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)
    name, dot, signature = line.partition(".")
    return name if dot and signature == "signed" else None


class Asked:
    """
    Verifies lines, and notes them.

    Attributes:
        lines: each line that was to be verified.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def __call__(self, line: str) -> str | None:
        self.lines.append(line)
        return await verify(line)


class Service:
    """
    An application behind the middleware.

    Attributes:
        seen: the user of each request, its provenance, and the two headers of it.
        reasons: the reasons for which IDs were dropped.
        door: the middleware.
    """

    def __init__(self, policy: Policy) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.reasons: list[str | None] = []
        self.door = asgi.SessionContextMiddleware(self.app, policy)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        context = get_session_context()
        lines = dict(scope["headers"])
        shown = [lines.get(name) for name in (b"x-user-id", NAME.lower().encode())]
        self.seen.append((context.user_id, context.provenance("user_id"), *shown))

    def ask(self, *lines: Line, scope: Callable[..., Any] = http_scope, **more: Any) -> Any:
        """
        Serve one request, and return what the application saw.
        """
        undo = subscribe("reject", lambda event: self.reasons.append(event.reason))
        try:
            ask_asgi(self.door, scope(lines, **more))
        finally:
            undo()
        return self.seen[-1] if self.seen else None


def policy_of(verify: Any = verify, *, trusted_peers: Any = (), **options: Any) -> Policy:
    """
    Return a policy that reads the user out of one header, which an async function verifies.
    """
    source = Header(NAME, verify=verify, **options)
    return Policy(user=user_spec(sources=[source]), trusted_peers=trusted_peers)


ALICE = ("alice", Provenance.SIGNED, b"alice", GOOD.encode())
NOBODY = (None, None, None, None)


@pytest.mark.parametrize("scope", [http_scope, websocket_scope], ids=["HTTP", "WebSocket"])
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(verify, id="a function"),
        pytest.param(Asked(), id="an object"),
        pytest.param(functools.partial(verify), id="a partial function"),
    ],
)
def test_an_async_function_is_awaited(function: Any, scope: Any) -> None:
    """
    S1: a line that an async function verifies is as good as any that is signed.
    """
    service = Service(policy_of(function))
    assert service.ask((NAME, GOOD), scope=scope) == ALICE
    assert service.reasons == []


def test_the_function_is_awaited_on_trio() -> None:
    """
    No call of one event loop is made: what the function awaits is its own matter.
    """
    service = Service(policy_of())
    trio.run(serve_asgi, service.door, http_scope([(NAME, GOOD)]))
    assert service.seen == [ALICE]


@pytest.mark.parametrize("line", ["alice", "alice.forged", "é", "\x00"])
def test_a_line_that_is_not_verified_is_absent_and_leaves_the_request(line: str) -> None:
    """
    S1, S23: a function that finds nothing is waited for as well, and no trusted peer helps.
    """
    service = Service(policy_of(trusted_peers=[PROXY]))
    assert service.ask((NAME, line), peer=PROXY) == NOBODY
    assert service.reasons == [compiled_spec.NOT_VERIFIED]


UNASKED: dict[str, tuple[list[Line], list[str]]] = {
    "no header": ([], []),
    "an empty header": ([(NAME, "")], [compiled_spec.NOT_VERIFIED]),
    "another header": ([("X-User-ID", "mallory")], [compiled_spec.NOT_VERIFIED]),
    "two lines": ([(NAME, GOOD), (NAME, GOOD)], [claims.REPEATED]),
    "an alias beside": ([(NAME, GOOD), ("X_Signed_User", GOOD)], [claims.ALIASED]),
    "an alias alone": ([("X_Signed_User", GOOD)], [resolve.LONE_ALIAS]),
    "named by Connection": (
        [(NAME, GOOD), ("Connection", NAME)],
        [claims.NAMED_BY_CONNECTION],
    ),
    "the ID's header is named by Connection": (
        [(NAME, GOOD), ("Connection", "X-User-ID")],
        [claims.NAMED_BY_CONNECTION],
    ),
    "a line that is too long": (
        [(NAME, "a" * awaited_headers.LONGEST_LINE + ".signed")],
        [compiled_spec.NOT_VERIFIED],
    ),
}


@pytest.mark.parametrize("case", UNASKED)
def test_nobody_is_asked_about_what_cannot_be_an_id(case: str) -> None:
    """
    S4, S5, S16: the checks that cost nothing come before the one that may ask somebody else.
    """
    lines, reasons = UNASKED[case]
    asked = Asked()
    service = Service(policy_of(asked))
    assert service.ask(*lines) == NOBODY
    assert (asked.lines, service.reasons) == ([], reasons)


def test_the_longest_line_is_verified() -> None:
    """
    A line of 16,384 characters is read whole.
    """
    asked = Asked()
    line = "a" * (awaited_headers.LONGEST_LINE - len(".signed")) + ".signed"
    Service(policy_of(asked)).ask((NAME, line))
    assert asked.lines == [line]


@pytest.mark.parametrize(
    ("peers", "peer", "lines", "reasons"),
    [
        pytest.param([PROXY], PROXY, [GOOD], [], id="trusted"),
        pytest.param([PROXY], STRANGER, [], [trust.STRANGER], id="stranger"),
        pytest.param([], PROXY, [], [trust.NOBODY], id="nobody is trusted"),
    ],
)
def test_strangers_cannot_have_anybody_asked_where_peers_count(
    peers: list[str], peer: str, lines: list[str], reasons: list[str]
) -> None:
    """
    S1: with ``peers_too`` the sender is judged before the function is called.
    """
    asked = Asked()
    service = Service(policy_of(asked, trusted_peers=peers, peers_too=True))
    service.ask((NAME, GOOD), peer=peer)
    assert (asked.lines, service.reasons) == (lines, reasons)


def test_no_function_is_called_for_an_excluded_path() -> None:
    """
    S24: nothing is read for such a request, and the header leaves it.
    """
    asked = Asked()
    source = Header(NAME, verify=asked)
    service = Service(Policy(user=user_spec(sources=[source]), exclude=["/"]))
    assert service.ask((NAME, GOOD)) == NOBODY
    assert asked.lines == []


def test_a_nested_middleware_asks_nobody() -> None:
    """
    R15: the IDs of the outer middleware are those of the request.
    """
    asked = Asked()
    service = Service(policy_of(asked))
    door = asgi.SessionContextMiddleware(service.door, policy_of())
    ask_asgi(door, http_scope([(NAME, GOOD)]))
    assert service.seen[0][0] == "alice"
    assert asked.lines == []


async def fail(line: str) -> str:
    """
    Fail with the line in the message.
    """
    raise LookupError(f"no answer about {line}")


async def time_out(line: str) -> str:
    """
    Wait for something that does not come, for a moment.
    """
    return await asyncio.wait_for(asyncio.Event().wait(), 0.001) and line


async def number(line: str) -> Any:
    """
    Return no text.
    """
    return 42


async def coroutine(line: str) -> Any:
    """
    Return another coroutine.
    """
    return verify(line)


@pytest.mark.parametrize("function", [fail, time_out, number, coroutine])
def test_a_function_that_fails_is_absence_and_is_told_once(
    function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14, S8: no request fails by it, and the log has the kind of error and not the token.
    """
    service = Service(policy_of(function))
    for _ in range(2):
        assert service.ask((NAME, "s3cret-token")) == NOBODY
    assert service.reasons == [resolve.VERIFY_FAILED] * 2
    (said,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert f"verify of {NAME} failed" in said.getMessage()
    assert "s3cret-token" not in caplog.text


def test_a_required_user_that_cannot_be_verified_is_refused() -> None:
    """
    R8: a function that fails lets nobody in.
    """
    source = Header(NAME, verify=fail)
    service = Service(Policy(user=user_spec(sources=[source], required=True)))
    sent = ask_asgi(service.door, http_scope([(NAME, GOOD)]))
    assert (sent[0]["status"], service.seen) == (401, [])


def test_a_cancelled_request_is_cancelled() -> None:
    """
    What cancels the request passes through, and the application is not called.
    """

    async def hang(line: str) -> str:
        return str(await asyncio.Event().wait())

    service = Service(policy_of(hang))

    async def cancel() -> None:
        serving = asyncio.create_task(serve_asgi(service.door, http_scope([(NAME, GOOD)])))
        await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(cancel())
    assert (service.seen, service.reasons) == ([], [])


def test_a_request_that_is_cancelled_on_trio_is_cancelled() -> None:
    """
    The time limit of a server that runs on trio passes through as well.
    """

    async def hang(line: str) -> str:
        return str(await trio.sleep_forever())

    service = Service(policy_of(hang))

    async def cancel() -> bool:
        with trio.move_on_after(0.01) as scope:
            await serve_asgi(service.door, http_scope([(NAME, GOOD)]))
        return scope.cancelled_caught

    assert trio.run(cancel)
    assert service.seen == []


class Unhashable(Asked):
    """
    A callable object that is equal to others.
    """

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_a_callable_object_needs_no_hash() -> None:
    """
    R14: functions are told apart by what they are, and not by what they are equal to.
    """
    first, second = Unhashable(), Unhashable()
    sources = [Header(NAME, verify=first), Header(NAME, verify=second)]
    service = Service(Policy(user=user_spec(sources=sources)))
    service.ask((NAME, "forged"))
    assert first.lines == second.lines == ["forged"]


def test_requests_at_the_same_time_share_nothing() -> None:
    """
    S28: each request has the user of its own line, in whatever order the answers come.
    """
    waiting: list[asyncio.Future[None]] = []

    async def wait(line: str) -> str | None:
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        if len(waiting) == 20:
            for other in reversed(waiting):
                other.set_result(None)
        await turn
        return await verify(line)

    service = Service(policy_of(wait))

    async def serve_all() -> None:
        lines = [(NAME, f"user{n}.signed") for n in range(20)]
        await asyncio.gather(*(serve_asgi(service.door, http_scope([line])) for line in lines))

    asyncio.run(serve_all())
    expected = {(f"user{n}", f"user{n}".encode(), f"user{n}.signed".encode()) for n in range(20)}
    assert {(user, header, line) for user, _, header, line in service.seen} == expected


def test_what_a_server_appends_meanwhile_is_not_seen() -> None:
    """
    S1: a trailer that comes while the function is awaited is no header of the request.
    """
    scope = http_scope([(NAME, GOOD)], peer=PROXY)
    arriving = scope["headers"]

    async def slow(line: str) -> str | None:
        arriving.extend([(b"x-tenant-id", b"evil"), (b"x-signed-user", b"mallory.signed")])
        return await verify(line)

    service = Service(policy_of(slow, trusted_peers=[PROXY]))
    tenants: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tenants.append(get_session_context().tenant_id)
        assert b"evil" not in dict(scope["headers"]).values()
        await service.app(scope, receive, send)

    service.door.app = app
    ask_asgi(service.door, scope)
    assert (service.seen, tenants) == ([ALICE], [None])


def test_nothing_is_bound_while_the_function_runs() -> None:
    """
    S28: what is bound around the request may be another one's, and the function may send it.
    """
    users: list[str | None] = []

    async def note(line: str) -> str | None:
        users.append(get_session_context().user_id)
        return await verify(line)

    service = Service(policy_of(note))

    async def serve() -> None:
        with session_context(user_id="other"):
            await serve_asgi(service.door, http_scope([(NAME, GOOD)]))
            users.append(get_session_context().user_id)

    asyncio.run(serve())
    assert users == [None, "other"]


def test_one_function_of_two_ids_is_called_once() -> None:
    """
    A line that two IDs read by the same function is verified once.
    """
    asked = Asked()
    source = Header(NAME, verify=asked)
    policy = Policy(user=user_spec(sources=[source]), tenant=tenant_spec(sources=[source]))
    tenants: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tenants.append(get_session_context().tenant_id)

    ask_asgi(asgi.SessionContextMiddleware(app, policy), http_scope([(NAME, GOOD)]))
    assert (tenants, asked.lines) == (["alice"], [GOOD])


def verify_at_once(line: str) -> str | None:
    """
    Return the name in a line of another kind.
    """
    return line.removeprefix("now ") if line.startswith("now ") else None


async def unfit(line: str) -> str:
    """
    Return a text that is no ID.
    """
    return "a b"


SEVERAL: dict[str, tuple[list[Any], str, list[str]]] = {
    "the first finds it": ([Asked(), Asked()], GOOD, [GOOD]),
    "none finds it": ([Asked(), Asked()], "forged", ["forged", "forged"]),
    "the first finds what is no ID": ([unfit, Asked()], GOOD, [GOOD]),
    "a plain function beside": ([verify_at_once, Asked()], GOOD, [GOOD]),
    "a plain function finds it": ([verify_at_once, Asked()], "now alice", []),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_sources_are_asked_up_to_the_first_that_finds_the_id(case: str) -> None:
    """
    R5: sources count in order, awaited or not.
    """
    functions, line, lines = SEVERAL[case]
    sources = [Header(NAME, verify=function) for function in functions]
    service = Service(Policy(user=user_spec(sources=sources)))
    user, *_ = service.ask((NAME, line))
    assert user == (None if line == "forged" else "alice")
    assert [line for one in functions if isinstance(one, Asked) for line in one.lines] == lines


def test_a_plain_function_that_returns_a_coroutine_is_not_waited_for() -> None:
    """
    R14: only a function that says so is awaited; the coroutine of another is closed, and no ID.
    """
    service = Service(policy_of(lambda line: verify(line)))
    assert service.ask((NAME, GOOD)) == NOBODY
    assert service.reasons == [resolve.VERIFY_FAILED]


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    """
    Answer nothing.
    """
    return []


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda rules: wsgi.SessionContextMiddleware(wsgi_app, rules), id="WSGI"),
        pytest.param(lambda rules: IDLanyard(Flask("app"), rules), id="Flask"),
    ],
)
def test_wsgi_refuses_an_async_function(build: Any) -> None:
    """
    R14: nobody waits for it there, which is said when the middleware is built.
    """
    with pytest.raises(PolicyError) as told:
        build(policy_of())
    assert "'X-Signed-User', verify=...) of user_id has an async function" in str(told.value)
    assert "write a plain function, as in 'def verify(line):'" in str(told.value)


async def generate(line: str) -> Any:
    """
    Yield the line.
    """
    yield line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            {"verify": generate}, "returns one value, and not an async generator", id="a generator"
        ),
        pytest.param({"parse": verify}, "a plain function, and not an async one", id="parse"),
        pytest.param({"verify": Asked.__call__}, "is called with the line", id="two arguments"),
    ],
)
def test_a_function_that_cannot_be_awaited_is_refused(options: Any, said: str) -> None:
    """
    R14: what would never return an ID is a ``PolicyError`` when the policy is built.
    """
    with pytest.raises(PolicyError) as told:
        Header(NAME, **options)
    assert said in str(told.value)

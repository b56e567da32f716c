"""
Async functions that fail, are cancelled by others, or have nobody to ask.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from typing import Any

import pytest
import trio

from drive import ask_asgi, http_scope, serve_asgi
from idlanyard import (
    Admission,
    Header,
    Policy,
    Scope,
    asgi,
    get_session_context,
    set_session_context,
    tenant_spec,
    testing,
    user_spec,
)
from idlanyard._decision import resolve
from test_awaited_headers import ALICE, GOOD, NAME, NOBODY, Asked, Service, fail, policy_of, verify

LINE = (NAME, GOOD)


class Shared:
    """
    One lookup for all requests: those that come meanwhile wait for the task of the first.

    Args:
        grouped: whether a cancellation of it comes in a group, as from a block of tasks.
    """

    def __init__(self, *, grouped: bool = False) -> None:
        self._grouped = grouped
        self._task: asyncio.Task[Any] | None = None

    async def __call__(self, line: str) -> Any:
        if self._task is None:
            self._task = asyncio.create_task(asyncio.Event().wait())
        try:
            return await self._task
        except asyncio.CancelledError as error:
            if self._grouped:
                raise BaseExceptionGroup("tasks", [ValueError(), error]) from None
            raise


async def cancel_first(door: Any, lines: Any) -> tuple[Any, Any]:
    """
    Serve two requests at the same time, cancel the first, and return what became of each.
    """
    first, second = (asyncio.create_task(serve_asgi(door, http_scope(lines))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    return await asyncio.gather(first, second, return_exceptions=True)


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a group"])
def test_the_cancellation_of_another_request_is_a_failure(
    grouped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: a lookup that ends with another request is absence here, and is told once.
    """
    service = Service(policy_of(Shared(grouped=grouped)))
    first, second = asyncio.run(cancel_first(service.door, [LINE]))
    assert isinstance(first, BaseExceptionGroup if grouped else asyncio.CancelledError)
    assert (second, service.seen) == ([], [NOBODY])
    (said,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert f"verify of {NAME} failed" in said.getMessage()


def test_the_cancellation_of_another_request_admits_nobody() -> None:
    """
    R14: an ``Admission`` whose lookup ends with another request has no answer.
    """
    policy = Policy(admission=Admission(Shared()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the application was reached")

    door = asgi.SessionContextMiddleware(app, policy)
    first, second = asyncio.run(cancel_first(door, [("X-Session-ID", "s1")]))
    assert isinstance(first, asyncio.CancelledError)
    assert second[0]["status"] == 503


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_what_ends_the_process_passes(run: Any, error: type[BaseException]) -> None:
    """
    R14: an exception that is no ``Exception`` is not taken for a failure.
    """
    caught: list[BaseException] = []

    async def end(line: str) -> str:
        raise error

    service = Service(policy_of(end))

    async def serve() -> None:
        try:
            await service.door(http_scope([LINE]), None, None)
        except BaseException as passed:
            caught.append(passed)

    if run is trio.run:
        run(serve)
    else:
        run(serve())
    assert isinstance(caught[0], error)
    assert service.seen == []


def test_what_a_function_binds_the_next_one_does_not_see() -> None:
    """
    S28: each function starts with nothing bound, and leaves nothing.
    """
    seen: list[Any] = []

    async def bind(line: str) -> None:
        seen.append(get_session_context().tenant_id)
        set_session_context(tenant_id="leaked")

    sources = [Header(NAME, verify=bind), Header("X-Other", verify=bind)]
    service = Service(Policy(user=user_spec(sources=sources)))
    service.ask(LINE, ("X-Other", GOOD))
    assert seen == [None, None]


def test_a_plain_function_that_finds_the_id_is_called_once_and_nobody_is_asked() -> None:
    """
    R5: the sources count in order, so a later one is not asked for nothing.
    """
    lines: list[str] = []

    def plain(line: str) -> str:
        lines.append(line)
        return "alice"

    asked = Asked()
    sources = [Header("Authorization", verify=plain), Header(NAME, verify=asked)]
    service = Service(Policy(user=user_spec(sources=sources)))
    user, *_ = service.ask(("Authorization", "token"), LINE)
    assert (user, lines, asked.lines) == ("alice", ["token"], [])


def test_a_plain_function_that_fails_is_called_once() -> None:
    """
    R14: the next source is asked, and the failure is told.
    """
    lines: list[str] = []

    def plain(line: str) -> str:
        lines.append(line)
        raise LookupError

    sources = [Header("Authorization", verify=plain), Header(NAME, verify=verify)]
    service = Service(Policy(user=user_spec(sources=sources)))
    user, *_ = service.ask(("Authorization", "token"), LINE)
    assert (user, lines, service.reasons) == ("alice", ["token"], [resolve.VERIFY_FAILED])


def test_nobody_is_asked_about_an_id_that_a_test_says() -> None:
    """
    S30: under ``override`` the ID is what the test says, and no service has to be there.
    """
    asked = Asked()
    source = Header(NAME, verify=asked)
    service = Service(policy_of(asked))
    with testing.override(user_id="zoe"):
        user, *_ = service.ask(LINE)
    assert (user, asked.lines, service.reasons) == ("zoe", [], [])
    both = Policy(user=user_spec(sources=[source]), tenant=tenant_spec(sources=[source]))
    tenants: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tenants.append(get_session_context().as_dict())

    with testing.override(user_id="zoe"):
        ask_asgi(asgi.SessionContextMiddleware(app, both), http_scope([LINE]))
    assert (tenants[0]["user_id"], tenants[0]["tenant_id"]) == ("zoe", "alice")
    assert asked.lines == [GOOD]


class Scoped(dict[str, Any]):
    """
    A scope that a weak reference may lead to.
    """


def fail_at_once(line: str) -> str:
    """
    Fail with the line in the message.
    """
    raise LookupError(f"no answer about {line}")


FAILING: dict[str, Header | Scope] = {
    "async": Header(NAME, verify=fail),
    "plain": Header(NAME, verify=fail_at_once),
    "parsed": Header(NAME, parse=fail_at_once),
    "of the server": Scope("user", parse=fail_at_once),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_failure_does_not_keep_the_request(case: str) -> None:
    """
    R14: a request whose function fails is freed at its end, without the garbage collector.
    """
    accept: Any = "anyone" if case == "parsed" else "proven"
    policy = Policy(user=user_spec(sources=[FAILING[case]], accept=accept))
    service = Service(policy)
    # The first failure is logged, and what collects logs keeps it.
    service.ask(LINE, user="alice")
    gc.collect()
    gc.disable()
    try:
        scope = Scoped(http_scope([LINE], user="alice"))
        ask_asgi(service.door, scope)
        gone = weakref.ref(scope)
        del scope
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("case", FAILING)
def test_the_text_of_a_failure_is_not_logged(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    S8: it may quote what a client wrote, so the log has the kind of error and its place.
    """
    accept: Any = "anyone" if case == "parsed" else "proven"
    service = Service(Policy(user=user_spec(sources=[FAILING[case]], accept=accept)))
    service.ask((NAME, "s3cret-token"), user="s3cret-token")
    assert "LookupError, whose text is not logged" in caplog.text
    assert "in fail" in caplog.text
    assert "s3cret-token" not in caplog.text


@pytest.mark.parametrize("case", ["parsed", "of the server"])
def test_a_failure_is_raised_whole_under_test(case: str) -> None:
    """
    R14: nothing is logged then, and a developer sees the error itself.
    """
    accept: Any = "anyone" if case == "parsed" else "proven"
    service = Service(Policy(user=user_spec(sources=[FAILING[case]], accept=accept)))
    with testing.raise_failures(), pytest.raises(LookupError, match="no answer about alice"):
        service.ask((NAME, "alice"), user="alice")


def test_a_plain_function_that_returns_a_coroutine_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R14: the advice is ours, so it is logged whole.
    """
    service = Service(policy_of(lambda line: verify(line)))
    service.ask(LINE)
    assert "it returned a coroutine, for which nobody waits" in caplog.text
    assert "written as 'async def verify(line):' is awaited" in caplog.text


def test_a_coroutine_in_the_scope_is_closed() -> None:
    """
    R14: an async property is no ID, and leaves no coroutine that was never awaited.
    """
    found = verify(GOOD)
    service = Service(Policy(user=user_spec(sources=[Scope("user")])))
    assert service.ask(user=found) == NOBODY
    assert inspect.getcoroutinestate(found) == inspect.CORO_CLOSED
    assert service.reasons == [resolve.PARSE_FAILED]


def test_a_function_that_works_does_not_keep_the_request() -> None:
    """
    A request with an awaited function is freed at its end.
    """
    service = Service(policy_of())
    gc.collect()
    gc.disable()
    try:
        scope = Scoped(http_scope([LINE]))
        ask_asgi(service.door, scope)
        gone = weakref.ref(scope)
        del scope
        assert gone() is None
    finally:
        gc.enable()
    assert service.seen == [ALICE]

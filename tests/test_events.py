"""
Who is told what, and what happens when a hook fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from idlanyard import (
    Policy,
    dump,
    get_session_id,
    identify,
    restore,
    session_context,
    session_spec,
    subscribe,
    user_spec,
)
from idlanyard._binding.carriers import make_job_block
from idlanyard._binding.events import Event, subscribers
from idlanyard._failures import failures
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.testing import raise_failures


async def ok(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer 200.
    """
    await send({"type": "http.response.start", "status": 200, "headers": []})


def request(policy: Policy, *headers: tuple[bytes, bytes]) -> None:
    """
    Serve one request.
    """

    async def send(message: Any) -> None: ...

    async def run() -> None:
        scope = {"type": "http", "path": "/", "headers": list(headers)}
        await SessionContextMiddleware(ok, policy)(scope, None, send)

    asyncio.run(run())


def heard(*names: Any, during: Callable[[], object]) -> list[Event]:
    """
    Return what was told of these events.
    """
    told: list[Event] = []
    undo = [subscribe(name, told.append) for name in names]
    try:
        during()
    finally:
        for one in undo:
            one()
    return told


def test_a_request_tells_what_was_bound_and_minted() -> None:
    """
    Bind and mint are told once the IDs are in force.
    """
    seen: list[str | None] = []
    undo = subscribe("bind", lambda _: seen.append(get_session_id()))
    told = heard("bind", "mint", during=lambda: request(Policy()))
    undo()
    assert [(event.name, event.field) for event in told] == [("bind", None), ("mint", "session_id")]
    assert [told[0].context.session_id] == seen
    read = heard("mint", during=lambda: request(Policy(), (b"x-session-id", b"s")))
    assert read == []


def test_what_is_not_believed_is_told_with_its_reason() -> None:
    """
    S3, S8: reject names field and reason, never the value.
    """
    lines = ((b"x-session-id", b"evil value"), (b"x-user-id", b"admin"), (b"x-tenant-id", b""))
    told = heard("reject", during=lambda: request(Policy(), *lines))
    assert sorted((event.field, event.reason) for event in told) == [
        ("session_id", "character not allowed"),
        ("tenant_id", "nobody is trusted"),
        ("user_id", "nobody is trusted"),
    ]
    assert "evil" not in str(told)
    assert "admin" not in str(told)


def test_a_refusal_is_told_as_well() -> None:
    """
    R8: a request that is refused for want of an ID tells so.
    """
    policy = Policy(user=user_spec(required=True))
    told = heard("reject", during=lambda: request(policy))
    assert [(event.field, event.reason) for event in told] == [("user_id", "required and absent")]


def test_blocks_and_identify_are_told() -> None:
    """
    R2: a block tells bind and identify tells identify.
    """

    def run() -> None:
        with session_context("s"):
            identify(user_id="u")

    told = heard("bind", "identify", during=run)
    assert [(event.name, event.context.user_id) for event in told] == [
        ("bind", None),
        ("identify", "u"),
    ]


def test_a_bind_says_what_begins_with_it() -> None:
    """
    R11: a request and a job begin a unit of work; blocks, restore by hand and identify do not.
    """

    def run() -> None:
        request(Policy())
        with make_job_block({"session_id": "s"}, inherit=False), session_context("t"):
            identify(user_id="u")
        with make_job_block(None, inherit=True), restore({"session_id": "s"}):
            pass

    told = heard("bind", "identify", during=run)
    begins = [event.begins for event in told]
    assert begins == ["request", "job", None, None, "job", None]


def test_a_job_whose_beginning_fails_binds_nothing() -> None:
    """
    R14: a hook that raises, as under test, leaves no job's IDs behind.
    """

    def fail(_: Event) -> None:
        raise LookupError("a hook")

    undo = subscribe("bind", fail)
    with raise_failures(), pytest.raises(LookupError):
        make_job_block({"session_id": "s"}, inherit=False).__enter__()
    undo()
    assert get_session_id() is None


def test_subscribers_are_called_in_order_and_may_leave() -> None:
    """
    First in first out, duplicates allowed, and one that takes itself back is safe.
    """
    order: list[str] = []

    def leaving(_: Event) -> None:
        order.append("leaving")
        undo()

    def staying(_: Event) -> None:
        order.append("staying")

    undo = subscribe("bind", leaving)
    others = [subscribe("bind", staying), subscribe("bind", staying)]
    for _ in range(2):
        with session_context("s"):
            pass
    for other in (*others, *others):
        other()
    assert order == ["leaving", "staying", "staying", "staying", "staying"]
    assert "bind" not in subscribers


def test_a_failing_subscriber_is_logged_once_and_the_next_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R14: a failure is counted, logged once with its traceback, and stops nobody.
    """
    failures.clear()
    ran: list[Event] = []

    def fail(_: Event) -> None:
        raise LookupError("hook")

    undo = [subscribe("bind", fail), subscribe("bind", ran.append)]
    with caplog.at_level(logging.ERROR, "idlanyard"):
        for _ in range(3):
            request(Policy())
    assert (len(ran), failures["subscriber of 'bind'"]) == (3, 3)
    assert [record.exc_info is not None for record in caplog.records] == [True]
    with raise_failures(), pytest.raises(LookupError, match="hook"), session_context("s"):
        pass
    for one in undo:
        one()


def test_an_unknown_event_is_refused() -> None:
    """
    There are four events, and the error names them.
    """
    with pytest.raises(ValueError, match="bind, mint, reject, identify"):
        subscribe("unbind", print)  # type: ignore[arg-type]


async def nobody_waits(_: Event) -> None:
    """
    Tell nobody.
    """
    raise AssertionError


@pytest.mark.parametrize(
    ("fn", "fault"),
    [
        pytest.param(None, "takes a function of the event", id="the result of a call"),
        pytest.param(nobody_waits, "takes a plain function, and not an async one", id="async"),
        pytest.param(lambda: None, "is called with the event", id="no argument"),
    ],
)
def test_what_could_not_be_told_is_refused(fn: Any, fault: str) -> None:
    """
    R14: what is no plain function of the event is refused, and not called in vain at each event.
    """
    with pytest.raises(
        TypeError, match=rf"subscribe {fault}.*: write subscribe\('reject', print\)"
    ):
        subscribe("reject", fn)
    assert not subscribers


@pytest.mark.parametrize(
    ("policy", "where"),
    [
        pytest.param(
            Policy(user=user_spec(accept="anyone", must_match=lambda *_: 1 / 0 > 0)),
            "must_match of user_id",
            id="must_match",
        ),
    ],
)
def test_a_hook_of_a_policy_that_fails_fails_closed(policy: Policy, where: str) -> None:
    """
    R14: a must_match that raises has not been passed, and the failure is counted.
    """
    failures.clear()
    told = heard("reject", during=lambda: request(policy, (b"x-user-id", b"u")))
    assert [event.reason for event in told] == ["does not match the request"]
    assert failures[where] == 1


def test_a_parse_function_that_fails_gives_nothing() -> None:
    """
    R14, S29: a parse function that raises on a hostile line makes the ID absent.
    """
    from idlanyard import Header

    failures.clear()
    policy = Policy(session=session_spec(sources=[Header("X-Chat", parse=lambda line: line[99])]))
    told = heard("mint", during=lambda: request(policy, (b"x-chat", b"x")))
    assert [event.field for event in told] == ["session_id"]
    assert failures["parse of X-Chat"] == 1


def test_a_hook_that_raises_under_test_leaves_no_restored_ids() -> None:
    """
    R3, R14: what a message carries is not left bound where a strict hook has raised.
    """

    def hook(event: Event) -> None:
        raise LookupError("hook")

    with session_context("s1"):
        carrier = dump()
    undo = subscribe("bind", hook)
    with raise_failures(), pytest.raises(LookupError, match="hook"), restore(carrier):
        raise AssertionError("the block was entered")
    undo()
    assert get_session_id() is None

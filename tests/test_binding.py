"""
The one variable, the scope and the overlay: who sees what, and for how long.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import (
    UNSET,
    Policy,
    Provenance,
    SessionContext,
    carry,
    clear_session_context,
    clear_session_id,
    get_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    identify,
    request_spec,
    rotate_session_id,
    session_context,
    set_session_context,
    set_session_id,
    subscribe,
    use_policy,
    user_spec,
    without,
)
from idlanyard._binding.state import apply_delta, update_request_ids
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.testing import raise_failures

Body = Callable[[], Coroutine[Any, Any, None]]
WITH_REQUEST_ID = Policy(extra=[request_spec(mint=None)], trusted_peers=["10.0.0.5"])
SESSION_AND_USER = ((b"x-session-id", b"s1"), (b"x-user-id", b"u0"))


async def serve(
    body: Body,
    policy: Policy = WITH_REQUEST_ID,
    headers: tuple[tuple[bytes, bytes], ...] = SESSION_AND_USER,
) -> dict[str, str]:
    """
    Serve one request from a trusted peer whose endpoint is *body*; return what is echoed.
    """
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "client": ("10.0.0.5", 1), "headers": [*headers]}
    asgi: Any = SessionContextMiddleware(app, policy)
    await asgi(scope, None, send)
    echoed = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    echoed.pop("cache-control")
    return echoed


def here() -> dict[str, str]:
    """
    Return the current IDs.
    """
    return get_session_context().as_dict()


def alone(check: Callable[[], None]) -> None:
    """
    Run *check* in a Context in which nothing is bound.
    """
    contextvars.Context().run(check)


def test_a_scope_says_everything() -> None:
    """
    R1: in a request a field that the scope lacks is absent, whatever is bound around it.
    """

    async def body() -> None:
        assert here() == {"session_id": "s1", "user_id": "u0"}
        assert get_tenant_id("-") == "-"

    with session_context(tenant_id="around", user_id="around"):
        assert asyncio.run(serve(body)) == {"x-session-id": "s1", "x-user-id": "u0"}
        assert here() == {"user_id": "around", "tenant_id": "around"}


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
def test_not_given_leaves_and_unset_hides(nothing: str | None) -> None:
    """
    R2.2: in a block None and the empty text change nothing, and UNSET hides.
    """
    with session_context("s", "u", "t"):
        with session_context(nothing, nothing, customer_id=nothing):
            assert here() == {"session_id": "s", "user_id": "u", "tenant_id": "t"}
        with session_context(user_id=UNSET, customer_id=UNSET):
            assert here() == {"session_id": "s"}
            with session_context(user_id="v"):
                assert here() == {"session_id": "s", "user_id": "v"}
        set_session_context(user_id=nothing, tenant_id=UNSET)
        assert here() == {"session_id": "s", "user_id": "u"}


@pytest.mark.parametrize(
    "hide",
    [
        pytest.param(clear_session_id, id="clear_session_id"),
        pytest.param(lambda: set_session_id(None), id="set_session_id(None)"),
        pytest.param(lambda: set_session_id(""), id="set_session_id('')"),
        pytest.param(lambda: set_session_id(UNSET), id="set_session_id(UNSET)"),
        pytest.param(lambda: set_session_context(session_id=UNSET), id="set_session_context"),
    ],
)
def test_hiding_the_session_keeps_the_echo(hide: Callable[[], None]) -> None:
    """
    R2.2, R2.5: every way to hide the session hides it here alone; the echo reads the scope.
    """

    async def body() -> None:
        hide()
        assert here() == {"user_id": "u0"}

    assert asyncio.run(serve(body)) == {"x-session-id": "s1", "x-user-id": "u0"}


@pytest.mark.parametrize("name", ["tenant_id", "customer_id"])
def test_identify_removes(name: str) -> None:
    """
    R2.3: UNSET removes in identify, under both names of the tenant.
    """

    async def body() -> None:
        identify(**{name: "t"})
        assert (get_tenant_id(), get_id("customer_id")) == ("t", "t")
        with session_context(tenant_id="block"):
            identify(**{name: UNSET})
            assert get_tenant_id() is None
        assert get_tenant_id() is None

    assert asyncio.run(serve(body)) == {"x-session-id": "s1", "x-user-id": "u0"}


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
@pytest.mark.parametrize("name", ["tenant_id", "customer_id"])
def test_identify_with_nothing_leaves_block_and_scope(name: str, nothing: Any) -> None:
    """
    R2: None and the empty text mean "not given" in identify too, under both names of the tenant.
    """

    async def body() -> None:
        identify(**{name: "t"})
        with session_context(tenant_id="block"):
            identify(**{name: nothing}, user_id="u1")
            assert (get_tenant_id(), get_user_id()) == ("block", "u1")
        assert get_tenant_id() == "t"

    echoed = asyncio.run(serve(body))
    assert echoed == {"x-session-id": "s1", "x-user-id": "u1", "x-tenant-id": "t"}


def test_identify_reaches_the_request_from_everywhere() -> None:
    """
    R2.3: a worker thread, a child task and a carried thread write one scope, proven by CODE.
    """

    async def body() -> None:
        await asyncio.to_thread(lambda: identify(user_id="thread"))
        assert get_user_id() == "thread"

        async def child() -> None:
            identify(tenant_id="task")

        await asyncio.create_task(child())

        @carry
        def carried() -> None:
            identify(request_id="carried")

        thread = threading.Thread(target=carried)
        thread.start()
        thread.join()
        context = get_session_context()
        assert (context.tenant_id, context.request_id) == ("task", "carried")
        assert context.provenance("tenant_id") is Provenance.CODE
        assert context.provenance("session_id") is Provenance.CLIENT

    assert asyncio.run(serve(body)) == {
        "x-session-id": "s1",
        "x-user-id": "thread",
        "x-tenant-id": "task",
        "x-request-id": "carried",
    }


def test_no_identification_is_lost_between_threads() -> None:
    """
    R2.3: threads that identify different fields at one moment all leave their mark.
    """
    rounds = 200
    names = ("user_id", "tenant_id", "request_id")
    meeting = threading.Barrier(len(names), timeout=30)

    def work(name: str) -> list[str | None]:
        seen, before = [], sys.gettrace()
        sys.settrace(give_way)
        try:
            for number in range(rounds):
                meeting.wait()
                identify(**{name: str(number)})
                seen.append(get_id(name))
        finally:
            sys.settrace(before)
        return seen

    async def body() -> None:
        found = await asyncio.gather(*(asyncio.to_thread(work, name) for name in names))
        assert found == [[str(number) for number in range(rounds)]] * len(names)

    asyncio.run(serve(body))


def give_way(frame: FrameType, *_: object) -> Any:
    """
    Run another thread at each line that writes a scope, where one could be in the way.
    """
    if frame.f_code not in {update_request_ids.__code__, apply_delta.__code__}:
        return None
    os.sched_yield()
    return give_way


def test_an_overlay_follows_the_scope_below() -> None:
    """
    R2.1: a block reads the fields that it did not change from the scope as it is now.
    """

    async def body() -> None:
        with session_context(tenant_id="t"):
            assert get_user_id() == "u0"
            await asyncio.to_thread(lambda: identify(user_id="later"))
            assert here() == {"session_id": "s1", "user_id": "later", "tenant_id": "t"}

    asyncio.run(serve(body))


def test_a_rotated_session_is_minted_and_echoed() -> None:
    """
    R2.4: rotating gives the whole request another session ID of 32 hex digits.
    """
    fresh: list[str] = []

    async def body() -> None:
        fresh.extend([rotate_session_id(), rotate_session_id()])
        assert get_session_id() == fresh[1] != fresh[0]
        assert int(fresh[1], 16) >= 0

    assert asyncio.run(serve(body)) == {"x-session-id": fresh[1], "x-user-id": "u0"}
    assert [len(one) for one in fresh] == [32, 32]


def test_clearing_outside_a_request_is_undone_by_the_block() -> None:
    """
    R2.4, R3: what is cleared in a block is back when it ends, also after an exception.
    """
    with session_context("s", "u"):

        @session_context("inner")
        def clears() -> None:
            clear_session_context()
            assert here() == {}
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            clears()
        assert here() == {"session_id": "s", "user_id": "u"}


FIELDS = st.sampled_from(["session_id", "user_id", "tenant_id"])
CHANGES = st.dictionaries(FIELDS, st.sampled_from(["a", "b", None, "", UNSET]))


@given(blocks=st.lists(CHANGES, max_size=6))
def test_nested_blocks_merge_and_restore(blocks: list[dict[str, Any]]) -> None:
    """
    R3: each block changes what it is given and nothing else, and leaving restores exactly.
    """

    def check(expected: dict[str, str], rest: list[dict[str, Any]]) -> None:
        assert here() == expected
        if not rest:
            return
        inside = dict(expected)
        for name, value in rest[0].items():
            if value is UNSET:
                inside.pop(name, None)
            elif value:
                inside[name] = value
        with session_context(**rest[0]) as bound:
            assert bound == SessionContext(**inside)
            check(inside, rest[1:])
        assert here() == expected

    alone(lambda: check({}, blocks))


def test_a_hook_that_raises_under_test_leaves_nothing_bound() -> None:
    """
    R14, R3: where a hook's failure is raised on the way in, the block is as if never entered.
    """

    def fail(_: object) -> None:
        raise KeyError("hook")

    block = session_context("s")
    undo = subscribe("bind", fail)
    try:
        with raise_failures(), pytest.raises(KeyError, match="hook"):
            block.__enter__()
        assert here() == {}
    finally:
        undo()
    with block:
        assert get_session_id() == "s"


def test_the_policy_outside_requests_is_the_one_in_use() -> None:
    """
    R10: use_policy declares IDs for code outside requests, last one first, and is undone.
    """
    first, second = Policy(extra=[request_spec()]), Policy(user=user_spec(max_length=3))
    undo_first = use_policy(first)
    undo_second = use_policy(second)
    with pytest.raises(TypeError, match="not a declared ID"), session_context(request_id="r"):
        pytest.fail("a block of undeclared IDs was entered")
    with pytest.raises(ValueError, match="user_id is refused"):
        identify(user_id="four")
    undo_second()
    undo_second()
    with session_context(request_id="r") as bound:
        assert bound.request_id == "r"
    undo_first()
    with pytest.raises(TypeError, match="not a declared ID"):
        get_id("request_id")


@pytest.mark.parametrize("wrong", [None, {}, Policy], ids=["None", "a dict", "the class"])
def test_only_a_policy_can_be_used(wrong: Any) -> None:
    """
    R10: use_policy of anything else is a TypeError that names its type.
    """
    with pytest.raises(TypeError, match=f"takes a Policy, not {type(wrong).__name__}"):
        use_policy(wrong)


def test_a_request_keeps_its_own_policy() -> None:
    """
    R10: in a request its middleware's policy rules, whatever is in use around it.
    """
    undo = use_policy(Policy(user=user_spec(max_length=2)))
    try:

        async def body() -> None:
            identify(request_id="declared", user_id="long-enough")
            with session_context(request_id="block"):
                assert get_id("request_id") == "block"
            with without(), pytest.raises(TypeError, match="not a declared ID"):
                get_id("request_id")

        echoed = asyncio.run(serve(body))
    finally:
        undo()
    assert echoed["x-request-id"] == "declared"


def test_identify_after_the_response_has_started() -> None:
    """
    R2.3: what is identified after the start is in force, and the header stays as it was sent.
    """
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        identify(user_id="late")
        assert get_user_id() == "late"
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        asgi: Any = SessionContextMiddleware(app, Policy())
        await asgi({"type": "http", "path": "/", "headers": [SESSION_AND_USER[0]]}, None, send)

    asyncio.run(run())
    assert (b"x-session-id", b"s1") in sent[0]["headers"]
    assert b"x-user-id" not in dict(sent[0]["headers"])


def test_two_names_for_the_tenant_may_not_differ_anywhere() -> None:
    """
    Design, section 1: customer_id is accepted wherever tenant_id is, and both must agree.
    """
    for setter in (session_context, set_session_context, identify, SessionContext):
        call: Any = setter
        with pytest.raises(TypeError, match="name one ID"):
            call(tenant_id="t", customer_id="c")

    def check() -> None:
        set_session_context(customer_id="c", tenant_id="c")
        assert here() == {"tenant_id": "c"}
        identify(customer_id="d")
        assert here() == {"tenant_id": "d"}

    alone(check)

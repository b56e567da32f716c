"""
Verbs that change the IDs, each in a real request: the current IDs afterwards, and the echo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from idlanyard import (
    UNSET,
    Policy,
    Provenance,
    clear_session_context,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    identify,
    require,
    rotate_session_id,
    session_context,
    set_session_context,
)
from idlanyard.asgi import SessionContextMiddleware

Body = Callable[[], Coroutine[Any, Any, None]]


def echo_of(body: Body) -> dict[str, str]:
    """
    Run *body* in a request with session s1 and user u0; return what is echoed.
    """
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await body()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/",
        "client": ("10.0.0.5", 1),
        "headers": [(b"x-session-id", b"s1"), (b"x-user-id", b"u0")],
    }
    middleware = SessionContextMiddleware(app, Policy(trusted_peers=["10.0.0.5"]))
    asyncio.run(_serve(middleware, scope, send))
    echoed = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    echoed.pop("cache-control")
    return echoed


async def _serve(app: Any, scope: Any, send: Any) -> None:
    await app(scope, None, send)


def test_identify_shows_through_the_block_that_hid_it() -> None:
    """
    R2 row 1: identify in a block that set the user wins here, outside and in the echo.
    """

    async def body() -> None:
        with session_context(user_id="o"):
            identify(user_id="i")
            assert get_user_id() == "i"
        assert get_user_id() == "i"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "i"}


def test_identify_leaves_the_blocks_other_fields() -> None:
    """
    R2 row 2: identify keeps the block's tenant here, which ends with the block.
    """

    async def body() -> None:
        with session_context(tenant_id="t"):
            identify(user_id="i")
            assert (get_user_id(), get_tenant_id()) == ("i", "t")
        assert (get_user_id(), get_tenant_id()) == ("i", None)

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "i"}


def test_a_child_identifies_under_its_parents_block() -> None:
    """
    R2 row 3: the child sees what it identified, the parent its block until that ends.
    """

    async def child() -> None:
        identify(user_id="i")
        assert get_user_id() == "i"

    async def body() -> None:
        with session_context(user_id="o"):
            await asyncio.create_task(child())
            assert get_user_id() == "o"
        assert get_user_id() == "i"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "i"}


def test_a_childs_overlay_outlives_its_parents_identify() -> None:
    """
    R2 row 4: what a child set for itself hides what its parent identifies later.
    """

    async def body() -> None:
        ready, go = asyncio.Event(), asyncio.Event()

        async def child() -> None:
            set_session_context(user_id="c")
            ready.set()
            await go.wait()
            assert get_user_id() == "c"

        task = asyncio.create_task(child())
        await ready.wait()
        identify(user_id="p")
        go.set()
        await task
        assert get_user_id() == "p"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "p"}


def test_clearing_hides_here_and_keeps_the_echo() -> None:
    """
    R2 row 5: after clear everything is absent here, and the echo still carries the scope's IDs.
    """

    async def body() -> None:
        clear_session_context()
        assert get_session_context().is_empty()

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "u0"}


def test_identify_after_clearing() -> None:
    """
    R2 row 6: after clear, identify shows its own field and nothing else.
    """

    async def body() -> None:
        clear_session_context()
        identify(user_id="i")
        assert (get_user_id(), get_session_id()) == ("i", None)

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "i"}


def test_rotating_in_a_block_that_set_the_session() -> None:
    """
    R2 row 7: the rotated session is in force here, outside and in the echo.
    """
    fresh: list[str] = []

    async def body() -> None:
        with session_context(session_id="n"):
            fresh.append(rotate_session_id())
            assert get_session_id() == fresh[0]
        assert get_session_id() == fresh[0]

    assert echo_of(body) == {"x-session-id": fresh[0], "x-user-id": "u0"}
    assert len(fresh[0]) == 32


def test_identify_in_a_block_that_hid_the_user() -> None:
    """
    R2 row 8: identify shows through a block that hid the user.
    """

    async def body() -> None:
        with session_context(user_id=UNSET):
            assert get_user_id() is None
            identify(user_id="i")
            assert get_user_id() == "i"
        assert get_user_id() == "i"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "i"}


def test_setting_the_context_stays_here() -> None:
    """
    R2 row 9: set_session_context changes here and below, not elsewhere and not the echo.
    """

    async def child() -> None:
        set_session_context(user_id="c")
        assert get_user_id() == "c"

    async def body() -> None:
        await asyncio.create_task(child())
        assert get_user_id() == "u0"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "u0"}


def test_identify_with_unset_removes() -> None:
    """
    R2 row 10: identify(user_id=UNSET) removes the user here and from the echo.
    """

    async def body() -> None:
        identify(user_id=UNSET)
        assert get_user_id() is None

    assert echo_of(body) == {"x-session-id": "s1"}


def test_identify_says_that_a_signature_was_verified() -> None:
    """
    The provenance of an ID is ``CODE``, or ``SIGNED`` if the caller says so; both are proven.
    """

    async def body() -> None:
        identify(user_id="alice")
        assert get_session_context().provenance("user_id") is Provenance.CODE
        identify(user_id="bob", proof=Provenance.SIGNED)
        assert get_session_context().provenance("user_id") is Provenance.SIGNED
        assert require("user_id", proven=True) == "bob"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "bob"}


@pytest.mark.parametrize("proof", ["signed", None, "peer", Provenance.PEER, Provenance.CLIENT])
def test_identify_takes_no_other_proof(proof: Any) -> None:
    """
    Code cannot say that a proxy, a client or the middleware set an ID.
    """
    with pytest.raises(TypeError, match=r"is no proof: write proof=Provenance\.SIGNED"):
        identify(user_id="alice", proof=proof)
    assert get_user_id() is None


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
def test_identify_with_nothing_changes_nothing(nothing: str | None) -> None:
    """
    R2 row 11: identify(user_id=None) means "not given", here and in the echo.
    """

    async def body() -> None:
        identify(user_id=nothing)
        assert get_user_id() == "u0"

    assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "u0"}


def test_in_a_request_the_environment_plays_no_part() -> None:
    """
    R1: a field that is not in the scope is absent, whatever is bound around or in the environment.
    """
    import os

    os.environ["IDLANYARD_TENANT_ID"] = "static"
    try:

        async def body() -> None:
            assert get_tenant_id() is None
            with session_context(session_id="n"):
                assert get_tenant_id() is None

        with session_context(tenant_id="around"):
            assert echo_of(body) == {"x-session-id": "s1", "x-user-id": "u0"}
    finally:
        del os.environ["IDLANYARD_TENANT_ID"]

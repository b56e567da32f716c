"""
The smallest API: one session ID, under the name that it has always had.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from idlanyard import Policy, context, get_session_id, get_user_id, session_context, without
from idlanyard.asgi import SessionContextMiddleware


def test_nothing_bound_is_unknown_here_and_none_elsewhere() -> None:
    """
    R15: context.get alone has a placeholder, and takes another.
    """
    assert (context.get(), context.get("-"), get_session_id()) == ("unknown", "-", None)


@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
def test_what_is_set_is_read_until_it_is_cleared(nothing: str | None) -> None:
    """
    R2.2: set binds the one session ID of the package; None, the empty text and clear hide it.
    """
    with session_context("around", user_id="u"):
        context.set("s1")
        assert (context.get(), get_session_id(), get_user_id()) == ("s1", "s1", "u")
        context.set(nothing)
        assert (context.get(), get_session_id(), get_user_id()) == ("unknown", None, "u")
        context.set("s2")
        context.clear()
        assert (context.get(), get_session_id(), get_user_id()) == ("unknown", None, "u")
    assert context.get() == "unknown"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        pytest.param("a b", ValueError, "session_id is refused", id="no ID"),
        pytest.param(5, TypeError, r"write str\(\.\.\.\)", id="a number"),
    ],
)
def test_a_refused_value_changes_nothing(value: Any, error: type[Exception], message: str) -> None:
    """
    R7: a value that is no ID raises where it is set, and what was bound stays.
    """
    with session_context("before"):
        with pytest.raises(error, match=message):
            context.set(value)
        assert context.get() == "before"


def test_a_task_has_a_copy_and_a_thread_has_nothing() -> None:
    """
    A task takes what is bound when it is made; a new thread sees the default.
    """

    async def read() -> str:
        return context.get()

    async def run() -> tuple[str, str, str]:
        context.set("first")
        task = asyncio.create_task(read())
        context.set("second")
        seen: list[str] = []
        with without():
            thread = threading.Thread(target=lambda: seen.append(context.get()))
            thread.start()
        thread.join()
        return await task, context.get(), seen[0]

    assert asyncio.run(run()) == ("first", "second", "unknown")


def test_bind_is_the_bind_of_the_package() -> None:
    """
    Context.bind passes what context.set has bound.
    """

    @context.bind
    def work(session_id: str) -> str:
        return session_id

    with session_context():
        context.set("s1")
        assert work() == "s1"


def test_in_a_request_it_reads_and_hides_the_requests_id() -> None:
    """
    R2.4: context reads the request's ID, and what it sets or clears never reaches the echo.
    """
    sent: list[Any] = []
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context.get())
        context.set("mine")
        seen.append(context.get())
        context.clear()
        seen.append(context.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s1")]}
        await SessionContextMiddleware(app, Policy())(scope, None, send)
        seen.append(context.get())

    asyncio.run(run())
    assert seen == ["s1", "mine", "unknown", "unknown"]
    assert (b"x-session-id", b"s1") in sent[0]["headers"]

"""
``identify`` in a thread to which a request has handed work.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from idlanyard import (
    ContextThreadPoolExecutor,
    carry,
    get_user_id,
    identify,
    restore,
    session_context,
    set_session_context,
)
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

LOST = "found no request"


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """
    Return a function that returns what the logger of idlanyard has warned of.
    """
    with caplog.at_level(logging.DEBUG, "idlanyard"):
        yield lambda: [record.getMessage() for record in caplog.records]


def in_thread(fn: Callable[[], Any]) -> Any:
    """
    Run *fn* in a thread of its own that has nothing from here, and return its result.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.Context().run, fn).result()


def served(work: Callable[[], Any]) -> str | None:
    """
    Serve one request that awaits *work*; return the user that the request has then.
    """
    found: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await work()
        found.append(get_user_id())

    scope = {"type": "http", "path": "/", "headers": []}
    asyncio.run(SessionContextMiddleware(app)(scope, None, None))
    return found[0]


def test_identify_in_a_plain_pool_warns_once(warnings: Callable[[], list[str]]) -> None:
    """
    R2.3: in a thread without a request identify is logged once, with what to write instead.
    """

    def authenticate() -> None:
        identify(user_id="alice")

    for _ in range(3):
        in_thread(authenticate)
    (line,) = warnings()
    assert LOST in line
    assert "carry(fn), ContextThreadPoolExecutor or asyncio.to_thread" in line


@pytest.mark.parametrize("how", ["carry", "ContextThreadPoolExecutor", "asyncio.to_thread"])
def test_what_the_warning_says_to_write_reaches_the_request(
    how: str, warnings: Callable[[], list[str]]
) -> None:
    """
    R2.3: each of the three ways makes the request hear of it, and nothing is logged.
    """

    def authenticate() -> None:
        identify(user_id="alice")

    async def work() -> None:
        loop = asyncio.get_running_loop()
        if how == "asyncio.to_thread":
            await asyncio.to_thread(authenticate)
            return
        carries = how == "carry"
        with (ThreadPoolExecutor if carries else ContextThreadPoolExecutor)(1) as pool:
            await loop.run_in_executor(pool, carry(authenticate) if carries else authenticate)

    assert served(work) == "alice"
    assert warnings() == []


def test_the_main_thread_and_event_loops_are_not_warned_of(
    warnings: Callable[[], list[str]],
) -> None:
    """
    R2.3: a script, and tasks of a loop in any thread, that have no request are no mistake.
    """

    async def task() -> str | None:
        identify(user_id="u")
        return get_user_id()

    async def tasks() -> str | None:
        return await asyncio.create_task(task())

    contextvars.Context().run(lambda: identify(user_id="script"))
    assert asyncio.run(tasks()) == "u"
    assert in_thread(lambda: asyncio.run(tasks())) == "u"
    assert warnings() == []


def test_a_request_or_a_job_in_any_thread_is_not_warned_of(
    warnings: Callable[[], list[str]],
) -> None:
    """
    R2.3: a WSGI server's threads and a worker's have scopes, which identify writes.
    """

    def app(environ: Any, start_response: Any) -> list[bytes]:
        identify(user_id="u")
        start_response("200 OK", [])
        return [str(get_user_id()).encode()]

    def serve() -> bytes:
        return b"".join(WSGIMiddleware(app)({"REQUEST_METHOD": "GET"}, lambda *_: print))

    def job() -> str | None:
        with restore({"session_id": ["s", "code"]}):
            identify(user_id="u")
            return get_user_id()

    assert (in_thread(serve), in_thread(job)) == (b"u", "u")
    assert warnings() == []


def test_the_other_verbs_are_meant_for_threads(warnings: Callable[[], list[str]]) -> None:
    """
    R2.3: set_session_context and session_context say what they do in a thread.
    """

    def work() -> None:
        set_session_context(user_id="u")
        with session_context("s"):
            assert get_user_id() == "u"

    in_thread(work)
    assert warnings() == []

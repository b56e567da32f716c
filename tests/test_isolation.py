"""
No request ever sees another one's IDs: every handler waits between reading
and answering until all the others stand there too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from idlanyard import Policy, get_session_context, get_session_id, get_user_id, identify
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

TRUSTING = Policy(trusted_peers=["127.0.0.1"])
AT_ONCE = 100
ROUNDS = 30

Seen = dict[str, Any]


def ids_of(number: int) -> tuple[str, str, str]:
    """
    The IDs that request *number* claims, and the user it finds out on the way.
    """
    return f"session-{number}", f"user-{number}", f"late-{number}"


async def ask(app: Any, number: int) -> Seen:
    """
    Send request *number* and return the response's headers.
    """
    session, user, _ = ids_of(number)
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/{number}",
        "client": ("127.0.0.1", 50000),
        "headers": [(b"x-session-id", session.encode()), (b"x-user-id", user.encode())],
    }
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    await app(scope, None, send)
    return {name.decode(): value.decode() for name, value in answers[0]["headers"]}


def check(number: int, headers: Seen) -> list[str]:
    """
    Return what is wrong with the response to request *number*.
    """
    session, _, late = ids_of(number)
    wanted = {"x-session-id": session, "x-user-id": late, "cache-control": "private"}
    return [] if headers == wanted else [f"{number}: {headers}"]


async def ask_in_rounds(app: Any) -> list[str]:
    """
    Send rounds of requests that are all open at once; return the mix-ups.
    """
    wrong: list[str] = []
    for round_ in range(ROUNDS):
        numbers = range(round_ * AT_ONCE, (round_ + 1) * AT_ONCE)
        responses = await asyncio.gather(*(ask(app, number) for number in numbers))
        for number, headers in zip(numbers, responses, strict=True):
            wrong += check(number, headers)
    return wrong


def test_interleaved_requests_on_one_loop_keep_their_ids() -> None:
    """
    S28: of 3,000 requests, 100 open at a time on one loop, none sees another's IDs.
    """

    async def run() -> list[str]:
        barrier = asyncio.Barrier(AT_ONCE)
        wrong: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            session, user, late = ids_of(int(scope["path"][1:]))
            before = get_session_context().as_dict()
            await barrier.wait()
            identify(user_id=late)
            await barrier.wait()
            if (before, get_session_id(), get_user_id()) != (
                {"session_id": session, "user_id": user},
                session,
                late,
            ):
                wrong.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        wrong += await ask_in_rounds(ASGIMiddleware(app, TRUSTING))
        return wrong

    assert asyncio.run(run()) == []


def test_requests_on_many_threads_keep_their_ids() -> None:
    """
    S28: of 3,200 WSGI requests on 32 threads at a time, none sees another's IDs, nor keeps one.
    """
    at_once = 32
    barrier = threading.Barrier(at_once)
    wrong: list[str] = []

    def app(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        session, user, late = ids_of(int(environ["PATH_INFO"][1:]))
        before = get_session_context().as_dict()
        barrier.wait()
        identify(user_id=late)
        barrier.wait()
        if (before, get_session_id(), get_user_id()) != (
            {"session_id": session, "user_id": user},
            session,
            late,
        ):
            wrong.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return (part for part in (get_session_id("none").encode(), get_user_id("none").encode()))

    wrapped = WSGIMiddleware(app, TRUSTING)

    def serve(thread: int) -> None:
        for round_ in range(100):
            number = round_ * at_once + thread
            session, user, late = ids_of(number)
            started: list[Any] = []
            environ = {
                "REMOTE_ADDR": "127.0.0.1",
                "PATH_INFO": f"/{number}",
                "HTTP_X_SESSION_ID": session,
                "HTTP_X_USER_ID": user,
            }
            body = b"".join(wrapped(environ, lambda *args, to=started: to.extend(args)))
            headers = {name.lower(): value for name, value in started[1]}
            wrong.extend(check(number, headers))
            if body != f"{session}{late}".encode() or not get_session_context().is_empty():
                wrong.append(f"{number}: {body!r}, {get_session_context()}")

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(serve, range(at_once)))
    assert wrong == []


def test_requests_that_mix_tasks_and_threads_keep_their_ids() -> None:
    """
    S28: of 3,000 requests that each identify their user in a worker thread, none is mixed up.
    """

    async def run() -> list[str]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(AT_ONCE))
        barrier = threading.Barrier(AT_ONCE)
        wrong: list[str] = []

        def in_thread(number: int) -> None:
            session, user, late = ids_of(number)
            seen = get_session_id(), get_user_id()
            barrier.wait()
            identify(user_id=late)
            barrier.wait()
            if (seen, get_user_id()) != ((session, user), late):
                wrong.append(f"{number}: {seen}")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            number = int(scope["path"][1:])
            await asyncio.to_thread(in_thread, number)
            if get_user_id() != ids_of(number)[2]:
                wrong.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        wrong += await ask_in_rounds(ASGIMiddleware(app, TRUSTING))
        return wrong

    assert asyncio.run(run()) == []

"""
A service that takes only session IDs that are known.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from drive import (
    Line,
    ask_asgi,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    serve_asgi,
    values_of,
    websocket_scope,
)
from idlanyard import (
    Admission,
    Policy,
    PolicyError,
    Provenance,
    asgi,
    get_session_context,
    identify,
    session_spec,
    subscribe,
    testing,
    wsgi,
)
from idlanyard._failures import failures
from idlanyard.registry import AsyncSessionRegistry, RegistryUnavailable, SessionRegistry

KNOWN = "crm_user_1"
Reply = tuple[int, list[Line], dict[str, Any]]
Serve = Callable[..., Reply]


async def unreached(scope: Any, receive: Any, send: Any) -> None:
    """
    An application that must not be called.
    """
    raise AssertionError("the application was reached")


def unreached_too(environ: Any, start_response: Any) -> list[bytes]:
    """
    A WSGI application that must not be called.
    """
    raise AssertionError("the application was reached")


def by_asgi(known: Any, lines: list[Line] = [], spec: Any = None, **choices: Any) -> Reply:  # noqa: B006
    """
    Ask an ASGI application that returns its IDs; return status, headers and body.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = seen([pair[1].decode() for pair in scope["headers"] if pair[0] == b"x-session-id"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    start, body = ask_asgi(
        asgi.SessionContextMiddleware(app, policy(known, spec, choices)), http_scope(lines)
    )
    return start["status"], pairs_of(start), json.loads(body["body"])


def by_wsgi(known: Any, lines: list[Line] = [], spec: Any = None, **choices: Any) -> Reply:  # noqa: B006
    """
    Ask a WSGI application that returns its IDs; return status, headers and body.
    """

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        line = environ.get("HTTP_X_SESSION_ID")
        assert environ.get("idlanyard.session_id") == get_session_context().session_id
        return [seen([] if line is None else [line])]

    app_ = wsgi.SessionContextMiddleware(app, policy(known, spec, choices))
    response = ask_wsgi(app_, environ_of(lines))
    return int(response.status[:3]), response.headers, json.loads(response.body)


def policy(known: Any, spec: Any, choices: dict[str, Any]) -> Policy:
    """
    Return the rules of a service that takes known sessions only.
    """
    return Policy(session=spec or session_spec(), admission=Admission(known, **choices))


def seen(lines: list[str]) -> bytes:
    """
    Return the IDs and headers that the application sees.
    """
    context = get_session_context()
    how = context.provenance("session_id")
    return json.dumps({"id": context.session_id, "how": how, "lines": lines}).encode()


def awaited(answer: Callable[[str], object]) -> Callable[[str], Any]:
    """
    Return the same answers, awaited.
    """

    async def known(session_id: str) -> object:
        await asyncio.sleep(0)
        return answer(session_id)

    return known


def as_it_is(answer: Callable[[str], object]) -> Callable[[str], Any]:
    """
    Return the answers given at once.
    """
    return answer


def promised(answer: Callable[[str], object]) -> Callable[[str], Any]:
    """
    Return the same answers from a plain function that returns an awaitable.
    """
    known = awaited(answer)
    return lambda session_id: known(session_id)


SIDES = pytest.mark.parametrize(
    ("serve", "kind"),
    [
        pytest.param(by_asgi, awaited, id="asgi, async"),
        pytest.param(by_asgi, as_it_is, id="asgi, sync"),
        pytest.param(by_asgi, promised, id="asgi, a function that returns an awaitable"),
        pytest.param(by_wsgi, as_it_is, id="wsgi"),
    ],
)
CLAIM = [("X-Session-ID", KNOWN)]
STRANGE = [("X-Session-ID", "nobody")]


def knows(session_id: str) -> bool:
    """
    Return whether the session is the known one.
    """
    return session_id == KNOWN


def fails(session_id: str) -> bool:
    """
    Be down.
    """
    raise RegistryUnavailable("redis")


@SIDES
def test_a_known_session_is_like_any_other(serve: Serve, kind: Any) -> None:
    """
    A session that is known is bound, seen and echoed.
    """
    status, headers, body = serve(kind(knows), CLAIM)
    assert (status, values_of(headers, "X-Session-ID")) == (200, [KNOWN])
    assert body == {"id": KNOWN, "how": "client", "lines": [KNOWN]}


@SIDES
def test_an_unknown_session_is_minted_anew(serve: Serve, kind: Any) -> None:
    """
    An unknown session is absent: a fresh one is bound, seen and echoed.
    """
    status, headers, body = serve(kind(knows), STRANGE)
    (fresh,) = values_of(headers, "X-Session-ID")
    assert status == 200
    assert fresh not in (KNOWN, "nobody")
    assert body == {"id": fresh, "how": "minted", "lines": [fresh]}


@SIDES
def test_an_unknown_session_is_refused_where_that_is_the_choice(serve: Serve, kind: Any) -> None:
    """
    R8: unknown="refuse" answers 404 by a problem that names no value.
    """
    status, headers, body = serve(kind(knows), STRANGE, unknown="refuse")
    assert (status, body["reason"]) == (404, "not a known session")
    assert values_of(headers, "Content-Type") == ["application/problem+json"]
    assert values_of(headers, "X-Session-ID") == []
    assert "nobody" not in json.dumps(body)


@SIDES
def test_a_store_that_is_down_refuses(serve: Serve, kind: Any) -> None:
    """
    Without an answer the request gets 503, and keeps its session.
    """
    status, headers, body = serve(kind(fails), CLAIM)
    assert (status, body["title"]) == (503, "Service Unavailable")
    assert values_of(headers, "Retry-After") == ["1"]
    assert values_of(headers, "X-Session-ID") == [KNOWN]
    assert failures["admission"] == 1


@SIDES
def test_a_store_that_is_down_mints_where_that_is_the_choice(serve: Serve, kind: Any) -> None:
    """
    Unavailable="mint" treats the session as absent.
    """
    status, headers, body = serve(kind(fails), CLAIM, unavailable="mint", unknown="refuse")
    (fresh,) = values_of(headers, "X-Session-ID")
    assert status == 200
    assert body == {"id": fresh, "how": "minted", "lines": [fresh]}
    assert fresh != KNOWN


@SIDES
@pytest.mark.parametrize("answer", [1, "yes", None, object()])
def test_only_true_admits(serve: Serve, kind: Any, answer: object) -> None:
    """
    An object that is merely true is no answer.
    """
    assert serve(kind(lambda session_id: answer), CLAIM)[0] == 503


@SIDES
def test_a_session_of_our_own_making_is_not_asked_about(serve: Serve, kind: Any) -> None:
    """
    A session that is minted here, or absent, or excluded, needs no admission.
    """
    asked: list[str] = []

    def known(session_id: str) -> bool:
        asked.append(session_id)
        return True

    assert serve(kind(known))[2]["how"] == "minted"
    assert serve(kind(known), [("X-Session-ID", "not valid")])[2]["how"] == "minted"
    assert serve(kind(known), spec=session_spec(mint=None))[2]["id"] is None
    with testing.override(session_id="forced"):
        assert serve(kind(known), CLAIM)[2]["id"] == "forced"
    assert asked == []
    serve(kind(known), CLAIM)
    assert asked == [KNOWN]


@SIDES
def test_without_a_mint_an_unknown_session_is_absent(serve: Serve, kind: Any) -> None:
    """
    If nothing mints, a request with an unknown session has none.
    """
    status, headers, body = serve(kind(knows), STRANGE, session_spec(mint=None))
    assert (status, values_of(headers, "X-Session-ID")) == (200, [])
    assert body == {"id": None, "how": None, "lines": []}


@SIDES
def test_required_means_known(serve: Serve, kind: Any) -> None:
    """
    R8: if a session is required, an unknown one is refused like an absent one.
    """
    status, headers, body = serve(kind(knows), STRANGE, session_spec(required=True))
    assert (status, body["field"]) == (400, "session_id")
    assert values_of(headers, "X-Session-ID") not in ([], ["nobody"])


@SIDES
def test_a_session_from_elsewhere_is_asked_about_and_shown(serve: Serve, kind: Any) -> None:
    """
    R5: an ID from another header needs admission too, and is removed from that header if it is
    unknown.
    """
    spec = session_spec(sources=["X-Session-ID", "X-Conversation-ID"])
    status, _, body = serve(kind(knows), [("X-Conversation-ID", KNOWN)], spec)
    assert (status, body["id"], body["lines"]) == (200, KNOWN, [KNOWN])
    status, headers, body = serve(kind(knows), [("X-Conversation-ID", "nobody")], spec)
    assert body["lines"] == values_of(headers, "X-Session-ID") == [body["id"]]
    assert body["id"] != "nobody"


@SIDES
def test_subscribers_are_notified_of_a_session_that_is_not_admitted(
    serve: Serve, kind: Any
) -> None:
    """
    A session that is not admitted is an event, with the reason and never the value.
    """
    events: list[Any] = []
    undo = subscribe("reject", events.append)
    try:
        serve(kind(knows), STRANGE)
        serve(kind(knows), STRANGE, unknown="refuse")
        serve(kind(fails), STRANGE)
    finally:
        undo()
    told = [(event.field, event.reason) for event in events]
    unanswered = "the session could not be checked"
    assert told == [
        ("session_id", "not a known session"),
        ("session_id", "not a known session"),
        ("session_id", unanswered),
    ]
    assert events[0].context.session_id != "nobody"


def test_an_earlier_refusal_stands() -> None:
    """
    R8: a request that is refused anyway is not asked about.
    """
    rules = Policy(
        session=session_spec(must_match=lambda value, request: False), admission=Admission(fails)
    )
    start, _ = ask_asgi(asgi.SessionContextMiddleware(unreached, rules), http_scope(CLAIM))
    assert start["status"] == 403
    reply = ask_wsgi(wsgi.SessionContextMiddleware(unreached_too, rules), environ_of(CLAIM))
    assert reply.status == "403 Forbidden"
    assert not failures


def test_an_excluded_path_is_not_asked_about() -> None:
    """
    S24: on an excluded path nothing is read, and so nothing asked.
    """
    rules = Policy(exclude=["/"], admission=Admission(fails))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    (start,) = ask_asgi(asgi.SessionContextMiddleware(app, rules), http_scope(CLAIM))
    assert start["status"] == 204


def test_an_answer_has_its_time() -> None:
    """
    An answer that does not come in time is none; the loop is free meanwhile.
    """

    async def known(session_id: str) -> bool:
        answered = asyncio.Event()
        asyncio.get_running_loop().call_later(5, answered.set)
        return await answered.wait()

    assert by_asgi(known, CLAIM, timeout=0.05)[0] == 503
    assert failures["admission"] == 1


def test_a_waiting_function_has_its_time_too() -> None:
    """
    A plain function is waited for no longer, and blocks no other request.
    """
    released = threading.Event()

    def known(session_id: str) -> bool:
        return released.wait(20)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def ask() -> list[Any]:
        rules = policy(known, None, {"timeout": 0.05})
        middleware = asgi.SessionContextMiddleware(app, rules)
        slow = asyncio.create_task(serve_asgi(middleware, http_scope(CLAIM)))
        other = await serve_asgi(middleware, http_scope())
        assert not slow.done()
        answers = [other[0]["status"], (await slow)[0]["status"]]
        released.set()
        return answers

    assert asyncio.run(ask()) == [204, 503]


def test_trailers_that_come_meanwhile_are_no_headers() -> None:
    """
    S1: a line that the server appends to its list while the function runs reaches no application.
    """
    scope = http_scope(CLAIM)
    seen: list[Any] = []

    async def known(session_id: str) -> bool:
        await asyncio.sleep(0)
        lines.append((b"x-user-id", b"admin"))
        return True

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 204, "headers": []})

    lines = scope["headers"]
    ask_asgi(asgi.SessionContextMiddleware(app, policy(known, None, {})), scope)
    assert (b"x-session-id", KNOWN.encode()) in seen
    assert (b"x-user-id", b"admin") not in seen


def test_a_client_that_leaves_is_not_held() -> None:
    """
    R14: a request that is cancelled while it waits for the answer ends.
    """

    async def ask() -> None:
        waiting = asyncio.Event()

        async def known(session_id: str) -> bool:
            waiting.set()
            await asyncio.Event().wait()
            return True

        middleware = asgi.SessionContextMiddleware(unreached, policy(known, None, {}))
        task = asyncio.create_task(serve_asgi(middleware, http_scope(CLAIM)))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert not failures


@pytest.mark.parametrize(
    ("known", "code"),
    [pytest.param(knows, 1008, id="unknown"), pytest.param(fails, 1013, id="down")],
)
def test_a_websocket_is_never_accepted(known: Any, code: int) -> None:
    """
    R8: a WebSocket that is not admitted is closed before it is accepted, with 1013 if the store
    is down.
    """
    rules = policy(known, None, {"unknown": "refuse"})
    middleware = asgi.SessionContextMiddleware(unreached, rules)
    assert ask_asgi(middleware, websocket_scope(STRANGE)) == [
        {"type": "websocket.close", "code": code}
    ]
    offered = websocket_scope(STRANGE, extensions={"websocket.http.response": {}})
    start, _ = ask_asgi(middleware, offered)
    assert start["status"] == {1008: 404, 1013: 503}[code]


def test_a_nested_middleware_asks_for_no_admission() -> None:
    """
    R15: the request's IDs are the outer middleware's; a nested one asks about none.
    """

    def app(environ: Any, start_response: Any) -> Any:
        start_response("204 No Content", [])
        return []

    inside = wsgi.SessionContextMiddleware(app, policy(fails, None, {}))
    assert (
        ask_wsgi(wsgi.SessionContextMiddleware(inside, Policy()), environ_of(CLAIM)).status[:3]
        == "204"
    )
    assert not failures


def test_what_identify_says_is_not_asked_about() -> None:
    """
    A session that the application sets needs no admission.
    """

    def app(environ: Any, start_response: Any) -> Any:
        identify(session_id="another")
        start_response("200 OK", [])
        return [seen([])]

    middleware = wsgi.SessionContextMiddleware(app, policy(knows, None, {"unknown": "refuse"}))
    response = ask_wsgi(middleware, environ_of(CLAIM))
    assert json.loads(response.body)["how"] == Provenance.CODE


@pytest.fixture
def created() -> Iterator[Any]:
    """
    Return a registry with one session.
    """
    with SessionRegistry.open("memory://") as registry:
        registry.create(KNOWN)
        yield registry


def test_a_registry_answers(created: Any) -> None:
    """
    A registry's ``exists`` can be the function; a session that it created is admitted.
    """
    for serve in (by_asgi, by_wsgi):
        assert serve(created.exists, CLAIM)[2]["id"] == KNOWN
        assert serve(created.exists, STRANGE, unknown="refuse")[0] == 404


def test_an_asynchronous_registry_answers() -> None:
    """
    On ASGI the exists of an AsyncSessionRegistry is awaited.
    """
    registry = AsyncSessionRegistry.open("memory://")
    asyncio.run(registry.create(KNOWN))
    assert by_asgi(registry.exists, CLAIM)[2]["id"] == KNOWN
    assert by_asgi(registry.exists, STRANGE, unknown="refuse")[0] == 404


class Knowing:
    """
    An object that is called, and awaited.
    """

    async def __call__(self, session_id: str) -> bool:
        return session_id == KNOWN


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(AsyncSessionRegistry.open("memory://").exists, id="a method"),
        pytest.param(awaited(knows), id="a function"),
        pytest.param(partial(awaited(knows)), id="a partial"),
        pytest.param(Knowing(), id="an object"),
        pytest.param(partial(Knowing()), id="a partial of an object"),
    ],
)
def test_wsgi_says_at_once_that_it_cannot_await(known: Any) -> None:
    """
    An async function is refused when a WSGI middleware is built.
    """
    with pytest.raises(PolicyError, match="cannot await"):
        wsgi.SessionContextMiddleware(unreached_too, policy(known, None, {}))


@pytest.mark.parametrize("known", [Knowing(), partial(Knowing()), partial(awaited(knows))])
def test_asgi_awaits_whatever_is_awaited(known: Any) -> None:
    """
    On ASGI objects and partials are awaited as functions are.
    """
    assert by_asgi(known, CLAIM)[2]["id"] == KNOWN


def test_wsgi_never_admits_by_a_coroutine() -> None:
    """
    A coroutine that is never awaited is no answer, and is closed.
    """
    assert by_wsgi(promised(knows), CLAIM)[0] == 503


ALLOWED = {"refuse": "such requests are answered 503", "mint": "such requests get a fresh session"}


@pytest.mark.parametrize("side", ["asgi", "wsgi"])
@pytest.mark.parametrize("choice", ["refuse", "mint"])
def test_an_outage_is_told_once_and_its_end_once(
    side: str, choice: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: an outage is one line, with its cause and the answer given meanwhile, and its end is
    another.
    """
    down = True

    def known(session_id: str) -> bool:
        if down:
            raise RegistryUnavailable("redis")
        return True

    ask = asking(side, policy(known, None, {"unavailable": choice}))
    for outage in (1, 2):
        down = True
        assert [ask(CLAIM), ask(CLAIM), ask(CLAIM)] == [503 if choice == "refuse" else 204] * 3
        told = [record for record in caplog.records if "Admission" in record.getMessage()]
        assert len(told) == 2 * outage - 1
        assert told[-1].levelno == logging.ERROR
        assert told[-1].exc_info is not None
        assert told[-1].getMessage() == (
            "idlanyard: Admission cannot ask whether a session is known: RegistryUnavailable: "
            f"the session registry's redis store is unavailable; {ALLOWED[choice]}"
        )
        down = False
        assert [ask(CLAIM), ask(CLAIM)] == [204, 204]
        told = [record for record in caplog.records if "Admission" in record.getMessage()]
        assert len(told) == 2 * outage
        assert told[-1].levelno == logging.WARNING
        assert "is answered again, after" in told[-1].getMessage()
        assert "3 requests without" in told[-1].getMessage()
    assert failures["admission"] == 6
    assert "the request goes on" not in caplog.text


def asking(side: str, rules: Policy) -> Callable[[list[Line]], int]:
    """
    Return a function that asks one middleware again and again, and returns the status.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    def waiting(environ: Any, start_response: Any) -> Any:
        start_response("204 No Content", [])
        return []

    if side == "asgi":
        around = asgi.SessionContextMiddleware(app, rules)
        return lambda lines: int(ask_asgi(around, http_scope(lines))[0]["status"])
    beside = wsgi.SessionContextMiddleware(waiting, rules)
    return lambda lines: int(ask_wsgi(beside, environ_of(lines)).status[:3])


def test_an_answer_from_before_the_outage_does_not_end_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R14: the answer to a question from before the first failure does not end the outage.
    """
    begun, release = threading.Event(), threading.Event()

    def known(session_id: str) -> bool:
        if session_id == "slow":
            begun.set()
            return release.wait(20)
        raise RegistryUnavailable("redis")

    ask = asking("wsgi", policy(known, None, {}))
    slow = threading.Thread(target=ask, args=([("X-Session-ID", "slow")],))
    slow.start()
    assert begun.wait(20)
    assert ask(CLAIM) == 503
    release.set()
    slow.join()
    assert ask(CLAIM) == 503
    assert len([record for record in caplog.records if "Admission" in record.getMessage()]) == 1


def test_two_outages_that_end_at_once_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: of several answers at the end of an outage one is logged.
    """
    together = threading.Barrier(8)
    down = True

    def known(session_id: str) -> bool:
        if down:
            raise RegistryUnavailable("redis")
        together.wait(20)
        return True

    ask = asking("wsgi", policy(known, None, {}))
    assert ask(CLAIM) == 503
    down = False
    asked = [threading.Thread(target=ask, args=(CLAIM,)) for _ in range(8)]
    for one in asked:
        one.start()
    for one in asked:
        one.join()
    told = [record for record in caplog.records if "Admission" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.ERROR, logging.WARNING]


def test_a_silent_store_takes_no_thread_of_the_loop() -> None:
    """
    Finding 3: however many requests wait for a plain function, the loop's own threads are free,
    and each has its answer in time, the wait for a thread included.
    """
    release = threading.Event()
    most = threading.active_count() + 16

    def known(session_id: str) -> bool:
        return release.wait(20)

    middleware = asgi.SessionContextMiddleware(unreached, policy(known, None, {"timeout": 0.5}))

    async def one() -> tuple[int, float]:
        began = time.monotonic()
        start, _ = await serve_asgi(middleware, http_scope(CLAIM))
        return start["status"], time.monotonic() - began

    async def ask() -> list[tuple[int, float]]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        many = [asyncio.create_task(one()) for _ in range(200)]
        await asyncio.sleep(0)
        # The loop has one thread, and it is free.
        assert await asyncio.to_thread(threading.active_count) <= most + 1
        assert not any(task.done() for task in many)
        return await asyncio.gather(*many)

    answers = asyncio.run(ask())
    release.set()
    assert {status for status, _ in answers} == {503}
    # A second round of threads would begin after 20 seconds.
    assert max(seconds for _, seconds in answers) < 10


TRIO = """
from idlanyard import Admission, Policy, asgi, get_session_id
from idlanyard.registry import SessionRegistry

registry = SessionRegistry.open("memory://")
registry.create("crm_user_1")


async def show(scope, receive, send):
    body = get_session_id().encode()
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def awaited(session_id):
    return registry.exists(session_id)


def app_of(known):
    policy = Policy(admission=Admission(known, unknown="refuse"))
    return asgi.SessionContextMiddleware(show, policy)


APPS = {"/plain": app_of(registry.exists), "/awaited": app_of(awaited)}


async def app(scope, receive, send):
    if scope["type"] == "http":
        await APPS[scope["path"]](scope, receive, send)
        return
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
"""


def test_hypercorn_on_trio(tmp_path: Path) -> None:
    """
    Finding 9: on a loop of trio the same questions are asked, in threads and awaited.
    """
    tmp_path.joinpath("on_trio.py").write_text(TRIO, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        words = ["-m", "hypercorn", "-k", "trio", "-b", f"fd://{listening.fileno()}", "on_trio:app"]
        with tmp_path.joinpath("output").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, *words],
                pass_fds=[listening.fileno()],
                env=environment,
                cwd=tmp_path,
                stdout=log,
                stderr=log,
            )
        try:
            for path in ("/plain", "/awaited"):
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                    answer = client.get(path, headers={"X-Session-ID": KNOWN})
                    assert (answer.status_code, answer.text) == (200, KNOWN)
                    assert client.get(path, headers={"X-Session-ID": "nobody"}).status_code == 404
        finally:
            server.terminate()
            server.wait(60)
    assert "Traceback" not in tmp_path.joinpath("output").read_text(encoding="utf-8")


@SIDES
@pytest.mark.parametrize("choice", ["mint", "refuse"])
def test_an_unknown_session_is_explained_once(
    serve: Serve, kind: Any, choice: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: an unknown session is logged with the option that decides, and never its value.
    """
    with caplog.at_level(logging.WARNING, logger="idlanyard"):
        serve(kind(knows), STRANGE, unknown=choice)
    [record] = caplog.records
    assert "session_id: the session that a client sent is not a known one" in record.getMessage()
    assert "nobody" not in record.getMessage()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"known": None}, "Admission(registry.exists)", id="no function"),
        pytest.param({"unknown": "raise"}, "write 'mint' or 'refuse'", id="unknown"),
        pytest.param({"unavailable": 503}, "write 'mint' or 'refuse'", id="unavailable"),
        pytest.param({"timeout": 0}, "write 2.0", id="no time"),
        pytest.param({"timeout": True}, "write 2.0", id="bool"),
        pytest.param({"timeout": "2"}, "write 2.0", id="text"),
    ],
)
def test_wrong_rules_are_refused_when_built(options: dict[str, Any], message: str) -> None:
    """
    R14: an Admission that cannot be followed is refused with the right way to write it.
    """
    with pytest.raises(PolicyError) as raised:
        Admission(**{"known": knows} | options)
    assert message in str(raised.value)


def test_an_admission_needs_a_session() -> None:
    """
    R14: an admission without sessions, or something that is none, is refused when built.
    """
    with pytest.raises(PolicyError, match="leave session in"):
        Policy(session=None, admission=Admission(knows))
    with pytest.raises(PolicyError, match=r"as in Admission\(registry.exists\)"):
        Policy(admission=knows)  # type: ignore[arg-type]

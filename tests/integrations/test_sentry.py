"""
What Sentry is sent: events and transactions with the IDs of their request, and no others.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from sentry_sdk.scope import global_event_processors
from sentry_sdk.scrubber import DEFAULT_DENYLIST, EventScrubber
from werkzeug.test import Client

from idlanyard import (
    Policy,
    dump,
    identify,
    request_spec,
    restore,
    session_context,
    session_spec,
    tenant_spec,
    user_spec,
)
from idlanyard._failures import failures
from idlanyard._policy.policy import checked_policy
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.sentry import event_processor, install
from idlanyard.testing import raise_failures
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from integrations.apps.sentry_apps import REQUESTS, Kept

TESTS = Path(__file__).parents[1]
FRAMEWORKS = ("fastapi", "flask", "django", "django-async")
Event = dict[str, Any]


@functools.cache
def events_of(framework: str) -> tuple[Event, ...]:
    """
    Ask the framework's application in a process of its own; what Sentry was sent comes back.
    """
    command = [sys.executable, "-m", "integrations.apps.sentry_apps", framework]
    # The SDK and the frameworks have warnings of their own.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        command, cwd=TESTS, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def event_for(framework: str, path: str, kind: str = "event") -> Event:
    """
    The one event, or the one transaction, that a path has caused.
    """
    found = [
        event
        for event in events_of(framework)
        if event.get("type", "event") == kind
        and event.get("request", {}).get("url", "").endswith(path)
    ]
    assert len(found) == 1
    return found[0]


def carries(event: Event, **ids: str) -> bool:
    """
    Whether an event carries these IDs and no others, as tags, user and context.
    """
    tags = {name: text for name, text in event.get("tags", {}).items() if name.endswith("_id")}
    user = {"id": ids["user_id"]} if "user_id" in ids else None
    context = event["contexts"].get("idlanyard")
    assert (tags, event.get("user"), context) == (ids, user, ids or None)
    return True


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("path", ["/message", "/boom", "/stream"])
def test_an_event_carries_the_ids_of_its_request(framework: str, path: str) -> None:
    """
    Defect 4.7: a message, an unhandled error and a message from a stream have their request's IDs.
    """
    assert carries(event_for(framework, path), session_id=f"s-{path[1:]}", tenant_id="acme")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("path", [path for path in REQUESTS if path not in ("/login", "/own")])
def test_a_transaction_carries_the_ids_of_its_request(framework: str, path: str) -> None:
    """
    A transaction that ends outside our middleware has its request's IDs.
    """
    event = event_for(framework, path, "transaction")
    assert carries(event, session_id=f"s-{path[1:]}", tenant_id="acme")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_transaction_knows_who_was_identified_in_it(framework: str) -> None:
    """
    R2.3, R11: whom the endpoint identifies is the user of the transaction that began before.
    """
    event = event_for(framework, "/login", "transaction")
    assert carries(event, session_id="s-login", user_id="alice", tenant_id="acme")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("kind", ["event", "transaction"])
def test_what_the_application_says_stays(framework: str, kind: str) -> None:
    """
    Peers, sentry-python 6756: user and tags that the application has set win; the context has ours.
    """
    event = event_for(framework, "/own", kind)
    assert event["user"] == {"id": "of the app"}
    assert event["tags"]["session_id"] == "of the app"
    assert event["contexts"]["idlanyard"]["session_id"] == "s-own"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_is_left_for_later_events(framework: str) -> None:
    """
    Defect 4.9: an event after the requests carries no ID of any of them.
    """
    last = events_of(framework)[-1]
    assert last["message"] == "afterwards"
    assert carries(last)


def init(transport: Kept, **options: Any) -> None:
    """
    Start Sentry without integrations, which patch.
    """
    sentry_sdk.init(
        transport=transport,
        default_integrations=False,
        auto_enabling_integrations=False,
        enable_backpressure_handling=False,
        traces_sample_rate=1.0,
        **options,
    )


@pytest.fixture
def transport() -> Iterator[Kept]:
    """
    Sentry's transport, with our integration installed.
    """
    kept = Kept()
    init(kept)
    undo = install()
    yield kept
    undo()
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)
    assert not failures


async def asked(app: Any, path: str = "/", *lines: tuple[bytes, bytes]) -> None:
    """
    Ask an ASGI application; the answer is not looked at.
    """

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None: ...

    scope = {
        "type": "http",
        "path": path,
        "method": "GET",
        "query_string": b"",
        "headers": list(lines),
        "client": ("127.0.0.1", 50000),
    }
    await app(scope, receive, send)


def session(value: bytes) -> tuple[bytes, bytes]:
    return b"x-session-id", value


def test_requests_at_once_keep_their_ids(transport: Kept) -> None:
    """
    Defect 4.9: on an app without Sentry's integration, the slow request's event is its own.
    """

    async def run() -> None:
        done = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/a":
                await done.wait()
            sentry_sdk.capture_message(scope["path"])
            done.set()

        wrapped = SessionContextMiddleware(app, Policy())
        await asyncio.gather(
            asked(wrapped, "/a", session(b"a")), asked(wrapped, "/b", session(b"b"))
        )

    asyncio.run(run())
    sentry_sdk.capture_message("outside")
    first, second, outside = transport.events
    assert (first["message"], second["message"]) == ("/b", "/a")
    assert carries(first, session_id="b")
    assert carries(second, session_id="a")
    assert carries(outside)


async def broken(scope: Any, receive: Any, send: Any) -> None:
    identify(user_id="alice")
    raise LookupError("as it was")


def test_an_error_that_has_left_the_request_carries_its_ids(transport: Kept) -> None:
    """
    Defect 4.19: captured outside our middleware, an exception has the IDs it took along.
    """
    with pytest.raises(LookupError):
        asyncio.run(
            asked(SentryAsgiMiddleware(SessionContextMiddleware(broken)), "/", session(b"s"))
        )
    error, transaction = transport.events
    assert carries(error, session_id="s", user_id="alice")
    assert carries(transaction, session_id="s", user_id="alice")


def test_what_is_bound_goes_before_what_an_exception_carries(transport: Kept) -> None:
    """
    R11: an event is about the place where it is captured, if anything is bound there.
    """
    with pytest.raises(LookupError) as caught:
        asyncio.run(asked(SessionContextMiddleware(broken), "/", session(b"s")))
    with session_context("here"):
        sentry_sdk.capture_exception(caught.value)
    sentry_sdk.capture_exception(caught.value)
    sentry_sdk.capture_exception(KeyError())
    here, carried, plain = transport.events
    assert carries(here, session_id="here")
    assert carries(carried, session_id="s", user_id="alice")
    assert carries(plain)


def test_ours_may_stand_outside_sentrys(transport: Kept) -> None:
    """
    R11: inside our middleware, transactions and their events read what is bound.
    """

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        sentry_sdk.capture_message("hello")
        return [b"ok"]

    Client(WSGIMiddleware(SentryWsgiMiddleware(app))).get("/", headers={"X-Session-ID": "s"})
    assert [carries(event, session_id="s") for event in transport.events] == [True, True]


def test_a_request_within_a_request_keeps_to_itself(transport: Kept) -> None:
    """
    A transaction belongs to the request that was bound in it first.
    """
    inner = SessionContextMiddleware(broken, Policy())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(LookupError):
            await asyncio.create_task(asked(inner, "/", session(b"inner")))

    outer = SessionContextMiddleware(app, Policy())
    asyncio.run(asked(SentryAsgiMiddleware(outer), "/", session(b"outer")))
    assert carries(transport.events[-1], session_id="outer")


def test_a_transaction_outside_any_request_has_no_ids(transport: Kept) -> None:
    """
    R13: a block is no request; a job that is restored in a transaction lends it its IDs.
    """
    with sentry_sdk.start_transaction(name="script"), session_context("block"):
        carrier = dump()
    with sentry_sdk.start_transaction(name="job"), restore(carrier):
        identify(user_id="alice")
    script, job = transport.events
    assert carries(script)
    assert carries(job, session_id="block", user_id="alice")


HASHING = Policy(
    session=session_spec(log="omit", span="hash"),
    user=user_spec(log="hash", span="omit"),
    tenant=tenant_spec(log="omit"),
    trusted_peers=["127.0.0.1"],
    hash_keys=[("k1", b"k" * 32)],
)


@pytest.mark.parametrize("outside", [False, True], ids=["bound", "left"])
def test_each_id_is_shown_as_its_sinks_say(transport: Kept, outside: bool) -> None:
    """
    S25, R10: errors show what the log sink shows, transactions what the span sink shows.
    """
    lines = session(b"s"), (b"x-user-id", b"alice"), (b"x-tenant-id", b"acme")
    ours = functools.partial(SessionContextMiddleware, policy=HASHING)
    wraps: list[Any] = [ours, SentryAsgiMiddleware]
    app: Any = functools.reduce(
        lambda inner, wrap: wrap(inner), wraps if outside else wraps[::-1], broken
    )
    with pytest.raises(LookupError):
        asyncio.run(asked(app, "/", *lines))
    error, transaction = transport.events
    user = checked_policy(HASHING).pseudonym("user_id", "alice")
    assert carries(error, user_id=user)
    hashed = checked_policy(HASHING).pseudonym("session_id", "s")
    assert carries(transaction, session_id=hashed, tenant_id="acme")


def test_a_tag_that_sentry_would_drop_is_left_out(transport: Kept) -> None:
    """
    An ID of more than 200 characters stands in the context alone.
    """
    with session_context("s" * 201, tenant_id="t" * 200):
        sentry_sdk.capture_message("long")
    event = transport.events[0]
    assert event["tags"] == {"tenant_id": "t" * 200}
    assert event["contexts"]["idlanyard"] == {"session_id": "s" * 201, "tenant_id": "t" * 200}


def test_further_ids_are_tags_as_well(transport: Kept) -> None:
    """
    R10: an ID that the scope's own policy declares is carried, wherever it is captured.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sentry_sdk.capture_message("hello")

    policy = Policy(extra=[request_spec()])
    lines = session(b"s"), (b"x-request-id", b"r")
    asyncio.run(asked(SentryAsgiMiddleware(SessionContextMiddleware(app, policy)), "/", *lines))
    for event in transport.events:
        assert carries(event, session_id="s", request_id="r")


def test_the_environment_speaks_where_nothing_is_bound(
    transport: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    R2.1: outside requests an event has the IDs of the environment, read when it is captured.
    """
    monkeypatch.setenv("IDLANYARD_SESSION_ID", "job-7")
    sentry_sdk.capture_message("hello")
    assert carries(transport.events[0], session_id="job-7")


def test_taking_it_back_leaves_nothing(transport: Kept) -> None:
    """
    R11: undo takes back its own install, once, and leaves another's.
    """
    before = list(global_event_processors)
    undo = install()
    undo()
    undo()
    assert global_event_processors == before
    with session_context("s"):
        sentry_sdk.capture_message("hello")
    assert carries(transport.events[0], session_id="s")


def test_a_transaction_that_outlives_the_install_is_still_sent(transport: Kept) -> None:
    """
    R14: taken back in the middle of a request, its transaction is sent with the IDs as context.
    """
    undo = install()
    others = [one for one in global_event_processors if one.__module__.startswith("idlanyard")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for one in others:
            global_event_processors.remove(one)

    asyncio.run(asked(SentryAsgiMiddleware(SessionContextMiddleware(app)), "/", session(b"s")))
    undo()
    transaction = transport.events[0]
    assert transaction["contexts"]["idlanyard"] == {"session_id": "s"}
    assert "session_id" not in transaction["tags"]


def test_it_may_be_called_by_hand_and_last() -> None:
    """
    The processor alone works as before_send, where integrations have spoken.
    """
    with session_context("s", user_id="u"):
        assert event_processor({}, {}) == {
            "contexts": {"idlanyard": {"session_id": "s", "user_id": "u"}},
            "tags": {"session_id": "s", "user_id": "u"},
            "user": {"id": "u"},
        }
        named = event_processor({"user": {"ip_address": "::1"}}, {"exc_info": (None, None, None)})
    assert named["user"] == {"ip_address": "::1"}


def test_a_failure_of_ours_loses_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: an event that we cannot complete is sent as it is; under test the failure is raised.
    """
    odd: Any = {"message": "odd", "contexts": 7}
    with caplog.at_level(logging.ERROR, "idlanyard"), session_context("s"):
        assert event_processor(odd, {}) == {"message": "odd", "contexts": 7}
        assert event_processor(odd, {}) is odd
        with raise_failures(), pytest.raises(AttributeError):
            event_processor(odd, {})
    assert len(caplog.records) == 1
    assert failures["Sentry's event processor"] == 2
    frozen: Any = MappingProxyType({"given": "yes"})
    with session_context("s"):
        assert event_processor({"tags": frozen}, {})["tags"] == {"session_id": "s", "given": "yes"}


def test_the_scrubber_of_the_page_hides_what_sentry_copies(transport: Kept) -> None:
    """
    S25: with the options that docs/sentry.md names, no event holds a hashed ID in clear.
    """
    headers = ["x-session-id", "x-user-id", "x-tenant-id"]
    init(
        transport,
        event_scrubber=EventScrubber(denylist=[*DEFAULT_DENYLIST, *headers]),
        include_local_variables=False,
    )
    policy = Policy(
        session=session_spec(log="hash", span="hash"),
        user=user_spec(log="hash", span="hash"),
        trusted_peers=["127.0.0.1"],
        hash_keys=[("k1", b"k" * 32)],
    )
    app = SentryAsgiMiddleware(SessionContextMiddleware(broken, policy))
    with pytest.raises(LookupError):
        asyncio.run(asked(app, "/", session(b"secret-one"), (b"x-user-id", b"secret-two")))
    assert len(transport.events) == 2
    assert all(event["request"]["headers"] for event in transport.events)
    assert "secret" not in json.dumps(transport.events)


def test_streamed_spans_are_let_alone(transport: Kept) -> None:
    """
    R14: where Sentry streams spans instead of transactions, requests run and errors have the IDs.
    """
    init(transport, trace_lifecycle="stream")
    app = SentryAsgiMiddleware(SessionContextMiddleware(broken))
    with pytest.raises(LookupError):
        asyncio.run(asked(app, "/", session(b"s")))
    assert [carries(event, session_id="s", user_id="alice") for event in transport.events] == [True]

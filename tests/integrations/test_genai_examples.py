"""
Agents, tools and models: the examples are started, and spans have the attributes asked for.
"""

from __future__ import annotations

import contextvars
import http.client
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer
from opentelemetry.util.types import Attributes

from idlanyard import clear_session_context, identify, restore, session_context, set_session_context
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor
from integrations.apps.seen import DEADLINE
from test_examples import ROOT, command_of, running

ALL = {"session.id": "s", "user.id": "u", "customer.id": "c"}
OPERATIONS = (
    "invoke_workflow",
    "invoke_agent",
    "create_agent",
    "chat",
    "embeddings",
    "execute_tool",
    "retrieval",
)


def finished(example: str) -> subprocess.CompletedProcess[str]:
    """
    Run an example that ends by itself, by the command at its top.
    """
    return subprocess.run(
        command_of(example, 0), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )


def test_every_span_of_the_workflow_says_whose_it_is() -> None:
    """
    Agent, tool, search and model spans of two conversations at once have the three
    attributes of their own conversation; what a span says itself wins.
    """
    spans = [json.loads(line) for line in finished("agent_workflow.py").stdout.splitlines()]
    conversations = {("chat-1", "alice"): "acme", ("chat-2", "bob"): "globex"}
    seen: dict[tuple[str, str], list[str]] = {who: [] for who in conversations}
    for span in spans:
        who = span["session.id"], span["user.id"]
        payer = "house" if span["span"] == "chat reviewer" else conversations[who]
        assert span["customer.id"] == payer
        seen[who].append(span["span"])
    for names in seen.values():
        assert sorted(names) == [
            "chat reviewer",
            "chat tiny",
            "chat tiny",
            "embeddings tiny",
            "execute_tool look_up",
            "invoke_agent researcher",
            "invoke_agent writer",
            "invoke_workflow support",
            "retrieval handbook",
        ]


def test_hooks_run_in_order_with_the_ids_of_the_work() -> None:
    """
    Hooks run first in first out, twice where registered twice, may leave in the
    middle, and one that fails is logged while the next one runs; all read the work's session.
    """
    done = finished("hook_bus.py")
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    told = {session: [rest for name, _, rest in lines if name == session] for session, *_ in lines}
    again = ["before search", "after search", "after search"]
    assert told == {
        "chat-1": ["bound", "first use of search", *again, *again],
        "chat-2": ["bound", "before mail", "after mail", "after mail"],
    }
    failed = [line for line in done.stderr.splitlines() if line.startswith("a hook of")]
    assert sorted(failed) == [
        f"a hook of after_tool failed in session {session}"
        for session in ("chat-1", "chat-1", "chat-2")
    ]


Headers = dict[str, str]


def who(user: str, session: str | None) -> Headers:
    return {"X-User-ID": user} | ({"X-Session-ID": session} if session else {})


@contextmanager
def listening(address: str, headers: Headers) -> Iterator[Callable[[int], list[Any]]]:
    """
    Listen to the events of a session; what is yielded reads a number of them.
    """
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=DEADLINE)
    try:
        connection.request("GET", "/events", headers=headers)
        response = connection.getresponse()
        assert response.getheader("Content-Type", "").startswith("text/event-stream")
        assert response.getheader("X-Session-ID") == headers["X-Session-ID"]
        assert response.readline() == b": listening\n"

        def read(count: int) -> list[Any]:
            events: list[Any] = []
            while len(events) < count:
                line = response.readline()
                assert line, "the stream has ended"
                if line.startswith(b"data: "):
                    events.append(json.loads(line[6:]))
            return events

        yield read
    finally:
        connection.close()


def work(address: str, headers: Headers, path: str = "/work") -> int:
    """
    Run something; return its status.
    """
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=DEADLINE)
    try:
        connection.request("POST", path, headers=headers)
        with connection.getresponse() as response:
            response.read()
            return response.status
    finally:
        connection.close()


def events_of(session: str, **end: str) -> list[dict[str, str]]:
    """
    The report of one piece of work.
    """
    kinds = [{"event": "started"}, {"event": "step"}, {"event": "finished", **end}]
    return [kind | {"session_id": session} for kind in kinds]


def test_a_session_streams_its_own_events() -> None:
    """
    Each event names its session and reaches only its listeners; work
    without a session tells nobody; the last event says whether it failed.
    """
    one, two, other = who("alice", "chat-1"), who("alice", "chat-2"), who("bob", "chat-1")
    with (
        running("session_events_app.py") as address,
        listening(address, one) as hear_one,
        listening(address, one) as hear_again,
        listening(address, two) as hear_two,
        listening(address, other) as hear_other,
    ):
        assert work(address, who("alice", None)) == 200
        assert [work(address, lines) for lines in (two, one)] == [200, 200]
        assert work(address, other, "/work?fail=true") == 500
        completed = events_of("chat-1", status="completed")
        assert hear_one(3) == hear_again(3) == completed
        assert hear_two(3) == events_of("chat-2", status="completed")
        assert hear_other(3) == events_of("chat-1", status="failed", reason="as asked")


def test_nobody_listens_without_a_session_or_a_user() -> None:
    """
    R6: there is no stream without a session, nor for whom nobody vouches for.
    """
    with running("session_events_app.py") as address:
        for headers, status in ((who("alice", None), 400), ({"X-Session-ID": "chat-1"}, 401)):
            host = address.removeprefix("http://")
            with closing(http.client.HTTPConnection(host, timeout=DEADLINE)) as connection:
                connection.request("GET", "/events", headers=headers)
                assert connection.getresponse().status == status


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """
    A tracer whose spans have the IDs.
    """
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SessionContextSpanProcessor())
    yield provider.get_tracer("tests")
    provider.shutdown()


def span(tracer: Tracer, name: str = "chat", own: Attributes = None) -> dict[str, Any]:
    """
    Start and end a span with attributes of its own; the three of it come back.
    """
    one: Any = tracer.start_span(name, attributes=own)
    one.end()
    return {name: one.attributes[name] for name in ALL if name in one.attributes}


def set_in(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in names:
        variable = f"OTEL_INSTRUMENTATION_GENAI_{name.upper()}_ID"
        monkeypatch.setenv(variable, f"env-{name}")


def test_what_is_nearest_wins(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A span's own attribute, then what is bound, then the environment as it is then.
    """
    with session_context(user_id="bound"):
        assert span(tracer, own={"user.id": "own"}) == {"user.id": "own"}
        set_in(("user",), monkeypatch)
        assert span(tracer) == {"user.id": "bound"}
    assert span(tracer) == {"user.id": "env-user"}
    assert span(tracer, own={"user.id": "own"}) == {"user.id": "own"}
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_USER_ID")
    assert span(tracer) == {}


def test_each_attribute_is_found_by_itself(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A span's session may be its own, its user bound, and its customer the environment's.
    """
    set_in(("session", "user", "customer"), monkeypatch)
    with session_context(user_id="bound"):
        assert span(tracer, own={"session.id": "own"}) == {
            "session.id": "own",
            "user.id": "bound",
            "customer.id": "env-customer",
        }


def test_an_empty_value_is_not_given(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An empty ID falls through to what is bound outside, and then to the environment.
    """
    set_in(("user",), monkeypatch)
    with session_context("outer"), session_context("", user_id=""):
        assert span(tracer) == {"session.id": "outer", "user.id": "env-user"}


def test_a_span_without_ids_has_no_attributes(tracer: Tracer) -> None:
    """
    The attributes of unset IDs are absent, not empty; also after a clear.
    """
    assert span(tracer) == {}

    def cleared() -> dict[str, Any]:
        set_session_context("s", user_id="u", customer_id="c")
        assert span(tracer) == ALL
        clear_session_context()
        return span(tracer)

    assert contextvars.copy_context().run(cleared) == {}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_kind_of_span_has_all_three(tracer: Tracer, operation: str) -> None:
    """
    Every span has them, those of no model's work too.
    """
    with session_context("s", user_id="u", customer_id="c"):
        assert span(tracer, f"{operation} x", {"gen_ai.operation.name": operation}) == ALL
        assert span(tracer, "GET /orders") == ALL


def test_what_is_bound_later_does_not_reach_back(tracer: Tracer) -> None:
    """
    R11: a span has what was bound at its start, and keeps it, whatever a block inside it
    binds; only whom identify names while it is current is added.
    """
    elsewhere: Any = tracer.start_span("started before")
    with session_context("first"), tracer.start_as_current_span("agent") as agent:
        child: Any = tracer.start_span("child")
        with session_context("second", user_id="other"):
            pass
        identify(user_id="u")
        child.end()
    elsewhere.end()
    spans: list[Any] = [elsewhere, child, agent]
    assert [{**one.attributes} for one in spans] == [
        {},
        {"session.id": "first"},
        {"session.id": "first", "user.id": "u"},
    ]


def test_a_job_of_the_session_has_its_attributes(tracer: Tracer) -> None:
    """
    Spans of a job that was restored have the IDs of who asked, and whom it identifies.
    """
    with restore({"session_id": "s", "customer_id": "c"}):
        identify(user_id="u")
        assert span(tracer) == ALL
    assert span(tracer) == {}

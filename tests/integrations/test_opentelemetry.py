"""
The IDs on spans.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

from idlanyard import (
    IDLanyardError,
    Policy,
    PolicyError,
    carry,
    identify,
    request_spec,
    restore,
    session_context,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._failures import failures
from idlanyard._policy.policy import checked_policy
from idlanyard.integrations.opentelemetry import (
    SessionContextLogRecordProcessor,
    SessionContextSpanProcessor,
    install,
)
from idlanyard.testing import raise_failures
from integrations.tracing import attributes, by_name, exporter, provider, tracer

__all__ = ["exporter", "provider", "tracer"]

THREE = {"session_id": "s1", "user_id": "u1", "tenant_id": "t1"}
ON_SPANS = {"session.id": "s1", "user.id": "u1", "customer.id": "t1"}


@pytest.fixture
def processor(provider: TracerProvider) -> SessionContextSpanProcessor:
    """
    Ours, with the default names.
    """
    made = SessionContextSpanProcessor()
    provider.add_span_processor(made)
    return made


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("kind", SpanKind)
def test_every_span_has_the_ids_from_its_start(
    kind: SpanKind, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    Spans of every kind that start in a block have the three attributes.
    """
    with session_context(**THREE):
        tracer.start_span("one", kind=kind).end()
    assert by_name(exporter) == {"one": ON_SPANS}


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    "operation",
    ["chat", "embeddings", "execute_tool", "invoke_agent", "create_agent", "retrieval", "workflow"],
)
def test_spans_of_every_genai_operation_have_the_ids(
    operation: str, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    Workflow, agent, tool and model spans are spans like any other, three deep.
    """
    with (
        session_context(**THREE),
        tracer.start_as_current_span("agent"),
        tracer.start_as_current_span("tool"),
        tracer.start_as_current_span(operation, attributes={"gen_ai.operation.name": operation}),
    ):
        pass
    spans = by_name(exporter)
    assert (spans["agent"], spans["tool"]) == (ON_SPANS, ON_SPANS)
    assert spans[operation] == ON_SPANS | {"gen_ai.operation.name": operation}


@pytest.mark.usefixtures("processor")
def test_nothing_bound_puts_nothing_on_a_span(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    An absent ID is an absent attribute, neither empty nor a placeholder.
    """
    tracer.start_span("bare").end()
    with session_context(session_id="s1"):
        tracer.start_span("one").end()
    assert by_name(exporter) == {"bare": {}, "one": {"session.id": "s1"}}


@pytest.mark.usefixtures("processor")
def test_an_explicit_attribute_wins(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """
    The attributes that a span was started with stay, an empty text too, and so do those
    set later.
    """
    with session_context(**THREE):
        given = {"user.id": "explicit", "customer.id": ""}
        with tracer.start_as_current_span("one", attributes=given) as span:
            span.set_attribute("session.id", "later")
            identify(user_id="again")
    assert by_name(exporter)["one"] == {
        "user.id": "explicit",
        "customer.id": "",
        "session.id": "later",
    }


@pytest.mark.usefixtures("processor")
def test_each_id_comes_from_its_own_place(
    tracer: Tracer, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Explicit, bound here, environment, for each attribute, read when the span
    starts.
    """
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_USER_ID", "from-env")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_SESSION_ID", "hidden")
    with session_context(session_id="s1"):
        tracer.start_span("one", attributes={"customer.id": "explicit"}).end()
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_USER_ID", "another")
    tracer.start_span("two").end()
    assert by_name(exporter) == {
        "one": {"session.id": "s1", "user.id": "from-env", "customer.id": "explicit"},
        "two": {"session.id": "hidden", "user.id": "another"},
    }


@pytest.mark.usefixtures("processor")
def test_ids_are_those_of_the_start(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """
    A span has what was in force when it started, in whatever block it ends.
    """
    with session_context(session_id="s1"):
        span = tracer.start_span("one")
    with session_context(session_id="s2", user_id="u2"):
        span.end()
    assert by_name(exporter) == {"one": {"session.id": "s1"}}


@pytest.mark.usefixtures("processor")
def test_only_a_recording_span_of_ours_is_touched(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Another provider's span, one that has ended, and one that records nothing are let be.
    """
    other = TracerProvider(shutdown_on_exit=False)
    with other.get_tracer("other").start_as_current_span("theirs") as theirs:
        copy_context().run(partial(identify, session_id="s1"))
        assert isinstance(theirs, Span)
        assert attributes(theirs) == {}
    with trace.use_span(trace.NonRecordingSpan(theirs.get_span_context())):
        copy_context().run(partial(identify, session_id="s2"))
    with trace.use_span(theirs), caplog.at_level(logging.WARNING):
        copy_context().run(partial(identify, session_id="s3"))
    assert caplog.records == []
    other.shutdown()


@pytest.mark.usefixtures("processor")
def test_an_ended_span_is_let_be(tracer: Tracer, caplog: pytest.LogCaptureFixture) -> None:
    """
    A span of ours that has ended is not written to, which the SDK would complain of.
    """
    span = tracer.start_span("ended")
    span.end()
    with trace.use_span(span), caplog.at_level(logging.WARNING):
        copy_context().run(partial(identify, session_id="s1"))
    assert caplog.records == []


@pytest.mark.usefixtures("processor")
def test_concurrent_tasks_keep_their_ids_apart(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    Spans of tasks that wait for each other have their own task's IDs.
    """

    async def one(name: str, barrier: asyncio.Barrier) -> None:
        with session_context(session_id=name):
            await barrier.wait()
            tracer.start_span(name).end()

    async def all_of_them() -> None:
        barrier = asyncio.Barrier(20)
        await asyncio.gather(*(one(f"s{number}", barrier) for number in range(20)))

    asyncio.run(all_of_them())
    spans = by_name(exporter)
    assert len(spans) == 20
    assert all(found == {"session.id": name} for name, found in spans.items())


@pytest.mark.usefixtures("processor")
def test_a_thread_has_the_ids_that_are_carried(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R13: a span in a thread of one's own has the IDs that carry took along, and none without.
    """

    def work(name: str) -> None:
        tracer.start_span(name).end()

    with session_context(session_id="s1"):
        for name, target in (("carried", carry(work)), ("bare", work)):
            thread = threading.Thread(target=target, args=(name,))
            thread.start()
            thread.join()
    assert by_name(exporter) == {"carried": {"session.id": "s1"}, "bare": {}}


def test_batches_are_exported_with_the_ids(
    provider: TracerProvider, processor: SessionContextSpanProcessor
) -> None:
    """
    A batch that another thread exports later has each span's own IDs.
    """
    batch = InMemorySpanExporter()
    provider.add_span_processor(BatchSpanProcessor(batch))
    tracer = provider.get_tracer("tests")
    for number in range(3):
        with session_context(session_id=f"s{number}"):
            tracer.start_span(f"s{number}").end()
    assert provider.force_flush()
    assert by_name(batch) == {f"s{number}": {"session.id": f"s{number}"} for number in range(3)}
    assert processor.force_flush()


EVERYTHING = Policy(extra=[request_spec()])
NAMES: dict[str, tuple[Any, list[str]]] = {
    "default": ("default", ["session.id", "user.id", "customer.id", "request.id"]),
    "tenant": ("tenant", ["session.id", "user.id", "tenant.id", "request.id"]),
    "genai": (
        "genai",
        [
            "gen_ai.conversation.id",
            "user.id",
            "customer.id",
            "gen_ai.association.properties.request_id",
        ],
    ),
    "openinference": ("openinference", ["session.id", "user.id", "customer.id", "request.id"]),
    "langfuse": (
        "langfuse",
        [
            "session.id",
            "user.id",
            "langfuse.trace.metadata.tenant_id",
            "langfuse.trace.metadata.request_id",
        ],
    ),
    "traceloop": (
        "traceloop",
        [
            f"traceloop.association.properties.{name}"
            for name in ("session_id", "user_id", "customer_id", "request_id")
        ],
    ),
    "logfire": ("logfire", ["gen_ai.conversation.id", "user.id", "customer.id", "request.id"]),
    "own": (
        {"session_id": "app.session", "customer_id": "app.account", "request_id": "app.request"},
        ["app.session", "user.id", "app.account", "app.request"],
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_configuration(
    name: str, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """
    A preset or a mapping says what each ID is called, further IDs too.
    """
    names, expected = NAMES[name]
    provider.add_span_processor(SessionContextSpanProcessor(names))
    undo = use_policy(EVERYTHING)
    try:
        with session_context(**THREE, request_id="r1"):
            provider.get_tracer("tests").start_span("one").end()
    finally:
        undo()
    assert by_name(exporter)["one"] == dict(zip(expected, ["s1", "u1", "t1", "r1"], strict=True))


def test_an_id_is_left_off(
    provider: TracerProvider, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """
    None in the mapping leaves one ID off every span, without a word.
    """
    provider.add_span_processor(SessionContextSpanProcessor({"user_id": None}))
    with session_context(**THREE):
        provider.get_tracer("tests").start_span("one").end()
    assert by_name(exporter)["one"] == {"session.id": "s1", "customer.id": "t1"}
    assert caplog.records == []


def test_sinks_and_names_of_the_policy_are_kept(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """
    R10, S25: what the span sink hides is hidden, and the policy's own attribute is used.
    """
    provider.add_span_processor(SessionContextSpanProcessor())
    policy = Policy(
        session=session_spec(attribute="app.session"),
        user=user_spec(span="hash"),
        tenant=tenant_spec(span="omit"),
        hash_keys=[("k1", b"k" * 32)],
    )
    undo = use_policy(policy)
    try:
        with session_context(**THREE):
            provider.get_tracer("tests").start_span("one").end()
    finally:
        undo()
    assert by_name(exporter)["one"] == {
        "app.session": "s1",
        "user.id": checked_policy(policy).pseudonym("user_id", "u1"),
    }


def test_an_id_that_the_policy_leaves_out_keeps_its_usual_name(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """
    Code may bind what no request brings.
    """
    provider.add_span_processor(SessionContextSpanProcessor())
    undo = use_policy(Policy(user=None))
    try:
        with session_context(user_id="u1"):
            provider.get_tracer("tests").start_span("one").end()
    finally:
        undo()
    assert by_name(exporter)["one"] == {"user.id": "u1"}


@pytest.mark.parametrize(
    ("names", "error", "sentence"),
    [
        pytest.param("otel", ValueError, "write one of default, tenant, genai", id="no preset"),
        pytest.param(["session_id"], TypeError, "not list", id="list"),
        pytest.param({"user_id": 1}, TypeError, "of user_id is a str or None", id="number"),
        pytest.param({"user_id": ""}, ValueError, "write None to leave it off", id="empty"),
        pytest.param({1: "x"}, TypeError, "an ID is named by a str, not int", id="key"),
    ],
)
def test_wrong_names_are_refused_at_once(names: Any, error: type[Exception], sentence: str) -> None:
    """
    R14: a configuration that cannot be followed raises when the processor is made.
    """
    with pytest.raises(error, match=sentence):
        SessionContextSpanProcessor(names)


@pytest.mark.parametrize("kind", [SessionContextSpanProcessor, SessionContextLogRecordProcessor])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user", "user_id"),
        ("userId", "user_id"),
        ("session.id", "session_id"),
        ("sesion_id", "session_id"),
        ("customer", "customer_id"),
        ("Tenant-ID", "tenant_id"),
        ("devise_id", "device_id"),
        ("device", "device_id"),
    ],
)
def test_a_misspelt_id_is_refused(name: str, meant: str, kind: Any) -> None:
    """
    A mapping names the ID that is meant, and that is accepted.
    """
    policy = Policy(extra=[request_spec(name="device_id", header="X-Device-ID")])
    with pytest.raises(ValueError, match=f"write '{meant}'"):
        kind({name: "app.name"})
    assert checked_policy(policy).index["device_id"]
    kind({meant: "app.name"}).shutdown()


def test_an_id_may_be_declared_after_the_processor_is_made(
    provider: TracerProvider, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Tracing is often set up before the policy; what no policy has
    declared by the first request is said once.
    """
    names = {"floor": "app.floor", "colour": "app.colour"}
    provider.add_span_processor(SessionContextSpanProcessor(names))
    policy = Policy(extra=[request_spec(name="floor", header="X-Floor")])
    undo = use_policy(policy)
    tracer = provider.get_tracer("tests")
    with session_context(floor="f1"):
        tracer.start_span("before").end()
    assert caplog.records == []
    for _ in range(2):
        with restore({"floor": "f2"}):
            tracer.start_span("in a request").end()
    undo()
    assert by_name(exporter)["in a request"] == {"app.floor": "f2"}
    (message,) = caplog.messages
    assert "has colour, which is no declared ID" in message
    assert "IDSpec(name='colour'" in message


def test_the_switch_is_off(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """
    A processor that is off puts nothing on spans, explicit values stay.
    """
    provider.add_span_processor(SessionContextSpanProcessor(enabled=False))
    with (
        session_context(**THREE),
        provider.get_tracer("tests").start_as_current_span("one", attributes={"user.id": "e"}),
    ):
        identify(user_id="i")
    assert by_name(exporter)["one"] == {"user.id": "e"}


class Broken(Span):
    """
    A span that cannot be read.
    """

    @property
    def attributes(self) -> NoReturn:
        """
        Fail.
        """
        raise OSError("no attributes")


def test_a_failure_of_ours_never_reaches_the_caller(
    processor: SessionContextSpanProcessor, provider: TracerProvider
) -> None:
    """
    R14: it is counted, and raised under test.
    """
    span = Broken("one", provider.get_tracer("tests").start_span("two").get_span_context())
    with session_context(**THREE):
        processor.on_start(span)
        assert failures == {"span processor": 1}
        with raise_failures(), pytest.raises(OSError, match="no attributes"):
            processor.on_start(span)


def test_install_can_be_undone(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """
    Install returns what takes it back, once or twice, and works again.
    """
    for names, expected in (("tenant", "tenant.id"), ("default", "customer.id")):
        undo = install(tracer_provider=provider, names=names)
        with session_context(tenant_id="t1"):
            provider.get_tracer("tests").start_span("one").end()
            undo()
            undo()
            with provider.get_tracer("tests").start_as_current_span("two"):
                identify(tenant_id="t2")
        one, two = exporter.get_finished_spans()
        assert (attributes(one), attributes(two)) == ({expected: "t1"}, {})
        exporter.clear()


def test_install_that_is_off_does_nothing() -> None:
    """
    Off, it needs no provider and touches no propagator.
    """
    before = propagate.get_global_textmap()
    undo = install(tracer_provider=trace.NoOpTracerProvider(), enabled=False)
    assert propagate.get_global_textmap() is before
    undo()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param({"tracer_provider": trace.NoOpTracerProvider()}, IDLanyardError, id="no SDK"),
        pytest.param({"names": "otel"}, ValueError, id="no preset"),
        pytest.param({"to": ["not an origin"]}, PolicyError, id="no origin"),
        pytest.param({"to": "https://api.example"}, PolicyError, id="text"),
    ],
)
def test_install_refuses_and_leaves_nothing(
    given: Mapping[str, Any], error: type[Exception], provider: TracerProvider
) -> None:
    """
    R14: what cannot be followed raises, and nothing is half installed.
    """
    before = propagate.get_global_textmap()
    with pytest.raises(error):
        install(**{"tracer_provider": provider, **given})
    assert propagate.get_global_textmap() is before


GLOBAL = """
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from idlanyard import IDLanyardError, session_context
from idlanyard.integrations.opentelemetry import install

try:
    install()
except IDLanyardError as error:
    print(error)
trace.set_tracer_provider(TracerProvider())
_logs.set_logger_provider(LoggerProvider())
install()
with session_context(session_id="s1"), trace.get_tracer("t").start_as_current_span("one") as span:
    print(span.attributes["session.id"])
"""


def test_the_global_providers_are_the_default() -> None:
    """
    Install() takes the global providers, and says what to do without one.
    """
    done = subprocess.run(
        [sys.executable, "-c", GLOBAL], capture_output=True, text=True, timeout=60, check=True
    )
    complaint, session = done.stdout.splitlines()
    assert "call trace.set_tracer_provider(...) before install()" in complaint
    assert session == "s1"

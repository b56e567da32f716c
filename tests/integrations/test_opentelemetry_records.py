"""
The IDs on log records, in the files of sessions, and nowhere in metrics.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from idlanyard import (
    UNSET,
    Policy,
    session_context,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._failures import failures
from idlanyard._policy.policy import checked_policy
from idlanyard.ids import safe_filename
from idlanyard.integrations import fastapi, flask
from idlanyard.integrations.opentelemetry import (
    SessionContextLogRecordProcessor,
    SessionContextSpanProcessor,
    SessionFileSpanExporter,
    install,
)
from idlanyard.testing import raise_failures
from integrations.apps import fastapi_app, flask_app
from integrations.sides import over_http, serving_asgi, serving_wsgi
from integrations.tracing import exporter, provider, tracer

__all__ = ["exporter", "provider", "tracer"]


@pytest.fixture
def records() -> InMemoryLogRecordExporter:
    """
    The list of log records.
    """
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


@pytest.fixture
def loggers() -> Iterator[LoggerProvider]:
    """
    A provider of loggers that shuts down.
    """
    made = LoggerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


def say(loggers: LoggerProvider, **attributes: Any) -> None:
    """
    Emit a record.
    """
    loggers.get_logger("tests").emit(
        LogRecord(severity_number=SeverityNumber.INFO, body="said", attributes=attributes)
    )


def kept(records: InMemoryLogRecordExporter) -> list[dict[str, Any]]:
    """
    Return the attributes of each record.
    """
    return [{**(one.log_record.attributes or {})} for one in records.get_finished_logs()]


@pytest.mark.parametrize("export", [SimpleLogRecordProcessor, BatchLogRecordProcessor])
def test_log_records_have_the_ids(
    export: Any, loggers: LoggerProvider, records: InMemoryLogRecordExporter
) -> None:
    """
    A record has what is in force where it is emitted, exported at once or later
    by another thread; what the application said itself stays.
    """
    loggers.add_log_record_processor(SessionContextLogRecordProcessor())
    loggers.add_log_record_processor(export(records))
    say(loggers)
    with session_context("s1", "u1", "t1"):
        say(loggers, **{"user.id": "explicit", "a": 1})
    assert loggers.force_flush()
    assert kept(records) == [
        {},
        {"session.id": "s1", "user.id": "explicit", "customer.id": "t1", "a": 1},
    ]


def test_log_records_show_what_the_log_sink_shows(
    loggers: LoggerProvider, records: InMemoryLogRecordExporter
) -> None:
    """
    R10, S25: the log sink decides, not that of spans.
    """
    loggers.add_log_record_processor(SessionContextLogRecordProcessor("tenant"))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    policy = Policy(
        session=session_spec(log="omit"),
        user=user_spec(log="hash"),
        tenant=tenant_spec(span="omit"),
        hash_keys=[("k1", b"k" * 32)],
    )
    undo = use_policy(policy)
    with session_context("s1", "u1", "t1"):
        say(loggers)
    undo()
    assert kept(records) == [
        {"user.id": checked_policy(policy).pseudonym("user_id", "u1"), "tenant.id": "t1"}
    ]


def test_log_records_are_let_be_when_it_is_off(
    loggers: LoggerProvider, records: InMemoryLogRecordExporter
) -> None:
    """
    Off, from the start or after shutdown, nothing is put on a record.
    """
    stopped = SessionContextLogRecordProcessor()
    stopped.shutdown()
    loggers.add_log_record_processor(stopped)
    loggers.add_log_record_processor(SessionContextLogRecordProcessor(enabled=False))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    with session_context("s1"):
        say(loggers)
    assert kept(records) == [{}]


def test_install_covers_log_records(
    provider: TracerProvider, loggers: LoggerProvider, records: InMemoryLogRecordExporter
) -> None:
    """
    Install adds both processors, and its undo stops both.
    """
    undo = install(tracer_provider=provider, logger_provider=loggers, names="genai")
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    with session_context("s1"):
        say(loggers)
        undo()
        say(loggers)
    assert kept(records) == [{"gen_ai.conversation.id": "s1"}, {}]


def test_a_record_that_cannot_be_written_to_fails_nothing() -> None:
    """
    R14: it is counted, and raised under test.
    """
    processor = SessionContextLogRecordProcessor()
    broken: Any = object()
    with session_context("s1"):
        processor.on_emit(broken)
        assert failures == {"log record processor": 1}
        with raise_failures(), pytest.raises(AttributeError):
            processor.on_emit(broken)


def written(directory: Path) -> dict[str, list[str]]:
    """
    Return the names of the spans in each file.
    """
    return {
        path.name: [json.loads(line)["name"] for line in path.read_text().splitlines()]
        for path in directory.iterdir()
    }


@pytest.mark.parametrize("process", [SimpleSpanProcessor, BatchSpanProcessor])
def test_each_session_has_a_file(process: Any, provider: TracerProvider, tmp_path: Path) -> None:
    """
    The session is the span's own, in whatever context or thread the file is written; a
    span without one is not written.
    """
    home = tmp_path / "a" / "b"
    provider.add_span_processor(SessionContextSpanProcessor())
    provider.add_span_processor(process(SessionFileSpanExporter(home)))
    tracer = provider.get_tracer("tests")
    open_spans = []
    for session in ("s1", "s2", None, "s1"):
        with session_context(session or UNSET):
            open_spans.append(tracer.start_span(f"of {session}"))
    with session_context("another"):
        for span in open_spans:
            span.end()
    assert provider.force_flush()
    assert written(home) == {"s1.jsonl": ["of s1", "of s1"], "s2.jsonl": ["of s2"]}


def test_many_threads_write_whole_lines(provider: TracerProvider, tmp_path: Path) -> None:
    """
    Lines of concurrent spans are whole, and in their own session's file.
    """
    provider.add_span_processor(SessionContextSpanProcessor())
    provider.add_span_processor(SimpleSpanProcessor(SessionFileSpanExporter(tmp_path)))
    tracer = provider.get_tracer("tests")
    barrier = threading.Barrier(8)

    def work(session: str) -> None:
        barrier.wait()
        for _ in range(25):
            with session_context(session):
                tracer.start_span(session).end()

    threads = [threading.Thread(target=work, args=(f"s{n % 2}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written(tmp_path) == {f"s{n}.jsonl": [f"s{n}"] * 100 for n in range(2)}


HOSTILE = [
    "../../outside",
    "..%2F..%2Foutside",
    "test/../../../outside",
    "test/../../outside",
    "..\\..\\outside",
    "/etc/passwd",
    "test..test",
    "test@session!",
    "..",
    ".",
    "con",
    "a\x00b",
    "x" * 1000,
    "日本",
]


@pytest.mark.parametrize("session", HOSTILE)
def test_no_session_leaves_the_directory(
    session: str, provider: TracerProvider, tmp_path: Path
) -> None:
    """
    The file of a span lies in the directory, for any text as its session.
    """
    home = tmp_path / "home"
    provider.add_span_processor(SimpleSpanProcessor(SessionFileSpanExporter(home)))
    given = {"session.id": session}
    provider.get_tracer("tests").start_span("one", attributes=given).end()
    assert [*tmp_path.iterdir()] == [home]
    (file,) = home.iterdir()
    assert file.name == f"{safe_filename(session)}.jsonl"
    assert json.loads(file.read_text())["attributes"] == given


def test_only_text_names_a_file(provider: TracerProvider, tmp_path: Path) -> None:
    """
    R15: an attribute that is empty or no text is no session.
    """
    provider.add_span_processor(SimpleSpanProcessor(SessionFileSpanExporter(tmp_path)))
    for value in ("", 7):
        provider.get_tracer("tests").start_span("one", attributes={"session.id": value}).end()
    assert (written(tmp_path), failures) == ({}, {})


def test_files_are_for_their_owner(provider: TracerProvider, tmp_path: Path) -> None:
    """
    S25: others on the machine read neither the directory nor a file in it.
    """
    home = tmp_path / "home"
    provider.add_span_processor(SimpleSpanProcessor(SessionFileSpanExporter(os.fspath(home))))
    provider.get_tracer("tests").start_span("one", attributes={"session.id": "s1"}).end()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "s1.jsonl").stat().st_mode) == 0o600


def test_files_follow_the_names(provider: TracerProvider, tmp_path: Path) -> None:
    """
    The exporter is told the same names as the processor.
    """
    provider.add_span_processor(SessionContextSpanProcessor("genai"))
    files = SessionFileSpanExporter(tmp_path, names="genai")
    provider.add_span_processor(SimpleSpanProcessor(files))
    with session_context("s1"):
        provider.get_tracer("tests").start_span("one").end()
    assert written(tmp_path) == {"s1.jsonl": ["one"]}
    with pytest.raises(ValueError, match="session_id off"):
        SessionFileSpanExporter(tmp_path, names={"session_id": None})


def test_a_file_that_cannot_be_written_fails_no_request(
    provider: TracerProvider, exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """
    R14: the export fails, is counted, and raised under test; a link is not followed.
    """
    (tmp_path / "s1.jsonl").symlink_to(tmp_path / "elsewhere")
    files = SessionFileSpanExporter(tmp_path)
    provider.get_tracer("tests").start_span("one", attributes={"session.id": "s1"}).end()
    spans = exporter.get_finished_spans()
    assert files.export(spans) is SpanExportResult.FAILURE
    assert failures == {"span file exporter": 1}
    assert not (tmp_path / "elsewhere").exists()
    with raise_failures(), pytest.raises(OSError, match="s1"):
        files.export(spans)


def test_after_shutdown_nothing_is_written(
    provider: TracerProvider, exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """
    OpenTelemetry's exporters: after shutdown an export fails.
    """
    files = SessionFileSpanExporter(tmp_path)
    provider.get_tracer("tests").start_span("one", attributes={"session.id": "s1"}).end()
    assert files.force_flush()
    files.shutdown()
    assert files.export(exporter.get_finished_spans()) is SpanExportResult.FAILURE
    assert written(tmp_path) == {}


LINES = [("X-Session-ID", "the-session"), ("X-User-ID", "the-user"), ("X-Tenant-ID", "the-tenant")]
TRUSTING = Policy(trusted_peers=["127.0.0.1"])


def ask_fastapi(provider: TracerProvider, meters: MeterProvider) -> None:
    app = fastapi_app.bare()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, meter_provider=meters)
    fastapi.install(app, TRUSTING)
    try:
        with serving_asgi(app) as port:
            over_http(port)("/ids", LINES)
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


def ask_flask(provider: TracerProvider, meters: MeterProvider) -> None:
    app = flask_app.bare()
    instrumentor: Any = FlaskInstrumentor()
    instrumentor.instrument_app(app, tracer_provider=provider, meter_provider=meters)
    flask.IDLanyard(app, TRUSTING)
    with serving_wsgi(app) as port:
        over_http(port)("/ids", LINES)


@pytest.mark.parametrize("ask", [ask_fastapi, ask_flask])
def test_no_id_is_on_a_metric_or_in_a_name(
    ask: Any, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """
    S17: the released instrumentations' metrics of a request have no ID among their points,
    while its spans have them all, and none in its name.
    """
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    undo = install(tracer_provider=provider)
    ask(provider, meters)
    undo()
    data = reader.get_metrics_data()
    assert data is not None
    points = data.to_json()
    meters.shutdown()
    assert "http.server" in points
    spans = exporter.get_finished_spans()
    text = "".join(span.to_json() for span in spans)
    for id in ("the-session", "the-user", "the-tenant"):
        assert id in text
        assert id not in points
        assert not any(id in span.name for span in spans)

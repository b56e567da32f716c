"""
Reports of a service to the process that has started it, a line of JSON each.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import format_trace_id

from idlanyard import get_id, get_session_context, subscribe
from idlanyard.integrations import logging as log_integration
from idlanyard.integrations import opentelemetry as span_integration

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

    from idlanyard._binding.events import Event

_LOGGED: Final = ("session_id", "user_id", "tenant_id")
_QUIET: Final = ("httpx2", "httpcore2")


class Reporter:
    """
    The pipe to the process that has started this one.

    Args:
        service: the name of the service that reports.
        descriptor: the pipe.
    """

    def __init__(self, service: str, descriptor: int) -> None:
        self.service = service
        self._stream = os.fdopen(descriptor, "wb", buffering=0)
        self._writing = threading.Lock()

    def report(self, kind: str, **details: Any) -> None:
        """
        Send a report; nothing happens if nobody reads it any more.
        """
        event = {"kind": kind, "service": self.service, "at": time.time(), **details}
        with self._writing, suppress(OSError):
            self._stream.write(json.dumps(event).encode() + b"\n")

    def close(self) -> None:
        """
        Close the pipe.
        """
        self._stream.close()

    def report_arrival(
        self, caller: str, call: str, wire: Mapping[str, str], shown: Mapping[str, str]
    ) -> None:
        """
        Report a request or a job with the current IDs.

        Args:
            caller: the service that has sent it.
            call: the method and path, or the name of the job.
            wire: the headers as they arrived.
            shown: the headers that the application sees.
        """
        self.report(
            "arrived",
            journey=get_id("request_id"),
            caller=caller,
            call=call,
            wire=dict(wire),
            removed=sorted(wire.keys() - shown.keys()),
            ids=describe_ids(),
        )


def take_output(service: str) -> Reporter:
    """
    Return a reporter on the standard output, and have prints go to the standard error.
    """
    reporter = Reporter(service, os.dup(1))
    os.dup2(2, 1)
    return reporter


def describe_ids() -> dict[str, list[str]]:
    """
    Return the current IDs by name, each with its provenance.
    """
    context = get_session_context()
    return {
        name: [value, str(context.provenance(name))] for name, value in context.as_dict().items()
    }


def observe(reporter: Reporter) -> Tracer:
    """
    Report the log lines, the spans, and the events of idlanyard of this process.

    Returns:
        The tracer for spans of this service.
    """
    log_integration.install()
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(_ReportingHandler(reporter))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    provider = TracerProvider()
    span_integration.install(tracer_provider=provider)
    provider.add_span_processor(SimpleSpanProcessor(_ReportingExporter(reporter)))
    _report_events(reporter)
    return provider.get_tracer(reporter.service)


def _report_events(reporter: Reporter) -> None:
    def report_refusal(event: Event) -> None:
        journey = event.context.get("request_id")
        reporter.report("refused", journey=journey, field=event.field, reason=event.reason)

    def report_change(event: Event) -> None:
        journey = event.context.get("request_id")
        reporter.report("changed", journey=journey, ids=describe_ids())

    subscribe("reject", report_refusal)
    subscribe("identify", report_change)


class _ReportingHandler(logging.Handler):
    """
    A handler that reports each log line with its IDs.
    """

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """
        Report the line.
        """
        self._reporter.report(
            "log",
            journey=getattr(record, "request_id", None),
            level=record.levelname,
            logger=record.name,
            text=record.getMessage(),
            error=repr(record.exc_info[1]) if record.exc_info else None,
            ids={name: getattr(record, name, None) for name in _LOGGED},
        )


class _ReportingExporter(SpanExporter):
    """
    An exporter that reports each span with its attributes.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """
        Report the spans.
        """
        for span in spans:
            attributes = dict(span.attributes or {})
            self._reporter.report(
                "span",
                journey=attributes.get("request.id"),
                name=span.name,
                trace=format_trace_id(span.context.trace_id if span.context else 0),
                milliseconds=((span.end_time or 0) - (span.start_time or 0)) / 1e6,
                attributes=attributes,
            )
        return SpanExportResult.SUCCESS

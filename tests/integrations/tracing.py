"""
A provider of traces that keeps its spans, for tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import propagate
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """
    The list of finished spans.
    """
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    """
    A provider that shuts down, and leaves the propagator as it was.
    """
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    before = propagate.get_global_textmap()
    yield made
    made.shutdown()
    assert propagate.get_global_textmap() is before


@pytest.fixture
def tracer(provider: TracerProvider) -> Tracer:
    """
    The provider of spans.
    """
    return provider.get_tracer("tests")


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """
    Return the attributes of a span.
    """
    return {**(span.attributes or {})}


def by_name(exporter: InMemorySpanExporter) -> Mapping[str, dict[str, Any]]:
    """
    Return the attributes of every finished span by its name.
    """
    return {span.name: attributes(span) for span in exporter.get_finished_spans()}

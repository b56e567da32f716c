"""
The IDs on the server spans of the released instrumentations, before us and after us.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from idlanyard.integrations.opentelemetry import install
from integrations.contract import nothing_is_noted
from integrations.sides import over_http
from integrations.test_instrumented import FRAMEWORKS, ORDERS
from integrations.tracing import attributes, exporter, provider

__all__ = ["exporter", "nothing_is_noted", "provider"]


@pytest.fixture(autouse=True)
def installed(provider: TracerProvider) -> Iterator[None]:
    """
    Ours is installed.
    """
    undo = install(tracer_provider=provider)
    yield
    undo()


def servers(exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    """
    Return the attributes of the server spans, in the order in which they started.
    """
    # A span may end after its response, and so after the next request's.
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    return [attributes(span) for span in spans if span.kind is SpanKind.SERVER]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_server_span_has_the_ids(
    framework: str, order: str, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """
    The server span has the request's session on 200, 404 and 500,
    whoever is identified in the view, and no user where nobody is or one is only claimed.
    """
    with FRAMEWORKS[framework](order, provider) as port:
        ask = over_http(port)
        for number, path in enumerate(("/ids", "/nowhere", "/boom")):
            ask(path, [("X-Session-ID", f"s{number}"), ("X-User-ID", "admin")])
        minted = ask("/login").all("X-Session-ID")
    found = servers(exporter)
    assert [span.get("session.id") for span in found] == ["s0", "s1", "s2", *minted]
    assert [span.get("user.id") for span in found] == [None, None, None, "alice"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_span_of_a_request_has_its_own_session(
    framework: str, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """
    The spans that an instrumentation starts in a request, each of them.
    """
    with FRAMEWORKS[framework]("before us", provider) as port:
        ask = over_http(port)
        for number in range(3):
            ask("/ids", [("X-Session-ID", f"s{number}")])
    sessions: dict[int, set[Any]] = {}
    for span in exporter.get_finished_spans():
        context = span.get_span_context()
        assert context is not None
        sessions.setdefault(context.trace_id, set()).add(attributes(span).get("session.id"))
    assert sorted(map(sorted, sessions.values())) == [["s0"], ["s1"], ["s2"]]

"""
The released OpenTelemetry instrumentations, installed before us and after us.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import PlainTextResponse

from idlanyard import get_session_id, subscribe
from idlanyard._binding.events import Event
from idlanyard.integrations import fastapi, flask, starlette
from integrations.apps import django_app, fastapi_app, flask_app, starlette_app
from integrations.apps.django_settings import OURS
from integrations.contract import nothing_is_noted
from integrations.sides import over_http, serving_asgi, serving_wsgi

__all__ = ["nothing_is_noted"]

DJANGO_OTEL = "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware"
ORDERS = ["before us", "after us"]

handled: list[str | None] = []


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    """
    A provider that keeps its spans, and shuts down.
    """
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    yield made
    made.shutdown()


@pytest.fixture(autouse=True)
def the_span_names_who_is_identified() -> Iterator[None]:
    """
    Put whom the application identifies on the span that is current.
    """
    handled.clear()

    def name(event: Event) -> None:
        trace.get_current_span().set_attribute("user.id", str(event.context.user_id))

    undo = subscribe("identify", name)
    yield
    undo()


Served = Callable[[str, Any], Any]


@contextmanager
def starlette_served(order: str, provider: TracerProvider) -> Iterator[int]:
    app = starlette_app.bare()
    app.add_exception_handler(Exception, handle)
    in_order(
        order,
        lambda: StarletteInstrumentor.instrument_app(app, tracer_provider=provider),
        lambda: starlette.install(app),
    )
    with serving_asgi(app) as port:
        yield port


@contextmanager
def fastapi_served(order: str, provider: TracerProvider) -> Iterator[int]:
    app = fastapi_app.bare()
    app.add_exception_handler(Exception, handle)
    in_order(
        order,
        lambda: FastAPIInstrumentor.instrument_app(app, tracer_provider=provider),
        lambda: fastapi.install(app),
    )
    try:
        with serving_asgi(app) as port:
            yield port
    finally:
        FastAPIInstrumentor.uninstrument_app(app)


@contextmanager
def flask_served(order: str, provider: TracerProvider) -> Iterator[int]:
    app = flask_app.bare()
    instrumentor: Any = FlaskInstrumentor()
    app.register_error_handler(500, lambda error: (handled_by(), 500))
    in_order(
        order,
        lambda: instrumentor.instrument_app(app, tracer_provider=provider),
        lambda: flask.IDLanyard(app),
    )
    with serving_wsgi(app) as port:
        yield port


@contextmanager
def django_configured(order: str, provider: TracerProvider, build: Any) -> Iterator[Any]:
    before = list(settings.MIDDLEWARE)
    settings.MIDDLEWARE = [OURS]
    instrumentor = DjangoInstrumentor()
    position = 0 if order == "before us" else 1
    instrumentor.instrument(tracer_provider=provider, middleware_position=position)
    lines = list(settings.MIDDLEWARE)
    assert lines.index(OURS) == 1 - position
    try:
        yield build(handler=True, lines=lines)
    finally:
        instrumentor.uninstrument()
        settings.MIDDLEWARE = before


@contextmanager
def django_served(order: str, provider: TracerProvider) -> Iterator[int]:
    with (
        django_configured(order, provider, django_app.build) as app,
        serving_wsgi(app) as port,
    ):
        yield port


@contextmanager
def django_async_served(order: str, provider: TracerProvider) -> Iterator[int]:
    with (
        django_configured(order, provider, django_app.build_async) as app,
        serving_asgi(app) as port,
    ):
        yield port


def in_order(order: str, instrument: Callable[[], Any], install: Callable[[], Any]) -> None:
    steps = [instrument, install]
    for step in steps if order == "before us" else reversed(steps):
        step()


def handled_by() -> str:
    handled.append(get_session_id())
    return f"handled {get_session_id()}"


async def handle(request: Any, error: Exception) -> Any:
    return PlainTextResponse(handled_by(), 500)


FRAMEWORKS = {
    "starlette": starlette_served,
    "fastapi": fastapi_served,
    "flask": flask_served,
    "django": django_served,
    "django-async": django_async_served,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_spans_and_echo_live_together(
    framework: str,
    order: str,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Instrumented before or after us, each request has one server span and the echo,
    on 200, 404 and 500; the application's handler runs once and reads the session; the span
    has who was identified.
    """
    with (
        caplog.at_level(logging.WARNING, "opentelemetry"),
        FRAMEWORKS[framework](order, provider) as port,
    ):
        ask, body = over_http(port), b""
        for path, status in (("/ids", 200), ("/nowhere", 404), ("/boom", 500)):
            answer = ask(path, [("X-Session-ID", "s1")])
            assert (answer.status, answer.all("X-Session-ID")) == (status, ["s1"])
            body = answer.body
        assert b"handled s1" in body
        ask("/login")
    assert [record for record in caplog.records if record.name.startswith("opentel")] == []
    if not framework.startswith("django"):
        assert handled == ["s1"]
    spans = [s for s in exporter.get_finished_spans() if s.kind is trace.SpanKind.SERVER]
    codes = [(span.attributes or {}).get("http.status_code") for span in spans]
    # Starlette's is a middleware of the user's, which no 500 passes.
    assert codes == [200, 404, None if framework == "starlette" else 500, 200]
    assert (spans[3].attributes or {}).get("user.id") == "alice"

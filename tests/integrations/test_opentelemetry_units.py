"""
Whose a span is: a span has the IDs of the one request, job or block that it is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

from idlanyard import (
    clear_session_context,
    identify,
    restore,
    rotate_session_id,
    session_context,
    set_session_context,
    set_session_id,
    without,
)
from idlanyard._binding.carriers import make_job_block
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor
from idlanyard.testing import override
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from integrations.tracing import by_name, exporter, provider, tracer

__all__ = ["exporter", "provider", "tracer"]

Work = Callable[[], object]


@pytest.fixture(autouse=True)
def processor(provider: TracerProvider) -> SessionContextSpanProcessor:
    """
    Ours, with the default names.
    """
    made = SessionContextSpanProcessor()
    provider.add_span_processor(made)
    return made


def nothing() -> None:
    """
    Do what many do in a request.
    """


def over_asgi(work: Work, session: str = "s1") -> None:
    """
    Do *work* in a request of the ASGI middleware.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        work()

    headers = [(b"x-session-id", session.encode())]
    scope = {"type": "http", "path": "/", "headers": headers}
    coroutine: Any = ASGIMiddleware(app)(scope, None, None)
    with pytest.raises(StopIteration):
        coroutine.send(None)


def over_wsgi(work: Work, session: str = "s1") -> None:
    """
    Do *work* in a request of the WSGI middleware.
    """

    def app(environ: Any, start_response: Any) -> Sequence[bytes]:
        work()
        start_response("200 OK", [])
        return []

    environ: Any = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_SESSION_ID": session}

    def start(*_: Any) -> Any:
        return nothing

    WSGIMiddleware(app)(environ, start)


def in_a_job(work: Work, session: str = "s1") -> None:
    """
    Do *work* as the integrations of job queues do it.
    """
    with make_job_block({"session_id": session}, inherit=False):
        work()


def in_a_block(work: Work, session: str = "s1") -> None:
    with session_context(session):
        work()


def after_a_set(work: Work, session: str = "s1") -> None:
    def both() -> None:
        set_session_context(session)
        work()

    copy_context().run(both)


def after_a_session_id(work: Work, session: str = "s1") -> None:
    def both() -> None:
        set_session_id(session)
        work()

    copy_context().run(both)


def in_a_restore(work: Work, session: str = "s1") -> None:
    with restore({"session_id": session}):
        work()


def in_an_override(work: Work, session: str = "s1") -> None:
    def overridden() -> None:
        with override(session_id=session):
            work()

    copy_context().run(overridden)


def in_a_block_of_its_own(work: Work, session: str = "s1") -> None:
    with without(), session_context(session):
        work()


def decorated(work: Work, session: str = "s1") -> None:
    session_context(session)(work)()


UNITS = [over_asgi, over_wsgi, in_a_job]
BLOCKS = [
    in_a_block,
    after_a_set,
    after_a_session_id,
    in_a_restore,
    in_an_override,
    in_a_block_of_its_own,
    decorated,
]


@pytest.mark.parametrize("during", UNITS)
def test_the_span_of_a_request_or_job_has_its_ids(
    during: Callable[..., None], tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11: a span that was started for the request or job, outside of it, has its IDs from the
    moment in which they are bound, and those that are identified late; the one around it has none.
    """

    def work() -> None:
        with tracer.start_as_current_span("inner"):
            pass
        identify(user_id="alice")

    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("server"):
        during(work)
    assert by_name(exporter) == {
        "outer": {},
        "server": {"session.id": "s1", "user.id": "alice"},
        "inner": {"session.id": "s1"},
    }


@pytest.mark.parametrize("during", BLOCKS)
@pytest.mark.parametrize("work", [nothing, lambda: identify(user_id="alice")], ids=["", "identify"])
@pytest.mark.parametrize("kind", [SpanKind.INTERNAL, SpanKind.CONSUMER], ids=["plain", "consumer"])
def test_a_block_never_writes_on_the_span_around_it(
    kind: SpanKind,
    work: Work,
    during: Callable[..., None],
    tracer: Tracer,
    exporter: InMemorySpanExporter,
) -> None:
    """
    R11: the span of a fan-out, a cron job or a consumer of batches has nobody's IDs, whatever is
    bound in it, and whoever is identified there.
    """
    with tracer.start_as_current_span("batch", kind=kind):
        for session in ("x", "y"):
            during(work, session)
    assert by_name(exporter) == {"batch": {}}


@pytest.mark.parametrize("during", BLOCKS)
def test_identify_in_a_block_reaches_the_span_of_the_block(
    during: Callable[..., None], tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11: a span that was started in the block is of the block.
    """

    def work() -> None:
        with tracer.start_as_current_span("of the block"):
            identify(user_id="alice")
            identify(tenant_id="acme")

    with tracer.start_as_current_span("batch"):
        during(work)
    ids = {"session.id": "s1", "user.id": "alice", "customer.id": "acme"}
    assert by_name(exporter) == {"batch": {}, "of the block": ids}


def test_identify_alone_names_the_span_that_is_current(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11: outside requests and blocks, identify speaks for the span that is current.
    """

    def script() -> None:
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("script"):
            identify(session_id="s1")
            identify(user_id="alice")

    copy_context().run(script)
    assert by_name(exporter) == {"outer": {}, "script": {"session.id": "s1", "user.id": "alice"}}


def test_a_fan_out_of_tasks_keeps_its_span_clean(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    Seeds, finding 2: each task's span has its own session, the one around them has none.
    """

    async def one(name: str) -> None:
        with session_context(name, f"u{name}"), tracer.start_as_current_span(name):
            await asyncio.sleep(0)

    async def both() -> None:
        with tracer.start_as_current_span("fan out"):
            await asyncio.gather(one("x"), one("y"))

    asyncio.run(both())
    assert by_name(exporter) == {
        "fan out": {},
        "x": {"session.id": "x", "user.id": "ux"},
        "y": {"session.id": "y", "user.id": "uy"},
    }


@pytest.mark.parametrize("during", BLOCKS)
def test_a_block_in_a_request_writes_nothing_on_the_span_of_the_request(
    during: Callable[..., None], tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11: neither what a block binds, nor what is identified for another unit of work in it, is
    on the server span.
    """
    with tracer.start_as_current_span("server"):
        over_asgi(lambda: during(nothing, "another"))
        over_wsgi(lambda: in_a_restore(lambda: identify(user_id="another")))
    assert by_name(exporter) == {"server": {"session.id": "s1"}}


def test_identify_in_a_block_of_a_request_adds_no_more_than_it_says(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R2, R11: identify reaches the request's span from inside a block; the block's own IDs do not.
    """

    def work() -> None:
        with session_context(user_id="block"):
            identify(tenant_id="acme")
        with session_context(user_id="other"):
            identify(user_id="alice")

    with tracer.start_as_current_span("server"):
        over_asgi(work)
    assert by_name(exporter) == {
        "server": {"session.id": "s1", "customer.id": "acme", "user.id": "alice"}
    }


@pytest.mark.parametrize("inner", UNITS)
@pytest.mark.parametrize("outer", [*UNITS, in_a_block])
def test_a_unit_inside_another_leaves_its_span_alone(
    outer: Callable[..., None],
    inner: Callable[..., None],
    tracer: Tracer,
    exporter: InMemorySpanExporter,
) -> None:
    """
    R11: a request or job that runs inside another one, in the same process, writes nothing on
    the span of that one; its own server span has what is missing there.
    """

    def both() -> None:
        with tracer.start_as_current_span("call"):
            inner(lambda: identify(user_id="bob"), "s2")

    with tracer.start_as_current_span("server"):
        outer(both, "s1")
    server = {} if outer is in_a_block else {"session.id": "s1"}
    assert by_name(exporter) == {"server": server, "call": {"session.id": "s1"}}


def test_a_second_request_leaves_the_span_of_the_first_alone(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11: a span that one request has is no other's, also when that one is over.
    """
    with tracer.start_as_current_span("server", kind=SpanKind.SERVER):
        over_asgi(nothing, "s1")
        over_asgi(lambda: identify(user_id="bob"), "s2")
    assert by_name(exporter) == {"server": {"session.id": "s1"}}


def test_the_server_span_of_a_process_with_a_session_has_the_request(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11: where something was bound before the server started, its spans are of the requests still.
    """

    def process() -> None:
        set_session_context(tenant_id="house")
        with tracer.start_as_current_span("server", kind=SpanKind.SERVER):
            over_asgi(lambda: identify(user_id="alice"))

    copy_context().run(process)
    ids = {"customer.id": "house", "session.id": "s1", "user.id": "alice"}
    assert by_name(exporter) == {"server": ids}


def test_a_job_without_a_carrier_has_its_span(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """
    R11, R13: a job that nobody's IDs came with names its span by identify.
    """
    with tracer.start_as_current_span("run", kind=SpanKind.CONSUMER):
        with make_job_block(None, inherit=False):
            identify(user_id="alice")
        with make_job_block(None, inherit=True):
            identify(tenant_id="acme")
    assert by_name(exporter) == {"run": {"user.id": "alice"}}


def test_what_is_there_is_never_replaced(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    """
    A later identify adds the missing attributes and leaves the rest.
    """

    def handle() -> None:
        identify(session_id="s1")
        rotate_session_id()
        identify(user_id="alice")
        identify(user_id="bob")
        clear_session_context()

    with tracer.start_as_current_span("server"):
        copy_context().run(handle)
    assert by_name(exporter) == {"server": {"session.id": "s1", "user.id": "alice"}}

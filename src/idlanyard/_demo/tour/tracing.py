"""
The trace of a request, which each service of the tour continues by ``traceparent``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACE_HEADER: Final = "Traceparent"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def write_trace() -> dict[str, str]:
    """
    Return the header by which another service continues the current trace.
    """
    written: dict[str, str] = {}
    _PROPAGATOR.inject(written)
    return {TRACE_HEADER: written["traceparent"]} if written else {}


@contextmanager
def continue_trace(headers: Mapping[str, str]) -> Generator[None, None, None]:
    """
    Put spans into the trace of the caller meanwhile, or into a new one if there is none.

    Args:
        headers: those of the request or job, spelled as in ``TRACE_HEADER``.
    """
    carrier = {"traceparent": headers.get(TRACE_HEADER, "")}
    token = context.attach(_PROPAGATOR.extract(carrier))
    try:
        yield
    finally:
        context.detach(token)

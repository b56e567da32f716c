"""
OpenTelemetry: the IDs on spans, on log records and in baggage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry._logs import LoggerProvider, get_logger_provider

from idlanyard._policy.peers import Everyone
from idlanyard.exceptions import IDLanyardError
from idlanyard.integrations.opentelemetry._exporter import SessionFileSpanExporter
from idlanyard.integrations.opentelemetry._names import AttributeNames, Names
from idlanyard.integrations.opentelemetry._propagation import SessionContextPropagator
from idlanyard.integrations.opentelemetry._records import SessionContextLogRecordProcessor
from idlanyard.integrations.opentelemetry._spans import SessionContextSpanProcessor

__all__ = [
    "SessionContextLogRecordProcessor",
    "SessionContextSpanProcessor",
    "SessionFileSpanExporter",
    "install",
]

# Logfire 5.4 replaces the value of any attribute with "session" in its name, but for a few names.
_KEPT: Final = {"session_id": "gen_ai.conversation.id"}


def install(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    names: Names = "default",
    to: Iterable[str] | Everyone = (),
    enabled: bool = True,
) -> Callable[[], None]:
    """
    Put the IDs on every span and log record, and those that ask for it into baggage.

    Call it after the providers and the propagator are set, and before log
    exporters are added. Under Logfire, which scrubs what is called a session,
    the session is ``gen_ai.conversation.id`` besides. IDs with ``baggage=True`` go out with every
    ``propagate.inject``: under a span of a client only to the origins in
    *to*, by the span's URL; where a span is not recorded nothing says where
    the call goes, and none go out.

    Args:
        tracer_provider: the SDK's; left out, the global one.
        logger_provider: the SDK's; left out, the global one, if there is one.
        names: as in ``SessionContextSpanProcessor``; baggage has the same.
        to: the origins that baggage may be sent to, such as
            ``"https://api.example"``; ``EVERYONE`` for every call.
        enabled: ``False`` does nothing.

    Returns:
        A function that takes this back.

    Raises:
        IDLanyardError: there is no tracer provider of the SDK.
        PolicyError: an entry of *to* is no origin.
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """
    if not enabled:
        return _nothing
    tracers: Any = tracer_provider or trace.get_tracer_provider()
    if not hasattr(tracers, "add_span_processor"):
        raise IDLanyardError(
            "there is no tracer provider of the SDK: call trace.set_tracer_provider(...) before "
            "install(), or write install(tracer_provider=...)"
        )
    called = AttributeNames(names, besides=_KEPT if _is_logfire(tracers) else None)
    traced = not isinstance(tracers.get_tracer("idlanyard"), trace.NoOpTracer)
    before = propagate.get_global_textmap()
    propagator = SessionContextPropagator(before, called, to, traced=traced)
    propagate.set_global_textmap(propagator)
    spans = SessionContextSpanProcessor(called)
    tracers.add_span_processor(spans)
    logs = SessionContextLogRecordProcessor(called)
    loggers: Any = logger_provider or get_logger_provider()
    if hasattr(loggers, "add_log_record_processor"):
        loggers.add_log_record_processor(logs)

    def undo() -> None:
        propagator.take_back()
        spans.shutdown()
        logs.shutdown()

    return undo


def _is_logfire(provider: object) -> bool:
    return type(provider).__module__.partition(".")[0] == "logfire"


def _nothing() -> None:
    """
    Take back what was not done.
    """

"""
OpenTelemetry: the current IDs on spans, on log records and in baggage.
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
from idlanyard.integrations.opentelemetry._processors import (
    SessionContextLogRecordProcessor,
    SessionContextSpanProcessor,
)
from idlanyard.integrations.opentelemetry._propagation import SessionContextPropagator

__all__ = [
    "SessionContextLogRecordProcessor",
    "SessionContextSpanProcessor",
    "SessionFileSpanExporter",
    "install",
]

# Logfire 5.4 scrubs attributes with "session" in their name; this one it keeps.
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
    Add the current IDs to every span and log record, and to baggage if their rules say so.

    Call it after the providers and the propagator are set, and before log
    exporters are added. Under Logfire, which scrubs attributes that are called
    a session, the session is also ``gen_ai.conversation.id``. IDs with
    ``baggage=True`` are sent by every ``propagate.inject``: inside a client
    span only if the span's URL is of an origin in *to*. A span that is not
    recorded has no URL, so none are sent inside it.

    Args:
        tracer_provider: the SDK's; left out, the global one.
        logger_provider: the SDK's; left out, the global one, if there is one.
        names: as for ``SessionContextSpanProcessor``, and for the keys of baggage.
        to: the origins that baggage may be sent to, such as
            ``"https://api.example"``; ``EVERYONE`` for every call.
        enabled: ``False`` does nothing.

    Returns:
        A function that undoes this.

    Raises:
        IDLanyardError: there is no tracer provider of the SDK.
        PolicyError: an entry of *to* is no origin.
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """
    if not enabled:
        return _undo_nothing
    tracers = _find_tracer_provider(tracer_provider)
    loggers: Any = logger_provider or get_logger_provider()
    called = AttributeNames(names, besides=_KEPT if _is_logfire(tracers) else None)
    propagator = _install_propagator(called, to, tracers)
    spans, logs = SessionContextSpanProcessor(called), SessionContextLogRecordProcessor(called)
    tracers.add_span_processor(spans)
    if hasattr(loggers, "add_log_record_processor"):
        loggers.add_log_record_processor(logs)

    def undo() -> None:
        propagator.uninstall()
        spans.shutdown()
        logs.shutdown()

    return undo


def _find_tracer_provider(given: trace.TracerProvider | None) -> Any:
    """
    Return the tracer provider of the SDK.

    Raises:
        IDLanyardError: there is none.
    """
    tracers = given or trace.get_tracer_provider()
    if hasattr(tracers, "add_span_processor"):
        return tracers
    raise IDLanyardError(
        "there is no tracer provider of the SDK: call trace.set_tracer_provider(...) before "
        "install(), or write install(tracer_provider=...)"
    )


def _install_propagator(
    names: AttributeNames, to: Iterable[str] | Everyone, tracers: trace.TracerProvider
) -> SessionContextPropagator:
    traced = not isinstance(tracers.get_tracer("idlanyard"), trace.NoOpTracer)
    propagator = SessionContextPropagator(propagate.get_global_textmap(), names, to, traced=traced)
    propagate.set_global_textmap(propagator)
    return propagator


def _is_logfire(provider: object) -> bool:
    return type(provider).__module__.partition(".")[0] == "logfire"


def _undo_nothing() -> None:
    """
    Do nothing, since nothing was installed.
    """

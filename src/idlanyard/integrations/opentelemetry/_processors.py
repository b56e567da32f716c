"""
The processors that put the IDs on spans and on log records.

Spans get them when they start, and once more when their request is known later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from opentelemetry import trace
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import Span, SpanProcessor

from idlanyard._binding import events
from idlanyard._binding.state import (
    UNBOUND,
    Binding,
    Overlay,
    RequestIDs,
    find_unit_of_work,
    get_binding,
)
from idlanyard.integrations.custom import report_failure
from idlanyard.integrations.opentelemetry._names import AttributeNames, Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context


class Unbuffered:
    """
    The base of processors and exporters that keep nothing to send later.
    """

    _enabled = True

    def shutdown(self) -> None:
        """
        Add and write nothing any more, for good.
        """
        self._enabled = False

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the SDK's signature
        """
        Return ``True``, since nothing waits here.

        Older SDKs stop flushing at a processor that returns ``None``.

        Args:
            timeout_millis: not used.
        """
        return True


class SessionContextLogRecordProcessor(Unbuffered, LogRecordProcessor):
    """
    Add the current IDs to every log record, when it is emitted.

    An attribute that the record has already stays. The values follow each
    ID's rule for logs. Processors run in the order in which they were added:
    add this one before those that export.

    Args:
        names: as in ``SessionContextSpanProcessor``.
        enabled: ``False`` adds nothing to any record.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """

    def __init__(self, names: Names | AttributeNames = "default", *, enabled: bool = True) -> None:
        self._names = names if isinstance(names, AttributeNames) else AttributeNames(names)
        self._enabled = enabled

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """
        Add the current IDs to the record as attributes.

        Args:
            log_record: the record on its way to the exporters.
        """
        if not self._enabled:
            return
        try:
            attributes: Any = log_record.log_record.attributes
            for name, text in self._names.current_attributes("log").items():
                attributes.setdefault(name, text)
        except Exception as error:
            report_failure("log record processor", error)


# A span of these kinds belongs to one request or job, also if it starts outside of its binding.
_OF_ONE_UNIT: Final = (trace.SpanKind.SERVER, trace.SpanKind.CONSUMER)


class SessionContextSpanProcessor(Unbuffered, SpanProcessor):
    """
    Add the current IDs to every span of a provider, when it starts.

    A server span is often started outside of the middleware. So the span that
    is current when a middleware or a job binds its IDs gets them too, and
    those that ``identify`` adds while that span is current again. A block such
    as ``session_context`` or ``restore`` never changes the span around it,
    which may belong to other work as well. An attribute that the span has
    already stays. The values follow each ID's rule for spans; metrics and span
    names never have IDs.

    Args:
        names: ``"default"``, ``"tenant"``, ``"genai"``, ``"openinference"``,
            ``"langfuse"``, ``"traceloop"``, ``"logfire"``, or a mapping of IDs to attribute
            names, in which ``None`` leaves an ID off.
        enabled: ``False`` adds nothing to any span.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """

    def __init__(self, names: Names | AttributeNames = "default", *, enabled: bool = True) -> None:
        self._names = names if isinstance(names, AttributeNames) else AttributeNames(names)
        self._enabled = enabled
        # The request, job or block that each span belongs to. A span that is not in it belongs to
        # another provider.
        self._units: WeakKeyDictionary[Span, Binding] = WeakKeyDictionary()
        # Logfire 5.4 makes a wrapper of its own the current span: it has the trace and span ID of
        # the span inside, and no other way to it.
        self._spans: WeakValueDictionary[tuple[int, int], Span] = WeakValueDictionary()
        self._subscriptions = [
            events.subscribe("bind", self._on_bind),
            events.subscribe("identify", self._on_identify),
        ]
        if not enabled:
            self.shutdown()

    def on_start(
        self,
        span: Span,
        parent_context: Context | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> None:
        """
        Add the current IDs to the span as attributes.

        Args:
            span: the span that starts.
            parent_context: not used.
        """
        if not self._enabled:
            return
        try:
            self._units[span] = find_unit_of_work()
            self._spans[_key_of(span)] = span
            _add_attributes(span, self._names.current_attributes("span"))
        except Exception as error:
            report_failure("span processor", error)

    def shutdown(self) -> None:
        """
        Add nothing any more, for good.
        """
        super().shutdown()
        for undo in self._subscriptions:
            undo()

    def _on_bind(self, event: events.Event) -> None:
        """
        Add the IDs of a request or job that begins to the span that was started for it.
        """
        span = self._find_span()
        unit = self._units.get(span) if span is not None else None
        if event.begins is None or span is None or unit is None or isinstance(unit, RequestIDs):
            return
        if unit is UNBOUND or span.kind in _OF_ONE_UNIT:
            self._units[span] = find_unit_of_work()
            _add_attributes(span, self._names.current_attributes("span"))

    def _on_identify(self, _: events.Event) -> None:
        """
        Add the IDs of the current span's request, job or block that are known since.
        """
        span = self._find_span()
        if span is None or self._units.get(span) is not find_unit_of_work():
            return
        binding = get_binding()
        # The span belongs to the request, and these IDs were changed for a block inside it.
        overlay = binding if isinstance(binding, Overlay) else None
        of_block = overlay.delta if overlay is not None and overlay.over is not None else ()
        _add_attributes(span, self._names.current_attributes("span", without=of_block))

    def _find_span(self) -> Span | None:
        """
        Return the current span if it belongs to this provider and is recording.
        """
        span = trace.get_current_span()
        return self._spans.get(_key_of(span)) if span.is_recording() else None


def _key_of(span: trace.Span) -> tuple[int, int]:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def _add_attributes(span: Span, attributes: Mapping[str, str]) -> None:
    """
    Set the attributes that the span does not have yet.
    """
    if not attributes:
        return
    there = span.attributes or {}
    span.set_attributes({name: text for name, text in attributes.items() if name not in there})

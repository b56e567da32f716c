"""
The IDs as attributes of spans: at their start, and when their request is known later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from opentelemetry import trace
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

# Servers and consumers begin such a span for one request or job, wherever they are started.
_OF_ONE_UNIT: Final = (trace.SpanKind.SERVER, trace.SpanKind.CONSUMER)


class SessionContextSpanProcessor(SpanProcessor):
    """
    Put the IDs in force on every span of a provider, when it starts.

    A server span is often started outside the middleware. So the span that is
    current when a middleware or a job binds its IDs gets them too, and
    whatever ``identify`` adds while that span is current again. A block such
    as ``session_context`` or ``restore`` never writes on the span around it,
    which may serve others as well. An attribute that is there already stays.
    The values are as each ID's span sink shows them; metrics and span names
    never have any.

    Args:
        names: ``"default"``, ``"tenant"``, ``"genai"``, ``"openinference"``,
            ``"langfuse"``, ``"traceloop"``, ``"logfire"``, or a mapping of IDs to attribute
            names, in which ``None`` leaves an ID off.
        enabled: ``False`` puts nothing on any span.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """

    def __init__(self, names: Names | AttributeNames = "default", *, enabled: bool = True) -> None:
        self._names = names if isinstance(names, AttributeNames) else AttributeNames(names)
        self._enabled = enabled
        # The unit of work that each span is of. A span that is not in it is another provider's.
        self._units: WeakKeyDictionary[Span, Binding] = WeakKeyDictionary()
        # Logfire 5.4 makes a wrapper of its own the current span, which has the same IDs.
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
        Put what is in force where the span is started on it.

        Args:
            span: the new one.
            parent_context: OpenTelemetry's own, which is not read.
        """
        if not self._enabled:
            return
        try:
            self._units[span] = find_unit_of_work()
            self._spans[_key(span)] = span
            _add(span, self._names.in_force("span"))
        except Exception as error:
            report_failure("span processor", error)

    def shutdown(self) -> None:
        """
        Stop, for good.
        """
        self._enabled = False
        for undo in self._subscriptions:
            undo()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the SDK's signature
        """
        Say that nothing waits here.

        Args:
            timeout_millis: not used.

        Returns:
            ``True``: with older SDKs' ``None`` the processors behind it are not flushed.
        """
        return True

    def _on_bind(self, event: events.Event) -> None:
        """
        Let the request or job that begins have the span that was started for it.
        """
        span = self._current()
        unit = self._units.get(span) if span is not None else None
        if event.begins is None or span is None or unit is None or isinstance(unit, RequestIDs):
            return
        if unit is UNBOUND or span.kind in _OF_ONE_UNIT:
            self._units[span] = find_unit_of_work()
            _add(span, self._names.in_force("span"))

    def _on_identify(self, _: events.Event) -> None:
        """
        Add to the current span what its own unit of work is known by now.
        """
        span = self._current()
        if span is None or self._units.get(span) is not find_unit_of_work():
            return
        binding = get_binding()
        # What a block changes inside the request is no matter of the request's span.
        overlay = binding if isinstance(binding, Overlay) else None
        of_block = overlay.delta if overlay is not None and overlay.over is not None else ()
        _add(span, self._names.in_force("span", without=of_block))

    def _current(self) -> Span | None:
        """
        Return the span that is current, if it is of this provider and may be written to.
        """
        span = trace.get_current_span()
        return self._spans.get(_key(span)) if span.is_recording() else None


def _key(span: trace.Span) -> tuple[int, int]:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def _add(span: Span, attributes: Mapping[str, str]) -> None:
    """
    Set the attributes that the span does not have.
    """
    if not attributes:
        return
    there = span.attributes or {}
    span.set_attributes({name: text for name, text in attributes.items() if name not in there})

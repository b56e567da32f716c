"""
The IDs as attributes of spans: at their start, and when they are bound later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.sdk.trace import Span, SpanProcessor

from idlanyard import _events
from idlanyard.integrations.opentelemetry._names import AttributeNames, Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

_EVENTS: Final[tuple[_events.EventName, ...]] = ("bind", "identify")


class SessionContextSpanProcessor(SpanProcessor):
    """
    Put the IDs in force on every span of a provider, when it starts.

    When IDs are bound or identified later, the span that is current and
    recording gets them too: a server span is often started outside the
    middleware. An attribute that is there already stays. The values are as
    each ID's span sink shows them; metrics and span names never have any.

    Args:
        names: ``"default"``, ``"tenant"``, ``"genai"``, ``"openinference"``,
            ``"langfuse"``, ``"traceloop"``, or a mapping of IDs to attribute
            names, in which ``None`` leaves an ID off.
        enabled: ``False`` puts nothing on any span.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, or a name is empty.
    """

    def __init__(self, names: Names = "default", *, enabled: bool = True) -> None:
        self._names = AttributeNames(names)
        self._enabled = enabled
        # The span that is current may be another provider's, whose spans are none of ours.
        self._started: WeakSet[trace.Span] = WeakSet()
        events = _EVENTS if enabled else ()
        self._subscriptions = [_events.subscribe(event, self._on_change) for event in events]

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
            self._started.add(span)
            _add(span, self._names.in_force("span"))
        except Exception as error:
            _events.failed("span processor", error)

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

    def _on_change(self, _: _events.Event) -> None:
        span = trace.get_current_span()
        if isinstance(span, Span) and span.is_recording() and span in self._started:
            _add(span, self._names.in_force("span"))


def _add(span: Span, attributes: Mapping[str, str]) -> None:
    """
    Set the attributes that the span does not have.
    """
    if not attributes:
        return
    there = span.attributes or {}
    span.set_attributes({name: text for name, text in attributes.items() if name not in there})

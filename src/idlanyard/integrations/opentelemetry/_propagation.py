"""
The IDs in outgoing W3C baggage, written by OpenTelemetry's own propagators.

Binding IDs attaches nothing to OpenTelemetry's context, so nothing stays in it
when they are no longer bound. The current IDs are put into the context at the
moment of each injection, over the members that a client or an earlier binding
has left there.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, MutableMapping
from typing import Final, cast

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.sdk.trace import ReadableSpan

from idlanyard._binding.reading import find_id
from idlanyard._binding.state import get_binding
from idlanyard._policy.origins import Origins
from idlanyard._policy.peers import Everyone
from idlanyard.integrations.custom import report_failure
from idlanyard.integrations.opentelemetry._names import AttributeNames

# The libraries behind these follow redirects below the one span and the one inject of a call.
_SEE_ONE_HOP: Final = frozenset(
    f"opentelemetry.instrumentation.{client}"
    for client in ("aiohttp_client", "requests", "urllib", "urllib3")
)


class SessionContextPropagator(TextMapPropagator):
    """
    A propagator that passes the current IDs as baggage to another propagator.

    Args:
        propagator: the propagator that reads and writes headers.
        names: the keys of the IDs.
        to: the origins that may be sent IDs inside client spans.
        traced: whether calls have spans at all, whose URLs name their origins.
    """

    def __init__(
        self,
        propagator: TextMapPropagator,
        names: AttributeNames,
        to: Iterable[str] | Everyone,
        *,
        traced: bool,
    ) -> None:
        self._propagator = propagator
        self._names = names
        self._to = None if isinstance(to, Everyone) else Origins(to)
        self._traced = traced
        self._active = True

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """
        Return the context that the other propagator reads.
        """
        return self._propagator.extract(carrier, context, getter)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """
        Write *context* with the current IDs, by the other propagator.
        """
        context = get_current() if context is None else context
        if self._active:
            try:
                context = self._with_ids(context, carrier)
            except Exception as error:
                context = baggage.clear(context)
                report_failure("baggage", error)
        self._propagator.inject(carrier, context, setter)

    @property
    def fields(self) -> set[str]:
        """
        The headers that the other propagator writes.
        """
        return self._propagator.fields

    @property
    def reaches_everyone(self) -> bool:
        """
        Whether calls to any host are sent the IDs.
        """
        return self._active and self._to is None

    def uninstall(self) -> None:
        """
        Restore the other propagator; if another one wraps ours by now, only pass calls on.
        """
        self._active = False
        if propagate.get_global_textmap() is self:
            propagate.set_global_textmap(self._propagator)

    def _with_ids(self, context: Context, carrier: object) -> Context:
        policy = get_binding().policy
        keys = {
            key: spec.name
            for spec in policy.specs.values()
            if spec.baggage and (key := self._names.of(policy, spec.name)) is not None
        }
        if not keys:
            return context
        _remove_members(carrier, keys)
        may = self._may_reach(trace.get_current_span(context))
        values = {key: find_id(name)[0] for key, name in keys.items() if may}
        # First, so that the limits of the codec drop other members and not these.
        members: dict[str, object] = {key: v for key, v in values.items() if v is not None}
        there = baggage.get_all(context).items()
        members.update((key, value) for key, value in there if key not in keys)
        context = baggage.clear(context)
        for key, value in members.items():
            context = baggage.set_baggage(key, value, context)
        return context

    def _may_reach(self, span: trace.Span) -> bool:
        """
        Return whether the current call may be sent IDs, judged by its span.
        """
        if self._to is None:
            return True
        if not span.get_span_context().is_valid:
            return self._traced
        if not isinstance(span, ReadableSpan) or not span.is_recording():
            return False
        # Instrumentations of clients inject inside of a client span; in any other span it is the
        # application that injects, for a call that it knows.
        if span.kind is not trace.SpanKind.CLIENT:
            return True
        scope = span.instrumentation_scope
        if scope is not None and scope.name in _SEE_ONE_HOP:
            return False
        attributes = span.attributes or {}
        url = attributes.get("url.full") or attributes.get("http.url")
        return isinstance(url, str) and self._to.allow(url)


def _remove_members(carrier: object, keys: Container[str]) -> None:
    """
    Remove our members from headers in which an earlier hop of the same call has left them.
    """
    if not isinstance(carrier, MutableMapping):
        return
    headers = cast("MutableMapping[object, object]", carrier)
    for name in [name for name in headers if str(name).lower() == "baggage"]:
        members = str(headers[name]).split(",")
        kept = [m for m in members if m.partition("=")[0].strip() not in keys]
        if len(kept) < len(members):
            del headers[name]
            if kept:
                headers[name] = ",".join(kept)

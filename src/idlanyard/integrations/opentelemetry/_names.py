"""
What the IDs are called on spans, on log records and in baggage.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final, Literal, TypeAlias

from idlanyard._access import get_session_context
from idlanyard._binding import current
from idlanyard._policy import Policy

Names: TypeAlias = str | Mapping[str, str | None]

_PRESETS: Final[dict[str, tuple[dict[str, str], str]]] = {
    "default": ({}, ""),
    "tenant": ({"tenant_id": "tenant.id"}, ""),
    "genai": (
        {
            "session_id": "gen_ai.conversation.id",
            "user_id": "user.id",
            "tenant_id": "customer.id",
        },
        "gen_ai.association.properties.",
    ),
    "openinference": ({"session_id": "session.id", "user_id": "user.id"}, ""),
    "langfuse": (
        {"session_id": "session.id", "user_id": "user.id"},
        "langfuse.trace.metadata.",
    ),
    "traceloop": (
        {"tenant_id": "traceloop.association.properties.customer_id"},
        "traceloop.association.properties.",
    ),
}


class AttributeNames:
    """
    A preset, or names of one's own per ID.

    Args:
        names: the name of a preset, or a mapping of IDs to attribute names;
            ``None`` in it leaves an ID off. An ID that neither knows is
            called as its spec says.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, or a name is empty.
    """

    __slots__ = ("_names", "_prefix")

    def __init__(self, names: Names) -> None:
        self._names: dict[str, str | None]
        if isinstance(names, str):
            if names not in _PRESETS:
                presets = ", ".join(_PRESETS)
                raise ValueError(f"no preset is called {names!r}: write one of {presets}")
            preset, self._prefix = _PRESETS[names]
            self._names = {**preset}
        else:
            self._names, self._prefix = _checked(names), ""

    def of(self, policy: Policy, name: str) -> str | None:
        """
        Return what the ID *name* is called, or ``None`` where it is left off.
        """
        if name in self._names:
            return self._names[name]
        if self._prefix:
            return f"{self._prefix}{name}"
        spec = policy.specs.get(name)
        return (spec.attribute if spec else None) or ".".join(name.rsplit("_", 1))

    def in_force(
        self, sink: Literal["log", "span"], *, without: Container[str] = ()
    ) -> dict[str, str]:
        """
        Return the attributes of what is bound here, as *sink* shows them.

        Args:
            sink: ``"log"`` or ``"span"``.
            without: IDs that are left off.
        """
        policy = current().policy
        attributes: dict[str, str] = {}
        for name, value in get_session_context().as_dict().items():
            attribute, text = self.of(policy, name), policy.shown(sink, name, value)
            if attribute is not None and text is not None and name not in without:
                attributes[attribute] = text
        return attributes


def _checked(names: Mapping[str, str | None]) -> dict[str, str | None]:
    if not isinstance(names, Mapping):
        raise TypeError(
            f"names is a preset or a mapping of IDs to attribute names, not {type(names).__name__}"
        )
    given: dict[str, object] = {**names}
    for name, attribute in given.items():
        if attribute is not None and not isinstance(attribute, str):
            raise TypeError(f"the name of {name} is a str or None, not {type(attribute).__name__}")
        if attribute == "":
            raise ValueError(f"the name of {name} is empty: write None to leave it off")
    return {"tenant_id" if name == "customer_id" else name: names[name] for name in names}

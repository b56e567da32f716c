"""
The names of the IDs on spans, on log records and in baggage.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Mapping
from typing import Any, Final, Literal, TypeAlias

from idlanyard import _failures
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.state import get_binding
from idlanyard._policy.checked_policy import CheckedPolicy, Declared
from idlanyard.integrations.custom import current_request

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
    "logfire": ({"session_id": "gen_ai.conversation.id"}, ""),
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
    The attribute name of each ID, by a preset or a mapping.

    Args:
        names: the name of a preset, or a mapping of IDs to attribute names, in
            which ``None`` omits an ID. An ID that is in neither has the name
            that its spec gives it.
        besides: second attributes for IDs that are not omitted.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """

    __slots__ = ("_besides", "_names", "_prefix", "_unknown")

    def __init__(self, names: Names, *, besides: Mapping[str, str] | None = None) -> None:
        self._besides = besides or {}
        self._unknown: tuple[str, ...] = ()
        self._names: dict[str, str | None]
        if isinstance(names, str):
            if names not in _PRESETS:
                presets = ", ".join(_PRESETS)
                raise ValueError(f"no preset is called {names!r}: write one of {presets}")
            preset, self._prefix = _PRESETS[names]
            self._names = {**preset}
        else:
            self._names, self._prefix = _check_names(names), ""
            # Not an error yet: the policy that declares it may be built later.
            self._unknown = tuple(name for name in self._names if name not in Declared.names)

    def of(self, policy: CheckedPolicy, name: str) -> str | None:
        """
        Return the attribute name of the ID *name*, or ``None`` if it is omitted.
        """
        if name in self._names:
            return self._names[name]
        if self._prefix:
            return f"{self._prefix}{name}"
        spec = policy.specs.get(name)
        return (spec.attribute if spec else None) or ".".join(name.rsplit("_", 1))

    def current_attributes(
        self, sink: Literal["log", "span"], *, without: Container[str] = ()
    ) -> dict[str, str]:
        """
        Return the current IDs as attributes, as *sink* may show them.

        Args:
            sink: ``"log"`` or ``"span"``.
            without: IDs that are omitted.
        """
        if self._unknown and current_request() is not None:
            self._warn_of_unknown()
        policy = get_binding().policy
        attributes: dict[str, str] = {}
        for name, value in get_session_context().as_dict().items():
            attribute, text = self.of(policy, name), policy.show(sink, name, value)
            if attribute is not None and text is not None and name not in without:
                attributes[attribute] = text
                if name in self._besides:
                    attributes[self._besides[name]] = text
        return attributes

    def _warn_of_unknown(self) -> None:
        """
        Log a warning for IDs that no policy declares; called when the policies are known.
        """
        unknown, self._unknown = self._unknown, ()
        for name in unknown:
            if name not in Declared.names:
                _failures.warn_once(
                    f"attribute of {name}",
                    "idlanyard: names=... of a span or log record processor has %s, which is no "
                    "declared ID: declare it in Policy(extra=[IDSpec(name=%r, header=...)])",
                    name,
                    name,
                )


def _check_names(names: Mapping[str, str | None]) -> dict[str, str | None]:
    if not isinstance(names, Mapping):
        raise TypeError(
            f"names is a preset or a mapping of IDs to attribute names, not {type(names).__name__}"
        )
    given: dict[Any, object] = {**names}
    for name, attribute in given.items():
        if not isinstance(name, str):
            raise TypeError(f"an ID is named by a str, not {type(name).__name__}")
        meant = _suggest_name(name)
        if meant is not None:
            raise ValueError(f"names has {name!r}, which is no declared ID: write {meant!r}")
        if attribute is not None and not isinstance(attribute, str):
            raise TypeError(f"the name of {name} is a str or None, not {type(attribute).__name__}")
        if attribute == "":
            raise ValueError(f"the name of {name} is empty: write None to leave it off")
    return {"tenant_id" if name == "customer_id" else name: names[name] for name in names}


def _suggest_name(name: str) -> str | None:
    """
    Return the ID that a misspelt name was probably to be, or ``None``.
    """
    known = {**dict.fromkeys(Declared.names), "customer_id": None}
    if name in known:
        return None
    plain = _letters_of(name).removesuffix("id")
    same = [one for one in known if _letters_of(one).removesuffix("id") == plain]
    close = same or difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    return close[0] if close else None


def _letters_of(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())

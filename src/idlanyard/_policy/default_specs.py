"""
The default specs: ``session_spec``, ``user_spec``, ``tenant_spec`` and ``request_spec``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Never, TypedDict, Unpack

from idlanyard import ids
from idlanyard._policy.header_names import find_plain_header_fault, fold_header
from idlanyard._policy.options import UnknownOption, options_of
from idlanyard._policy.sources import Source
from idlanyard._policy.spec import Echo, IDSpec, Sink, explain_unknown_rule

if TYPE_CHECKING:
    from idlanyard._policy.request import Request


_HEADERS: Final = {"x-session-id": "session", "x-user-id": "user", "x-tenant-id": "tenant"}


class IDSpecChanges(TypedDict, total=False):
    """
    The options of ``IDSpec`` that may differ from the defaults: all but the name.
    """

    header: str
    sources: Sequence[Source | str]
    accept: Literal["anyone", "proven"]
    required: bool
    on_invalid: Literal["drop", "reject"]
    mint: Callable[[], str] | None
    charset: Literal["default", "visible"] | re.Pattern[str]
    max_length: int
    signed: Sequence[str | bytes] | None
    cookie: str | None
    must_match: Callable[[str, Request], bool] | None
    echo: Echo
    forward: bool
    propagate: bool
    job: bool
    log: Sink
    span: Sink
    attribute: str | None
    baggage: bool


def suggest_header(option: str, header: object) -> str | None:
    """
    Return *header* if it may be the header of the ID that *option* is about, else ``None``.
    """
    if not isinstance(header, str) or find_plain_header_fault(header) is not None:
        return None
    owner = _HEADERS.get(fold_header(header), option)
    return header if owner == option else None


def session_spec(*misplaced: Never, **changes: Unpack[IDSpecChanges]) -> IDSpec:
    """
    Return the default rules of the session ID, with *changes*.

    Args:
        misplaced: nothing; every change is given by name.
        changes: options of ``IDSpec`` that differ from the defaults.

    Raises:
        PolicyError: a change is wrong; the message says what to write.
    """
    return _build_spec(
        "session_spec", misplaced, _correlation_defaults("session_id", "X-Session-ID"), changes
    )


def user_spec(*misplaced: Never, **changes: Unpack[IDSpecChanges]) -> IDSpec:
    """
    Return the default rules of the user ID, with *changes*.

    Args:
        misplaced: nothing; every change is given by name.
        changes: options of ``IDSpec`` that differ from the defaults.

    Raises:
        PolicyError: a change is wrong; the message says what to write.
    """
    defaults = {"name": "user_id", "header": "X-User-ID"}
    return _build_spec("user_spec", misplaced, defaults, changes)


def tenant_spec(*misplaced: Never, **changes: Unpack[IDSpecChanges]) -> IDSpec:
    """
    Return the default rules of the tenant ID, with *changes*.

    Args:
        misplaced: nothing; every change is given by name.
        changes: options of ``IDSpec`` that differ from the defaults.

    Raises:
        PolicyError: a change is wrong; the message says what to write.
    """
    defaults = {"name": "tenant_id", "header": "X-Tenant-ID", "attribute": "customer.id"}
    return _build_spec("tenant_spec", misplaced, defaults, changes)


def request_spec(
    *misplaced: Never, name: str = "request_id", **changes: Unpack[IDSpecChanges]
) -> IDSpec:
    """
    Return the rules of a request ID for ``Policy(extra=...)``, with *changes*.

    Args:
        misplaced: nothing; every change is given by name.
        name: another name for the ID, such as ``"correlation_id"``.
        changes: options of ``IDSpec`` that differ from the defaults.

    Raises:
        PolicyError: a change is wrong; the message says what to write.
    """
    return _build_spec(
        "request_spec", misplaced, _correlation_defaults(name, "X-Request-ID"), changes
    )


def _correlation_defaults(name: str, header: str) -> dict[str, Any]:
    return {"name": name, "header": header, "accept": "anyone", "mint": ids.token}


def _build_spec(
    helper: str, misplaced: tuple[object, ...], defaults: dict[str, Any], changes: IDSpecChanges
) -> IDSpec:
    given: dict[str, Any] = {**changes}
    names = [field.name for field in options_of(IDSpec)]
    for name in given:
        if name not in names:
            raise UnknownOption(explain_unknown_rule(helper, name, names), option=name)
    if given.get("name", defaults["name"]) != defaults["name"]:
        raise UnknownOption(
            f"{helper} is for {defaults['name']} alone: for another ID write "
            f"Policy(extra=[IDSpec(name='device_id', header='X-Device-ID')])",
            option="name",
        )
    if misplaced:
        header = misplaced[0]
        is_header = isinstance(header, str) and find_plain_header_fault(header) is None
        raise UnknownOption(
            f"{helper} takes its options by name only: "
            f"write {helper}(header={header if is_header else defaults['header']!r})"
        )
    return IDSpec(**(defaults | given))

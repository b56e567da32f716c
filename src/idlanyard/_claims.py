"""
The lines of a request sorted by header: one line is a value, more are none
(S3 to S5).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from idlanyard._field import Field
from idlanyard._plan import ALIAS, CONNECTION, HOP, OWN, SECRET, Plan

Pair: TypeAlias = tuple[Any, Any]
Claims: TypeAlias = dict[Any, Any]
"""
The value of each header that was found, by its own key: one line's, or a
``Malformed``; and under two keys of ours what else was found.
"""

HOPS: Final = "hops"
GONE: Final = "gone"
NO_CLAIMS: Final[Claims] = {}


class Malformed:
    """
    What stands for a header that is no value at all, and why.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


REPEATED: Final = Malformed("more than one value")
ALIASED: Final = Malformed("an alias stands beside it")
NOMINATED: Final = Malformed("nominated by Connection")

_STRANGE: Final = (None, CONNECTION, None)


def claims_of(plan: Plan, found: list[Pair]) -> tuple[Claims, tuple[Field, ...]]:
    """
    Sort the lines that were found by header: one line is a value, more are none (S4).

    Returns:
        The claims, and the IDs that a request with these claims may have.
    """
    claims: Claims = {}
    fields = plan.always
    lines, harmless = plan.lines, plan.harmless
    odd: list[Pair] = []
    for pair in found:
        spelling, value = pair
        key, kind, field = lines[spelling]
        if kind == OWN:
            claims[key] = value if key not in claims else REPEATED
            if field is not None and field not in fields:
                fields = (*fields, field)
        elif kind != CONNECTION or value not in harmless:
            odd.append(pair)
    return (claims, fields) if not odd else (claims, _sort_out(plan, claims, fields, odd))


def _sort_out(
    plan: Plan, claims: Claims, fields: tuple[Field, ...], odd: list[Pair]
) -> tuple[Field, ...]:
    gone = claims[GONE] = []
    nominated: list[str] = []
    for spelling, value in odd:
        key, kind, _ = plan.lines[spelling]
        if kind == HOP:
            claims.setdefault(HOPS, []).append(plan.decode(value))
        elif kind == CONNECTION:
            nominated += plan.decode(value).split(",")
        else:
            gone.append(key)
            if kind == ALIAS and key in claims:
                claims[key] = ALIASED
            elif kind == SECRET:
                claims[key] = value if key not in claims else REPEATED
    # Last, since a header that is nominated is absent whatever it says (S5).
    for name in nominated:
        key, kind, field = plan.lines.get(plan.wire.key(name.strip()), _STRANGE)
        if kind in (OWN, ALIAS, SECRET):
            claims[key] = NOMINATED
            gone.append(key)
            if field is not None and field not in fields:
                fields = (*fields, field)
    return fields

"""
The lines of a request sorted by header: one line is a value, more are none
(S3 to S5).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from idlanyard._plan import ALIAS, CONNECTION, HOP, OWN, Plan

Pair: TypeAlias = tuple[Any, Any]
Claims: TypeAlias = dict[Any, Any]
"""
The value of each header that was found, by its own key: one line's, or a
``Malformed``; and under two keys of ours what else was found.
"""

STRIP: Final = "strip"
HOPS: Final = "hops"
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


def claims_of(plan: Plan, found: list[Pair]) -> Claims:
    """
    Sort the lines that were found by header: one line is a value, more are none (S4).
    """
    claims: Claims = {}
    odd: list[tuple[int, Any, Any]] = []
    lines = plan.lines
    for spelling, value in found:
        key, kind = lines[spelling]
        if kind == OWN:
            claims[key] = value if key not in claims else REPEATED
        elif kind != CONNECTION or value not in plan.harmless:
            odd.append((kind, key, value))
    if odd or plan.secret_key in claims:
        _sort_out(plan, claims, odd)
    return claims


def _sort_out(plan: Plan, claims: Claims, odd: list[tuple[int, Any, Any]]) -> None:
    if plan.secret_key in claims:
        claims[STRIP] = True
    for kind, key, value in odd:
        if kind == ALIAS:
            claims[STRIP] = True
            if key in claims:
                claims[key] = ALIASED
        elif kind == HOP:
            claims.setdefault(HOPS, []).append(plan.decode(value))
    # Last, since a header that is nominated is absent whatever it says (S5).
    for kind, _, value in odd:
        if kind == CONNECTION:
            for name in plan.decode(value).split(","):
                key, role = plan.lines.get(plan.wire.key(name.strip()), (None, CONNECTION))
                if role in (OWN, ALIAS):
                    claims[key] = NOMINATED
                    claims[STRIP] = True

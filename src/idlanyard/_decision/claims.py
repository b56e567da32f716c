"""
The lines of a request sorted by header: one line is a value, more are none
(S3 to S5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from idlanyard._decision.plan import ALIAS, CONNECTION, HOP, OWN, SECRET, Field, Plan
from idlanyard._policy.peers import LONGEST_LIST

Pair: TypeAlias = tuple[Any, Any]
Claims: TypeAlias = dict[Any, Any]
"""
The value of each header that was found, by its own key: one line's, or a
``Malformed``; and under three keys of ours the lines of forwarding headers, the
keys of the headers that leave the request, and of those that had an alias.
"""

HOPS: Final = "hops"
GONE: Final = "gone"
ALIASES: Final = "aliases"


class Malformed:
    """
    What stands for a header that is no value at all, and why.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


REPEATED: Final = Malformed("more than one value")
ALIASED: Final = Malformed("an alias stands beside it")
NOMINATED: Final = Malformed("named by Connection")
LONE_ALIAS: Final = "only an alias of the header is there"

_STRANGE: Final = (None, CONNECTION, None)


def claims_of(plan: Plan, found: list[Pair]) -> tuple[Claims, tuple[Field, ...]]:
    """
    Sort the lines that were found by header: one line is a value, more are none (S4).

    Returns:
        The claims, and the IDs that a request with these claims may have.
    """
    claims: Claims = {}
    fields = dict.fromkeys(plan.always)
    nominated: list[str] = []
    aliases: set[Any] = set()
    for spelling, value in found:
        key, kind, field = plan.lines[spelling]
        if field is not None:
            fields[field] = None
        if kind == HOP:
            claims.setdefault(HOPS, []).append((key, value))
        elif kind == CONNECTION:
            nominated.append(plan.decode(value))
        elif kind == ALIAS:
            aliases.add(key)
        else:
            claims[key] = value if key not in claims else REPEATED
            if key in plan.hop_keys:
                claims.setdefault(HOPS, []).append((key, value))
    claims.update(dict.fromkeys(aliases & claims.keys(), ALIASED))
    claims[ALIASES], claims[GONE] = aliases, aliases.copy()
    if plan.secret_key in claims:
        claims[GONE].add(plan.secret_key)
    # Last, since a header that is nominated is absent whatever it says (S5).
    for key, kind, field in _named(plan, nominated):
        if kind in (OWN, ALIAS, SECRET):
            claims[key] = NOMINATED
            claims[GONE].add(key)
            if field is not None:
                fields[field] = None
    claims[GONE] -= plan.owned
    return claims, tuple(fields)


def _named(plan: Plan, lines: list[str]) -> Iterable[tuple[Any, int, Field | None]]:
    """
    Return the headers that Connection names; every one where its lines are over 8,192 characters.
    """
    if sum(map(len, lines)) > LONGEST_LIST:
        return plan.lines.values()
    names = (name.strip() for line in lines for name in line.split(","))
    return [plan.lines.get(plan.wire.key(name), _STRANGE) for name in names]

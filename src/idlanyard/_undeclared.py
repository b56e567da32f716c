"""
What to write in the place of an ID's name that no rule declares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast

from idlanyard._defaults import request_spec
from idlanyard._spec import IDSpec
from idlanyard.exceptions import PolicyError

_STANDARD: Final = 3


def say_undeclared(name: str, names: Sequence[str]) -> str:
    """
    Return a sentence that says what to write instead of *name*.

    Args:
        name: what was asked for.
        names: the IDs that are declared, the three that every policy has first.
    """
    if not isinstance(cast("object", name), str):
        return f"an ID is named by text, not {type(name).__name__}: write 'user_id'"
    said = f"{name!r} is not a declared ID ({', '.join(names)})"
    meant = _meant(name, [*names, "customer_id"])
    if meant is not None:
        return f"{said}: write {meant}"
    spec = _spec_for(name)
    if spec is None:
        return f"{said}, and no ID may be called so: write lower-case, as in 'device_id'"
    if len(names) > _STANDARD:
        return f"{said}: add {spec} to the extra=[...] of your policy"
    return (
        f"{said}: write use_policy(Policy(extra=[{spec}])), and for requests give that policy to "
        f"the middleware"
    )


def _meant(name: str, names: list[str]) -> str | None:
    """
    Return the declared ID that is spelled otherwise or lacks its ending, if there is one.
    """
    from difflib import get_close_matches

    plain = {_plain(declared): declared for declared in names}
    for spelled in (_plain(name), _plain(name) + "id"):
        if spelled in plain:
            return plain[spelled]
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.75)
    return close[0] if close else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _spec_for(name: str) -> str | None:
    """
    Return how the ID is declared, or ``None`` where no ID can have this name.
    """
    if _plain(name) in ("request", "requestid"):
        return f"{request_spec.__name__}()"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()
    words = ("ID" if word == "id" else word.capitalize() for word in snake.split("_"))
    header = "-".join(["X", *words])
    if not name.isascii():
        return None
    try:
        IDSpec(name=snake, header=header)
    except PolicyError:
        return None
    return f"IDSpec(name={snake!r}, header={header!r})"

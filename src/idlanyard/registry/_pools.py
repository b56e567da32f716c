"""
The pool of connections that a store has to its server: how many, and how long to wait for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from idlanyard.exceptions import PolicyError

_SIZE: Final = 10
_MOST: Final = 10_000
_NAMES: Final = ("pool_size", "pool_max", "pool_wait")


class Pool(NamedTuple):
    """
    The bounds of a pool of connections, in each process that uses the registry.

    Attributes:
        size: how many connections stay open when nobody uses them.
        most: how many may be open at once.
        wait: the most seconds to wait for a free one; part of the timeout.
    """

    size: int
    most: int
    wait: float


def split_pool(url: str) -> tuple[str, dict[str, str]]:
    """
    Return a URL without the pool's options, and those options.

    Raises:
        PolicyError: one of them is there twice.
    """
    start, mark, query = url.partition("?")
    rest: list[str] = []
    asked: dict[str, str] = {}
    for part in query.split("&") if mark else ():
        name = part.partition("=")[0]
        if name not in _NAMES:
            rest.append(part)
            continue
        if name in asked:
            raise PolicyError.about(name, "is in the URL twice: write it once")
        asked[name] = dict(parse_qsl(part, keep_blank_values=True)).get(name, "")
    if not asked:
        return url, asked
    return (f"{start}?{'&'.join(rest)}" if rest else start), asked


def pool_of(asked: Mapping[str, str], given: Mapping[str, object], *, timeout: float) -> Pool:
    """
    Return the pool that a URL and options ask for.

    Args:
        asked: what the URL says.
        given: what the options say; ``None`` is nothing.
        timeout: the registry's, in seconds.

    Raises:
        PolicyError: one cannot be followed, or is said in both places.
    """
    said: dict[str, object] = dict(asked)
    for name, value in given.items():
        if value is not None:
            if name in said:
                raise PolicyError.about(name, "is in the URL too: write it in one place")
            said[name] = value
    most = said.get("pool_max")
    size = said.get("pool_size")
    checked_most = None if most is None else _whole("pool_max", most)
    checked_size = _SIZE if size is None else _whole("pool_size", size)
    if checked_most is None:
        checked_most = max(checked_size, _SIZE)
    elif size is None:
        checked_size = min(checked_size, checked_most)
    if checked_size > checked_most:
        raise PolicyError.about(
            "pool_size", f"is more than pool_max: write pool_max={checked_size}", checked_size
        )
    return Pool(checked_size, checked_most, _seconds(said.get("pool_wait", timeout), timeout))


def refuse_pool(store: str, asked: Mapping[str, str], given: Mapping[str, object]) -> None:
    """
    Refuse a pool's options where there is no pool.

    Raises:
        PolicyError: one of them is said.
    """
    for name in _NAMES:
        if name in asked or given.get(name) is not None:
            raise PolicyError.about(
                name, f"is for servers, and {store}:// has no pool of connections: leave it out"
            )


def _whole(name: str, value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise PolicyError.about(
            name, f"is a number of connections, 1 to {_MOST}: write {_SIZE}", value
        )
    return value


def _seconds(value: object, timeout: float) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= timeout:
        raise PolicyError.about(
            "pool_wait",
            f"is a number of seconds, at most the timeout: write {timeout}",
            value,
        )
    return float(value)

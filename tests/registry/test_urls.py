"""
The bounds of a pool, as options and in a URL.
"""

from __future__ import annotations

from typing import Any

import pytest

from idlanyard import PolicyError
from idlanyard.registry import AsyncSessionRegistry, SessionRegistry
from idlanyard.registry._urls import Pool, make_pool, split_pool


@pytest.mark.parametrize(
    ("url", "rest", "asked"),
    [
        pytest.param("redis://h/0", "redis://h/0", {}, id="nothing"),
        pytest.param("redis://h/0?db=1", "redis://h/0?db=1", {}, id="others"),
        pytest.param("redis://h?pool_size=3", "redis://h", {"pool_size": "3"}, id="alone"),
        pytest.param(
            "postgresql://h/d?sslmode=require&pool_max=20&pool_wait=0.5&options=",
            "postgresql://h/d?sslmode=require&options=",
            {"pool_max": "20", "pool_wait": "0.5"},
            id="between others",
        ),
    ],
)
def test_a_url_may_bound_the_pool(url: str, rest: str, asked: dict[str, str]) -> None:
    """
    The pool's options leave the URL, and the others stay as they are written.
    """
    assert split_pool(url) == (rest, asked)


@pytest.mark.parametrize(
    ("asked", "given", "pool"),
    [
        pytest.param({}, {}, Pool(10, 10, 5.0), id="nothing"),
        pytest.param({"pool_size": "3"}, {}, Pool(3, 10, 5.0), id="size"),
        pytest.param({"pool_size": "30"}, {}, Pool(30, 30, 5.0), id="a large size"),
        pytest.param({}, {"pool_max": 4}, Pool(4, 4, 5.0), id="a small maximum"),
        pytest.param({}, {"pool_max": 40}, Pool(10, 40, 5.0), id="a large maximum"),
        pytest.param(
            {"pool_size": "2"}, {"pool_max": 3, "pool_wait": None}, Pool(2, 3, 5.0), id="both"
        ),
        pytest.param({"pool_wait": "0.5"}, {}, Pool(10, 10, 0.5), id="wait"),
        pytest.param({}, {"pool_wait": 5}, Pool(10, 10, 5.0), id="wait as long as it may"),
    ],
)
def test_what_is_left_out_follows(
    asked: dict[str, str], given: dict[str, object], pool: Pool
) -> None:
    """
    The default is ten connections, or as many as the other bound asks for.
    """
    assert make_pool(asked, given, timeout=5.0) == pool


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"pool_size": 0}, "pool_size is a number of connections", id="none"),
        pytest.param({"pool_size": True}, "pool_size is a number", id="a bool"),
        pytest.param({"pool_max": 1.5}, "pool_max is a number", id="a fraction"),
        pytest.param({"pool_max": 10_001}, "1 to 10000: write 10", id="too many"),
        pytest.param({"pool_size": 5, "pool_max": 4}, "write pool_max=5", id="the wrong way"),
        pytest.param({"pool_wait": 0}, "pool_wait is a number of seconds", id="no wait"),
        pytest.param({"pool_wait": 6.0}, "at most the timeout: write 5.0", id="a long wait"),
        pytest.param({"pool_wait": True}, "pool_wait is a number", id="a bool to wait"),
    ],
)
def test_bounds_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    """
    A setting that cannot be followed is refused when the registry is opened, saying what to write.
    """
    for registry in (SessionRegistry, AsyncSessionRegistry):
        with pytest.raises(PolicyError, match=message):
            registry.open("redis://localhost", **options)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("redis://h?pool_size=x", "pool_size is a number", id="no number"),
        pytest.param("redis://h?pool_size=\u0663", "pool_size is a number", id="other digits"),
        pytest.param("redis://h?pool_size=", "pool_size is a number", id="empty"),
        pytest.param("redis://h?pool_wait=soon", "pool_wait is a number", id="no seconds"),
        pytest.param("redis://h?pool_wait=nan", "pool_wait is a number", id="not a number"),
        pytest.param("redis://h?pool_max=1&pool_max=2", "in the URL twice", id="twice"),
        pytest.param("sqlite:///a.db?pool_size=1", "no pool of connections", id="sqlite"),
        pytest.param("memory://?pool_max=1", "no pool of connections", id="memory"),
    ],
)
def test_a_url_that_bounds_nothing_is_refused(url: str, message: str) -> None:
    """
    A wrong bound in a URL, or a bound where there is no pool, is refused.
    """
    with pytest.raises(PolicyError, match=message):
        SessionRegistry.open(url)


def test_a_bound_is_said_in_one_place() -> None:
    """
    An option that the URL has too is refused, whichever of them would win.
    """
    with pytest.raises(PolicyError, match="write it in one place"):
        SessionRegistry.open("redis://h?pool_size=3", pool_size=3)


def test_a_store_without_a_pool_takes_no_bounds() -> None:
    """
    A file has no pool of connections, and its registry says so.
    """
    with pytest.raises(PolicyError, match="pool_wait is for servers"):
        SessionRegistry.open("sqlite:///sessions.db", pool_wait=1.0)

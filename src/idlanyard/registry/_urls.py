"""
Open the store that a URL names, with the options of its connection pool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from idlanyard.exceptions import PolicyError
from idlanyard.registry._exceptions import MissingExtra
from idlanyard.registry._outages import Outages

_POOL_SIZE: Final = 10
_MOST_CONNECTIONS: Final = 10_000
_POOL_OPTIONS: Final = ("pool_size", "pool_max", "pool_wait")


class _Backend(NamedTuple):
    """
    The backend of a scheme.

    Attributes:
        module: its module or package in ``idlanyard.registry``.
        extra: the extra that it needs.
        name: the kind of store, for messages and events.
        has_pool: whether it is a server with a pool of connections.
    """

    module: str
    extra: str | None
    name: str
    has_pool: bool


_POSTGRESQL: Final = _Backend("_postgresql", "postgres", "postgresql", has_pool=True)
_REDIS: Final = _Backend("_redis", "redis", "redis", has_pool=True)
_BACKENDS: Final[dict[str, _Backend]] = {
    "memory": _Backend("_memory", None, "memory", has_pool=False),
    "sqlite": _Backend("_sqlite", None, "sqlite", has_pool=False),
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "redis": _REDIS,
    "rediss": _REDIS,
    "valkey": _REDIS,
    "valkeys": _REDIS,
    "unix": _REDIS,
    "redis+unix": _REDIS,
    "valkey+unix": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
    "valkey+sentinel": _REDIS,
    "valkeys+sentinel": _REDIS,
}
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):")
_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Pool(NamedTuple):
    """
    The limits of a connection pool, in each process that uses the registry.

    Attributes:
        size: how many idle connections stay open.
        most: how many connections may be open at once.
        wait: the most seconds to wait for a free connection; part of the timeout.
    """

    size: int
    most: int
    wait: float


class Opened(NamedTuple):
    """
    A store that is not connected yet.

    Attributes:
        store: a ``Store`` or, if asked for, an ``AsyncStore``.
        outages: its outages.
        name: the kind of store.
    """

    store: Any
    outages: Outages
    name: str


def open_store(
    url: object,
    *,
    timeout: object = 5.0,
    namespace: object = "idlanyard",
    is_async: bool = False,
    **pool: object,
) -> Opened:
    """
    Return the store that a URL names. It connects when the first question is asked.

    Args:
        url: the URL, with or without pool options in its query.
        timeout: the most seconds that one question may take.
        namespace: the prefix of its tables and keys.
        is_async: whether to return an ``AsyncStore``.
        pool: pool options that are not in the URL.

    Raises:
        PolicyError: an option is not valid.
        MissingExtra: the library of this scheme is not installed.
    """
    scheme, backend, module = _find_backend(url)
    seconds = _check_timeout(timeout)
    options: dict[str, Any] = {"timeout": seconds, "namespace": _check_namespace(namespace)}
    rest, in_url = split_pool(str(url))
    if backend.has_pool:
        options["pool"] = make_pool(in_url, pool, timeout=seconds)
    else:
        _refuse_pool(backend.name, in_url, pool)
    make = module.async_store if is_async else module.store
    outages = Outages(backend.name, timeout=seconds, remembers=backend.has_pool)
    return Opened(make(rest, scheme=scheme, **options), outages, backend.name)


def split_pool(url: str) -> tuple[str, dict[str, str]]:
    """
    Return a URL without its pool options, and those options.

    Raises:
        PolicyError: the URL has an option twice.
    """
    start, mark, query = url.partition("?")
    rest: list[str] = []
    options: dict[str, str] = {}
    for part in query.split("&") if mark else ():
        name = part.partition("=")[0]
        if name not in _POOL_OPTIONS:
            rest.append(part)
            continue
        if name in options:
            raise PolicyError.about(name, "is in the URL twice: write it once")
        options[name] = dict(parse_qsl(part, keep_blank_values=True)).get(name, "")
    if not options:
        return url, options
    return (f"{start}?{'&'.join(rest)}" if rest else start), options


def make_pool(in_url: Mapping[str, str], given: Mapping[str, object], *, timeout: float) -> Pool:
    """
    Return the pool that options describe.

    Args:
        in_url: the options in the URL.
        given: the options given as arguments; ``None`` means left out.
        timeout: the timeout of the registry, in seconds.

    Raises:
        PolicyError: an option is not valid, or is given in both places.
    """
    options: dict[str, object] = dict(in_url)
    for name, value in given.items():
        if value is not None:
            if name in options:
                raise PolicyError.about(name, "is in the URL too: write it in one place")
            options[name] = value
    most = options.get("pool_max")
    size = options.get("pool_size")
    checked_most = None if most is None else _check_connections("pool_max", most)
    checked_size = _POOL_SIZE if size is None else _check_connections("pool_size", size)
    if checked_most is None:
        checked_most = max(checked_size, _POOL_SIZE)
    elif size is None:
        checked_size = min(checked_size, checked_most)
    if checked_size > checked_most:
        raise PolicyError.about(
            "pool_size", f"is more than pool_max: write pool_max={checked_size}", checked_size
        )
    wait = _check_wait(options.get("pool_wait", timeout), timeout)
    return Pool(checked_size, checked_most, wait)


def _find_backend(url: object) -> tuple[str, _Backend, ModuleType]:
    """
    Return the scheme of a URL, its backend, and the backend's module.

    Raises:
        PolicyError: the URL has no known scheme. The message has no other
            part of the URL, which may hold a password.
        MissingExtra: the library of this scheme is not installed.
    """
    if not isinstance(url, str):
        raise PolicyError.about("url", f"is text, as 'sqlite:///sessions.db', not {type(url)}")
    match = _SCHEME.match(url)
    scheme = match[1] if match else ""
    if scheme not in _BACKENDS:
        known = ", ".join(f"{name}://" for name in _BACKENDS)
        raise PolicyError.about("url", f"begins with one of {known}", scheme)
    backend = _BACKENDS[scheme]
    try:
        return scheme, backend, import_module(f"idlanyard.registry.{backend.module}")
    except ImportError as error:
        if backend.extra is None:
            raise
        raise MissingExtra(scheme, backend.extra) from error


def _refuse_pool(store: str, in_url: Mapping[str, str], given: Mapping[str, object]) -> None:
    """
    Refuse pool options for a store that has no pool.
    """
    for name in _POOL_OPTIONS:
        if name in in_url or given.get(name) is not None:
            raise PolicyError.about(
                name, f"is for servers, and {store}:// has no pool of connections: leave it out"
            )


def _check_timeout(timeout: object) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 600:
        raise PolicyError.about("timeout", "is a number of seconds, up to 600: write 5.0", timeout)
    return float(timeout)


def _check_namespace(namespace: object) -> str:
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise PolicyError.about(
            "namespace", "is 1 to 40 of a-z 0-9 _, a letter first: write 'idlanyard'", namespace
        )
    return namespace


def _check_connections(name: str, value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_CONNECTIONS:
        raise PolicyError.about(
            name,
            f"is a number of connections, 1 to {_MOST_CONNECTIONS}: write {_POOL_SIZE}",
            value,
        )
    return value


def _check_wait(value: object, timeout: float) -> float:
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

"""
From a URL to a store: which module keeps it, and which extra that needs.
"""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple

from idlanyard.exceptions import PolicyError
from idlanyard.registry._exceptions import MissingExtra
from idlanyard.registry._outages import Outages
from idlanyard.registry._pools import pool_of, refuse_pool, split_pool


class _Home(NamedTuple):
    """
    Where the sessions of a scheme are kept.

    Attributes:
        module: the package or module of this one that keeps them.
        extra: the extra that the module needs.
        name: how the kind of store is called.
        is_remote: whether it is a server, with a pool of connections to it.
    """

    module: str
    extra: str | None
    name: str
    is_remote: bool


_POSTGRESQL: Final = _Home("_postgresql", "postgres", "postgresql", is_remote=True)
_REDIS: Final = _Home("_redis", "redis", "redis", is_remote=True)
_HOMES: Final[dict[str, _Home]] = {
    "memory": _Home("_memory", None, "memory", is_remote=False),
    "sqlite": _Home("_sqlite", None, "sqlite", is_remote=False),
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


class Opened(NamedTuple):
    """
    A store that a URL names, not connected yet.

    Attributes:
        store: a ``Store``, or an ``AsyncStore`` where that was asked for.
        outages: what is known of its outages.
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
    Return the store that a URL names; it connects when it is first asked.

    Args:
        url: the URL; ``pool_size``, ``pool_max`` and ``pool_wait`` may be in its query.
        timeout: the most seconds that one question may take.
        namespace: what its tables and keys begin with.
        is_async: whether its methods are to be awaited.
        pool: the options of the pool, where they are not in the URL.

    Raises:
        PolicyError: an option cannot be followed.
        MissingExtra: the library behind the scheme is not installed.
    """
    scheme, home, module = _home_of(url)
    seconds = _checked_timeout(timeout)
    options: dict[str, Any] = {"timeout": seconds, "namespace": _checked_namespace(namespace)}
    rest, asked = split_pool(str(url))
    if home.is_remote:
        options["pool"] = pool_of(asked, pool, timeout=seconds)
    else:
        refuse_pool(home.name, asked, pool)
    make = module.async_store if is_async else module.store
    outages = Outages(home.name, timeout=seconds, remembers=home.is_remote)
    return Opened(make(rest, scheme=scheme, **options), outages, home.name)


def _home_of(url: object) -> tuple[str, _Home, ModuleType]:
    """
    Return the scheme of a URL, and where its sessions are kept.

    Raises:
        PolicyError: it is no URL, or its scheme is not known; the message
            has nothing else of it, since it may have a password.
        MissingExtra: the library behind it is not installed.
    """
    if not isinstance(url, str):
        raise PolicyError.about("url", f"is text, as 'sqlite:///sessions.db', not {type(url)}")
    match = _SCHEME.match(url)
    scheme = match[1] if match else ""
    if scheme not in _HOMES:
        known = ", ".join(f"{name}://" for name in _HOMES)
        raise PolicyError.about("url", f"begins with one of {known}", scheme)
    home = _HOMES[scheme]
    try:
        return scheme, home, import_module(f"idlanyard.registry.{home.module}")
    except ImportError as error:
        if home.extra is None:
            raise
        raise MissingExtra(scheme, home.extra) from error


def _checked_timeout(timeout: object) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 600:
        raise PolicyError.about("timeout", "is a number of seconds, up to 600: write 5.0", timeout)
    return float(timeout)


def _checked_namespace(namespace: object) -> str:
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise PolicyError.about(
            "namespace", "is 1 to 40 of a-z 0-9 _, a letter first: write 'idlanyard'", namespace
        )
    return namespace

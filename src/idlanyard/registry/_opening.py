"""
From a URL to a store: which module keeps it, and which extra that needs.
"""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from idlanyard.exceptions import PolicyError
from idlanyard.registry._exceptions import MissingExtra

_HOMES: Final[dict[str, tuple[str, str | None]]] = {
    "memory": ("_memory", None),
    "sqlite": ("_sqlite", None),
    "postgresql": ("_postgresql", "postgres"),
    "redis": ("_redis", "redis"),
    "rediss": ("_redis", "redis"),
}
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):")
_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def home_of(url: object) -> tuple[str, ModuleType]:
    """
    Return the scheme of a URL and the module whose stores keep it.

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
    module, extra = _HOMES[scheme]
    try:
        return scheme, import_module(f"idlanyard.registry.{module}")
    except ImportError as error:
        if extra is None:
            raise
        raise MissingExtra(scheme, extra) from error


def checked(*, timeout: object, namespace: object) -> dict[str, Any]:
    """
    Return the options of a store.

    Raises:
        PolicyError: one cannot be followed.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 600:
        raise PolicyError.about("timeout", "is a number of seconds, up to 600: write 5.0", timeout)
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise PolicyError.about(
            "namespace", "is 1 to 40 of a-z 0-9 _, a letter first: write 'idlanyard'", namespace
        )
    return {"timeout": float(timeout), "namespace": namespace}

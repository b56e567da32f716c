"""
``sqlite:///sessions.db``: one file, for all processes of one machine, by the standard library.
"""

from __future__ import annotations

from idlanyard.registry._sqlite._address import path_of, refuse_old, refuse_reserved
from idlanyard.registry._sqlite._store import SQLiteStore
from idlanyard.registry._sqlite._threaded import ThreadedStore

__all__ = ["async_store", "store"]


def store(url: str, *, timeout: float, namespace: str, **_: object) -> SQLiteStore:
    """
    Return the store of a file.

    Raises:
        PolicyError: the URL names no file, or the namespace no table.
    """
    refuse_old()
    refuse_reserved(namespace)
    return SQLiteStore(path_of(url), timeout=timeout, namespace=namespace)


def async_store(url: str, *, timeout: float, namespace: str, **_: object) -> ThreadedStore:
    """
    Return the same for an event loop.

    Raises:
        PolicyError: the URL names no file, or the namespace no table.
    """
    return ThreadedStore(store(url, timeout=timeout, namespace=namespace), timeout=timeout)

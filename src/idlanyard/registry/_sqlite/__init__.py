"""
``sqlite:///sessions.db``: one file for all processes of a machine, by the standard library.
"""

from __future__ import annotations

from idlanyard.registry._sqlite._async import AsyncSQLiteStore
from idlanyard.registry._sqlite._sync import SQLiteStore
from idlanyard.registry._sqlite._url import check_namespace, check_version, parse_path

__all__ = ["async_store", "store"]


def store(url: str, *, timeout: float, namespace: str, **_: object) -> SQLiteStore:
    """
    Return the store of a file.

    Raises:
        PolicyError: the URL names no file, or the namespace no table.
    """
    check_version()
    check_namespace(namespace)
    return SQLiteStore(parse_path(url), timeout=timeout, namespace=namespace)


def async_store(url: str, *, timeout: float, namespace: str, **_: object) -> AsyncSQLiteStore:
    """
    Return the store of a file for an event loop.

    Raises:
        PolicyError: the URL names no file, or the namespace no table.
    """
    return AsyncSQLiteStore(store(url, timeout=timeout, namespace=namespace), timeout=timeout)

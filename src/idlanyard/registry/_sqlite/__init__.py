"""
``sqlite:///sessions.db``: one file, for all processes of one machine, by the standard library.
"""

from __future__ import annotations

from idlanyard.registry._sqlite._store import async_store, store

__all__ = ["async_store", "store"]

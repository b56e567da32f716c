"""
``postgresql://``: SQLAlchemy Core and psycopg 3, for threads and for event loops.
"""

from __future__ import annotations

from idlanyard.registry._postgresql._async import async_store
from idlanyard.registry._postgresql._sync import store

__all__ = ["async_store", "store"]

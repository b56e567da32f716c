"""
A registry of sessions: unique custom IDs, metadata and expiry, shared by all processes.
"""

from __future__ import annotations

from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._checks import strict
from idlanyard.registry._exceptions import (
    IdempotencyMismatch,
    MissingExtra,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
)
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._registry import SessionRegistry

__all__ = [
    "AsyncSessionRegistry",
    "IdempotencyMismatch",
    "MissingExtra",
    "RegistryMisconfigured",
    "RegistryUnavailable",
    "SessionExists",
    "SessionNotFound",
    "SessionRecord",
    "SessionRegistry",
    "strict",
]

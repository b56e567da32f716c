"""
FastAPI: ``install(app)``, and IDs as annotated parameters of an endpoint.
"""

from __future__ import annotations

from idlanyard.integrations.fastapi._install import install
from idlanyard.integrations.fastapi._parameters import (
    CurrentContext,
    RequiredSessionID,
    RequiredTenantID,
    RequiredUserID,
    SessionID,
    TenantID,
    UserID,
)
from idlanyard.integrations.fastapi._users import identified

__all__ = [
    "CurrentContext",
    "RequiredSessionID",
    "RequiredTenantID",
    "RequiredUserID",
    "SessionID",
    "TenantID",
    "UserID",
    "identified",
    "install",
]

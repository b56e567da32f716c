"""
The default rules of the IDs that everybody has, each with room for changes.
"""

from __future__ import annotations

from typing import Any

from idlanyard import ids
from idlanyard._spec import IDSpec


def session_spec(**changes: Any) -> IDSpec:
    """
    Return the default rules of the session ID, with *changes*.
    """
    return IDSpec(**(_correlation("session_id", "X-Session-ID") | changes))


def user_spec(**changes: Any) -> IDSpec:
    """
    Return the default rules of the user ID, with *changes*.
    """
    defaults: dict[str, Any] = {"name": "user_id", "header": "X-User-ID"}
    return IDSpec(**(defaults | changes))


def tenant_spec(**changes: Any) -> IDSpec:
    """
    Return the default rules of the tenant ID, with *changes*.
    """
    defaults: dict[str, Any] = {
        "name": "tenant_id",
        "header": "X-Tenant-ID",
        "attribute": "customer.id",
    }
    return IDSpec(**(defaults | changes))


def request_spec(**changes: Any) -> IDSpec:
    """
    Return the rules of a request ID for ``Policy(extra=...)``, with *changes*.
    """
    return IDSpec(**(_correlation("request_id", "X-Request-ID") | changes))


def _correlation(name: str, header: str) -> dict[str, Any]:
    return {"name": name, "header": header, "accept": "anyone", "mint": ids.token}

"""
The IDs as annotated parameters, documented by their headers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Header, HTTPException, WebSocketException
from fastapi.requests import HTTPConnection

from idlanyard import _failures
from idlanyard._binding.reading import get_id, get_session_context, require
from idlanyard._binding.snapshot import SessionContext
from idlanyard._binding.state import RequestContext, RequestIDs, get_binding
from idlanyard._decision.resolve import Refusal
from idlanyard._decision.response import build_problem
from idlanyard.exceptions import MissingID, UntrustedID
from idlanyard.integrations.custom import is_bound

MARK: Final = "x-idlanyard"
_POLICY_VIOLATION: Final = 1008
_HEADERS: Final = {
    "session_id": ("X-Session-ID", "The session; minted where it is absent."),
    "user_id": ("X-User-ID", "The user; believed from a trusted proxy only."),
    "tenant_id": ("X-Tenant-ID", "The tenant; believed from a trusted proxy only."),
}


class RefusedID(HTTPException):
    """
    An endpoint asked for an ID that the request does not have.

    Attributes:
        refusal: status, field and reason.
    """

    def __init__(self, refusal: Refusal) -> None:
        _, headers, _ = build_problem(refusal)
        # Without ``install`` FastAPI writes a body of its own, of another length.
        del headers["Content-Length"]
        super().__init__(refusal.status, f"{refusal.field}: {refusal.reason}", headers)
        self.refusal = refusal


def _documented(name: str) -> Any:
    header, meaning = _HEADERS[name]
    return Header(None, alias=header, description=meaning, json_schema_extra={MARK: name})


# The headers are parameters for the schema's sake: what is in force may come from elsewhere.
def _reading(name: str) -> Callable[..., Awaitable[str | None]]:
    async def read(header: str | None = _documented(name)) -> str | None:
        warn_of_no_request(name)
        return get_id(name)

    return read


def _requiring(name: str, *, proven: bool | None = None) -> Callable[..., Awaitable[str]]:
    async def read(connection: HTTPConnection, header: str | None = _documented(name)) -> str:
        warn_of_no_request(name)
        refusal = _missing(name, proven=proven)
        if refusal is None:
            return str(get_id(name))
        offered: Any = connection.scope.get("extensions") or ()
        if connection.scope["type"] == "websocket" and "websocket.http.response" not in offered:
            raise WebSocketException(_POLICY_VIOLATION)
        raise RefusedID(refusal)

    return read


async def _context(
    session: str | None = _documented("session_id"),
    user: str | None = _documented("user_id"),
    tenant: str | None = _documented("tenant_id"),
) -> SessionContext:
    warn_of_no_request("CurrentContext")
    binding = get_binding()
    return RequestContext(binding) if isinstance(binding, RequestIDs) else get_session_context()


def warn_of_no_request(asked: str) -> None:
    """
    Warn once of an endpoint that asks for IDs where no middleware has bound any.

    Args:
        asked: what the endpoint asks for.
    """
    if not is_bound():
        _failures.warn_once(
            "parameters without a request",
            "idlanyard: an endpoint asks for %s in a request that has no IDs: call "
            "idlanyard.integrations.fastapi.install(app) for the application that serves it, "
            "or take its path out of exclude",
            asked,
        )


def _missing(name: str, *, proven: bool | None) -> Refusal | None:
    """
    Return why an ID may not be had, or ``None`` where it may.
    """
    try:
        require(name, proven=proven)
    except MissingID:
        reason = "required and absent"
    except UntrustedID:
        reason = "required and not proven"
    else:
        return None
    spec = get_binding().policy.specs.get(name)
    return Refusal(400 if spec is not None and spec.accept == "anyone" else 401, name, reason)


# Never from the cache: a dependency may have identified since it was first asked.
SessionID: TypeAlias = Annotated[str | None, Depends(_reading("session_id"), use_cache=False)]
UserID: TypeAlias = Annotated[str | None, Depends(_reading("user_id"), use_cache=False)]
TenantID: TypeAlias = Annotated[str | None, Depends(_reading("tenant_id"), use_cache=False)]
RequiredSessionID: TypeAlias = Annotated[
    str, Depends(_requiring("session_id", proven=False), use_cache=False)
]
RequiredUserID: TypeAlias = Annotated[str, Depends(_requiring("user_id"), use_cache=False)]
RequiredTenantID: TypeAlias = Annotated[str, Depends(_requiring("tenant_id"), use_cache=False)]
CurrentContext: TypeAlias = Annotated[SessionContext, Depends(_context, use_cache=False)]
"""
The request's IDs, which follow ``identify``; outside requests, what is bound.
"""

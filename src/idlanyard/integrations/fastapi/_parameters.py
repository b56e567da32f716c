"""
The IDs as annotated parameters, documented as headers.
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
    An ID that an endpoint requires and the request does not have.

    Attributes:
        refusal: the status, the ID and the reason.
    """

    def __init__(self, refusal: Refusal) -> None:
        _, headers, _ = build_problem(refusal)
        # If ``install`` was not called, FastAPI writes a body of another length.
        del headers["Content-Length"]
        super().__init__(refusal.status, f"{refusal.field}: {refusal.reason}", headers)
        self.refusal = refusal


def _header_of(name: str) -> Any:
    header, meaning = _HEADERS[name]
    return Header(None, alias=header, description=meaning, json_schema_extra={MARK: name})


# The header parameters are for the schema only: the IDs may have come from another source.
def _make_reader(name: str) -> Callable[..., Awaitable[str | None]]:
    async def read(header: str | None = _header_of(name)) -> str | None:
        warn_of_no_request(name)
        return get_id(name)

    return read


def _make_requirer(name: str, *, proven: bool | None = None) -> Callable[..., Awaitable[str]]:
    async def read(connection: HTTPConnection, header: str | None = _header_of(name)) -> str:
        warn_of_no_request(name)
        refusal = _find_refusal(name, proven=proven)
        if refusal is None:
            return str(get_id(name))
        offered: Any = connection.scope.get("extensions") or ()
        if connection.scope["type"] == "websocket" and "websocket.http.response" not in offered:
            raise WebSocketException(_POLICY_VIOLATION)
        raise RefusedID(refusal)

    return read


async def _read_context(
    session: str | None = _header_of("session_id"),
    user: str | None = _header_of("user_id"),
    tenant: str | None = _header_of("tenant_id"),
) -> SessionContext:
    warn_of_no_request("CurrentContext")
    binding = get_binding()
    return RequestContext(binding) if isinstance(binding, RequestIDs) else get_session_context()


def warn_of_no_request(asked: str) -> None:
    """
    Log a warning once if an endpoint asks for IDs and no middleware has bound any.

    Args:
        asked: the name of the ID, or of the function that asks.
    """
    if not is_bound():
        _failures.warn_once(
            "parameters without a request",
            "idlanyard: an endpoint asks for %s in a request that has no IDs: call "
            "idlanyard.integrations.fastapi.install(app) for the application that serves it, "
            "or take its path out of exclude",
            asked,
        )


def _find_refusal(name: str, *, proven: bool | None) -> Refusal | None:
    """
    Return the refusal if an ID is missing or not proven, else ``None``.
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


# Not cached by FastAPI: a dependency may call identify between two of these.
SessionID: TypeAlias = Annotated[str | None, Depends(_make_reader("session_id"), use_cache=False)]
"""
The session ID of the request, or ``None``.
"""
UserID: TypeAlias = Annotated[str | None, Depends(_make_reader("user_id"), use_cache=False)]
"""
The user ID of the request, or ``None``.
"""
TenantID: TypeAlias = Annotated[str | None, Depends(_make_reader("tenant_id"), use_cache=False)]
"""
The tenant ID of the request, or ``None``.
"""
RequiredSessionID: TypeAlias = Annotated[
    str, Depends(_make_requirer("session_id", proven=False), use_cache=False)
]
"""
The session ID, minted or sent; a request without one is answered 400.
"""
RequiredUserID: TypeAlias = Annotated[str, Depends(_make_requirer("user_id"), use_cache=False)]
"""
The user ID, proven as its rules ask; a request without it is answered 401.
"""
RequiredTenantID: TypeAlias = Annotated[str, Depends(_make_requirer("tenant_id"), use_cache=False)]
"""
The tenant ID, proven as its rules ask; a request without it is answered 401.
"""
CurrentContext: TypeAlias = Annotated[SessionContext, Depends(_read_context, use_cache=False)]
"""
The IDs of the request, which follow ``identify``; outside of requests, the current IDs.
"""

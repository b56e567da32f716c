"""
The HTTP API of a registry as a FastAPI router, with its schema.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from idlanyard._policy.peers import Everyone
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._checks import MOST_SECONDS
from idlanyard.registry._http._routes import Action
from idlanyard.registry._http._starlette import endpoints_of, match_whole_id, refuse_method
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, SessionsHandler

__all__ = ["sessions_router"]

_NO_CONTROL: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
_PARAMETER: Final[dict[str, Any]] = {
    "name": "session_id",
    "in": "path",
    "required": True,
    "description": "The session ID, percent-encoded, including slashes.",
    "schema": {"type": "string", "minLength": 1},
}


_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Text of the caller's choice for this one create, such as a UUID. The same request, sent "
        "again with the same key while its session lives, gets the first reply again. Quotes "
        "around the key are allowed."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


class SessionCreateRequest(BaseModel, extra="forbid"):
    """
    Fields of a new session; all are optional.
    """

    session_id: str | None = Field(
        None,
        max_length=1024,
        pattern=_NO_CONTROL,
        description="Your own session ID, up to 1,024 bytes; if left out, one is minted.",
    )
    client_id: str | None = Field(
        None,
        max_length=1024,
        pattern=_NO_CONTROL,
        description="The client that the session belongs to.",
    )
    metadata: dict[str, Any] | None = Field(
        None, description="Any JSON object, up to 16 KiB and 8 levels."
    )
    ttl: float | None = Field(
        None,
        gt=0,
        le=MOST_SECONDS,
        description="Seconds without input or an update after which the session expires; if left "
        "out, the service decides.",
    )


class SessionUpdateRequest(BaseModel, extra="forbid"):
    """
    Changes of a session; without any, only its time to live starts again.
    """

    ttl: float | None = Field(
        None,
        gt=0,
        le=MOST_SECONDS,
        description="Seconds to live from now on, and after later updates; if left out, as before.",
    )
    metadata: dict[str, Any] | None = Field(
        None, description="Replaces the session's metadata; if left out, that is kept."
    )


class SessionCreated(BaseModel):
    """
    A new session.
    """

    session_id: str
    created_at: datetime
    expires_at: datetime | None
    status: Literal["active"]
    message: str


class SessionState(BaseModel):
    """
    A living session.
    """

    session_id: str
    created_at: datetime
    expires_at: datetime | None
    status: Literal["active"]


class SessionEnded(BaseModel):
    """
    A session that was ended.
    """

    session_id: str
    status: Literal["ended"]
    message: str


class ErrorReply(BaseModel):
    """
    The reason why a request was refused.
    """

    error: Literal["HTTPException", "RequestValidationError"]
    message: str
    timestamp: datetime


_ERRORS: Final = {
    403: "Not allowed.",
    404: "No such session.",
    409: "The session ID is taken.",
    413: "The body is too long.",
    422: "The body, or the idempotency key, is refused.",
    500: "The registry is misconfigured.",
    503: "The registry is unavailable.",
}


def sessions_router(
    registry: SessionRegistry | AsyncSessionRegistry,
    *,
    on_input: OnInput | None = None,
    authorize: Authorize | Everyone | None = None,
    max_body: int = 65_536,
) -> APIRouter:
    """
    Return the HTTP API as a router, for ``app.include_router``.

    Routes and options are those of ``SessionsHandler``. Other paths and
    methods have FastAPI's own answers. Verbs of a ``SessionRegistry`` and
    plain functions run in worker threads of the face's own, 40 at most for
    each kind; async functions are awaited.

    Args:
        registry: the registry.
        on_input: answers input to a session; plain or async.
        authorize: decides about each request; plain or async.
        max_body: the most bytes of a body.

    Raises:
        TypeError: ``authorize`` is missing, or an option has a wrong type.
        PolicyError: ``max_body`` is no number of bytes.
    """
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    router = APIRouter(route_class=_WholeID, tags=["sessions"])
    for route, endpoint in endpoints_of(handler):
        described = _DESCRIBED[route.action]
        router.add_api_route(route.path, endpoint, methods=[route.method], **described)
    return router


class _WholeID(APIRoute):
    """
    A route for session IDs exactly as they were sent.
    """

    def matches(self, scope: Any) -> tuple[Any, Any]:
        return match_whole_id(scope, *super().matches(scope))

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        methods = self.methods or set()
        if scope["method"] in methods:
            await super().handle(scope, receive, send)
        else:
            await refuse_method(scope, receive, send, methods)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorReply, "description": _ERRORS[status]} for status in statuses}


def _body(schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


_DESCRIBED: Final[dict[Action, dict[str, Any]]] = {
    "create": {
        "name": "create_session",
        "summary": "Create a session",
        "response_model": SessionCreated,
        "responses": _errors(403, 409, 413, 422, 500, 503),
        "openapi_extra": {"parameters": [_KEY]}
        | _body(SessionCreateRequest.model_json_schema(), required=False),
    },
    "input": {
        "name": "send_session_input",
        "summary": "Send input to a session",
        "response_model": Any,
        "responses": _errors(403, 404, 413, 422, 500, 503),
        "openapi_extra": {"parameters": [_PARAMETER]} | _body({"type": "object"}, required=True),
    },
    "read": {
        "name": "read_session",
        "summary": "Read a session",
        "response_model": SessionState,
        "responses": _errors(403, 404, 500, 503),
        "openapi_extra": {"parameters": [_PARAMETER]},
    },
    "update": {
        "name": "update_session",
        "summary": "Extend a session, and optionally change it",
        "response_model": SessionState,
        "responses": _errors(403, 404, 413, 422, 500, 503),
        "openapi_extra": {"parameters": [_PARAMETER]}
        | _body(SessionUpdateRequest.model_json_schema(), required=False),
    },
    "end": {
        "name": "end_session",
        "summary": "End a session",
        "response_model": SessionEnded,
        "responses": _errors(403, 404, 500, 503),
        "openapi_extra": {"parameters": [_PARAMETER]},
    },
}

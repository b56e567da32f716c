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
from idlanyard.registry._http._session_request import Action
from idlanyard.registry._http._starlette import planned, refuse_method, whole
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry._rules import MOST_SECONDS
from idlanyard.registry.http import Authorize, OnInput, SessionsHandler

__all__ = ["sessions_router"]

_NO_CONTROL: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
_PARAMETER: Final[dict[str, Any]] = {
    "name": "session_id",
    "in": "path",
    "required": True,
    "description": "The session ID, percent-encoded, slashes too.",
    "schema": {"type": "string", "minLength": 1},
}


_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Text of the caller's choice for this one create, such as a UUID. The same request sent "
        "again with it, while its session lives, is answered as the first time. It may stand in "
        "quotes."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


class SessionCreateRequest(BaseModel, extra="forbid"):
    """
    Fields that a session is created with; all may be left out.
    """

    session_id: str | None = Field(
        None,
        max_length=1024,
        pattern=_NO_CONTROL,
        description="Your own session ID, up to 1,024 bytes; left out, one is minted.",
    )
    client_id: str | None = Field(
        None, max_length=1024, pattern=_NO_CONTROL, description="Whose session it is."
    )
    metadata: dict[str, Any] | None = Field(
        None, description="Any JSON object, up to 16 KiB and 8 levels."
    )
    ttl: float | None = Field(
        None,
        gt=0,
        le=MOST_SECONDS,
        description="After how many seconds without input or an update it expires; left out, "
        "as the service has it.",
    )


class SessionUpdateRequest(BaseModel, extra="forbid"):
    """
    Changes of a session; with none of them its time begins anew, and that is all.
    """

    ttl: float | None = Field(
        None,
        gt=0,
        le=MOST_SECONDS,
        description="How many seconds from now on, and after later updates; left out, as it was.",
    )
    metadata: dict[str, Any] | None = Field(
        None, description="Takes the place of what was left with the session; left out, that stays."
    )


class SessionCreated(BaseModel):
    """
    A session that was created.
    """

    session_id: str
    created_at: datetime
    expires_at: datetime | None
    status: Literal["active"]
    message: str


class SessionState(BaseModel):
    """
    A session that is known.
    """

    session_id: str
    created_at: datetime
    expires_at: datetime | None
    status: Literal["active"]


class SessionEnded(BaseModel):
    """
    A session that is no more.
    """

    session_id: str
    status: Literal["ended"]
    message: str


class ErrorReply(BaseModel):
    """
    Why a request was refused.
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
    500: "The registry is set up wrongly.",
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
    Return the API as a router, for ``app.include_router``.

    Its routes are ``POST /session/create``, ``GET``, ``PATCH`` and ``DELETE
    /session/{id}``, and ``POST /session/{id}/input`` where there is an
    ``on_input``. Whatever is none of them has FastAPI's own answer.

    Args:
        registry: the sessions. The verbs of a ``SessionRegistry`` run in
            threads of the face's own, 40 at most; the wait for one counts
            towards the registry's timeout.
        on_input: ``on_input(record, body)`` returns the reply to an input, as
            JSON has it; plain functions run in other threads of the face's
            own, async ones are awaited. The session is bound meanwhile.
        authorize: gets a ``SessionRequest`` and returns ``True`` for callers
            who may, or for a create a ``Grant``; plain or async. ``EVERYONE``
            spells out that nobody is checked.
        max_body: the most bytes of a body; more are answered 413.

    Raises:
        TypeError: ``authorize`` is missing, or one of them is something else.
        PolicyError: ``max_body`` is no number of bytes.
    """
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    router = APIRouter(route_class=_WholeID, tags=["sessions"])
    for route, endpoint in planned(handler):
        described = _DESCRIBED[route.action]
        router.add_api_route(route.path, endpoint, methods=[route.method], **described)
    return router


class _WholeID(APIRoute):
    """
    A route that takes session IDs as they were sent.
    """

    def matches(self, scope: Any) -> tuple[Any, Any]:
        return whole(scope, *super().matches(scope))

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
        "summary": "Look a session up",
        "response_model": SessionState,
        "responses": _errors(403, 404, 500, 503),
        "openapi_extra": {"parameters": [_PARAMETER]},
    },
    "update": {
        "name": "update_session",
        "summary": "Let a session live on, perhaps changed",
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

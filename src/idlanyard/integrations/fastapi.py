"""
FastAPI: ``install(app)``, and IDs as annotated parameters of an endpoint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, cast
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Response

from idlanyard._access import get_id, get_session_context, require
from idlanyard._binding import Scope, current
from idlanyard._case import Refusal
from idlanyard._change import identify
from idlanyard._echo import refused
from idlanyard._policy import Policy
from idlanyard._snapshot import SessionContext
from idlanyard._view import RequestContext
from idlanyard.exceptions import MissingID, UntrustedID
from idlanyard.integrations import starlette

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

_ADDED: Final = "_idlanyard_fastapi"
_MARK: Final = "x-idlanyard"
_POLICY_VIOLATION: Final = 1008
_ID_NAMES: Final = ("user_id", "id", "pk", "sub")
_HEADERS: Final = {
    "session_id": ("X-Session-ID", "The session; minted where it is absent."),
    "user_id": ("X-User-ID", "The user; believed from a trusted proxy only."),
    "tenant_id": ("X-Tenant-ID", "The tenant; believed from a trusted proxy only."),
}


def install(app: FastAPI, policy: Policy | None = None) -> Callable[[], None]:
    """
    Bind IDs for every request of *app*, outside everything else it does.

    As Starlette's ``install``; besides, a required ID that is missing is
    answered as a problem (R8), and the schema names this policy's headers.

    Args:
        app: an application that has not started yet.
        policy: the rules; left out, ``Policy.from_env()``.

    Returns:
        A function that takes this back.

    Raises:
        IDLanyardError: *app* has started, or has another policy.
        PolicyError: the environment describes no policy.
        TypeError: *app* or *policy* is something else.
    """
    policy = Policy.from_env() if policy is None else policy
    undo_stack = starlette.install(app, policy)
    additions: _Additions | None = app.__dict__.get(_ADDED)
    if additions is None:
        additions = _Additions(app, policy, undo_stack)
        setattr(app, _ADDED, additions)
    return additions.undo


class _Additions:
    """
    What FastAPI has besides the stack: the answer to a missing ID, and the schema.
    """

    __slots__ = ("_app", "_openapi", "_policy", "_undo_stack", "openapi", "undo")

    def __init__(self, app: FastAPI, policy: Policy, undo_stack: Callable[[], None]) -> None:
        self._app = app
        self._policy = policy
        self._undo_stack = undo_stack
        self._openapi = app.openapi
        # Bound once each, so that they can be told from another installation's.
        self.openapi = self._describe
        self.undo = self._take_back
        app.exception_handlers[RefusedID] = cast("Any", _answer)
        app.openapi = self.openapi  # type: ignore[method-assign]

    def _take_back(self) -> None:
        app = self._app
        if app.__dict__.get(_ADDED) is not self:
            return
        delattr(app, _ADDED)
        app.exception_handlers.pop(RefusedID, None)
        if app.__dict__.get("openapi") is self.openapi:
            app.openapi = self._openapi  # type: ignore[method-assign]
            app.openapi_schema = None
        self._undo_stack()

    def _describe(self) -> dict[str, Any]:
        schema = self._openapi()
        for path in schema.get("paths", {}).values():
            for operation in path.values():
                if "parameters" in operation:
                    operation["parameters"] = self._named(operation["parameters"])
        return schema

    def _named(self, parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """
        Return the parameters with our headers as this policy calls them, if it has them.
        """
        named: list[dict[str, Any]] = []
        for parameter in parameters:
            name = parameter.get("schema", {}).pop(_MARK, None)
            spec = self._policy.specs.get(name)
            if spec is not None:
                parameter["name"] = parameter["schema"]["title"] = spec.header
            if name is None or spec is not None:
                named.append(parameter)
        return named


class RefusedID(HTTPException):
    """
    An endpoint asked for an ID that the request does not have.

    Attributes:
        refusal: status, field and reason (R8).
    """

    def __init__(self, refusal: Refusal) -> None:
        _, headers, _ = refused(refusal)
        # Without ``install`` FastAPI writes a body of its own, of another length.
        del headers["Content-Length"]
        super().__init__(refusal.status, f"{refusal.field}: {refusal.reason}", headers)
        self.refusal = refusal


async def _answer(connection: Any, error: Any) -> Response | None:
    """
    Answer as the middleware answers: a problem, or a WebSocket that is never accepted (R8).
    """
    scope: dict[str, Any] = connection.scope
    offered: Any = scope.get("extensions") or ()
    if scope["type"] == "websocket" and "websocket.http.response" not in offered:
        await connection.close(_POLICY_VIOLATION)
        return None
    _, headers, body = refused(error.refusal)
    return Response(body, error.refusal.status, headers)


def _documented(name: str) -> Any:
    header, meaning = _HEADERS[name]
    return Header(None, alias=header, description=meaning, json_schema_extra={_MARK: name})


# The headers are parameters for the schema's sake: what is in force may come from elsewhere.
def _reading(name: str) -> Callable[..., Awaitable[str | None]]:
    async def read(header: str | None = _documented(name)) -> str | None:
        return get_id(name)

    return read


def _requiring(name: str, *, proven: bool | None = None) -> Callable[..., Awaitable[str]]:
    async def read(header: str | None = _documented(name)) -> str:
        return _required(name, proven=proven)

    return read


async def _context(
    session: str | None = _documented("session_id"),
    user: str | None = _documented("user_id"),
    tenant: str | None = _documented("tenant_id"),
) -> SessionContext:
    node = current()
    return RequestContext(node) if isinstance(node, Scope) else get_session_context()


def _required(name: str, *, proven: bool | None = None) -> str:
    try:
        return require(name, proven=proven)
    except MissingID:
        reason = "required and absent"
    except UntrustedID:
        reason = "required and not proven"
    spec = current().policy.specs.get(name)
    status = 400 if spec is not None and spec.accept == "anyone" else 401
    raise RefusedID(Refusal(status, name, reason))


SessionID: TypeAlias = Annotated[str | None, Depends(_reading("session_id"))]
UserID: TypeAlias = Annotated[str | None, Depends(_reading("user_id"))]
TenantID: TypeAlias = Annotated[str | None, Depends(_reading("tenant_id"))]
RequiredSessionID: TypeAlias = Annotated[str, Depends(_requiring("session_id", proven=False))]
RequiredUserID: TypeAlias = Annotated[str, Depends(_requiring("user_id"))]
RequiredTenantID: TypeAlias = Annotated[str, Depends(_requiring("tenant_id"))]
CurrentContext: TypeAlias = Annotated[SessionContext, Depends(_context)]
"""
The request's IDs, which follow ``identify``; outside requests, what is bound.
"""


def identified(
    dependency: Callable[..., Any], **ids: Callable[[Any], object]
) -> Callable[..., Any]:
    """
    Return a dependency that names whom the application's own one returns.

    Use it in its place, as in ``Depends(identified(current_user))``: it
    returns the same user, for whom the request is then identified. ``None``
    identifies nobody.

    Args:
        dependency: returns the current user; sync, async or with ``yield``.
        ids: what to take from the user for each ID, as in
            ``tenant_id=lambda user: user.organisation_id``. Left out, the
            user ID is the user where it is text, a number or a UUID, and
            else its ``user_id``, ``id``, ``pk`` or ``sub``, as attribute or
            key.
    """

    async def identified_user(user: Any = Depends(dependency)) -> Any:
        if user is not None:
            found = {name: take(user) for name, take in (ids or {"user_id": _id_of}).items()}
            identify(**{n: None if v is None else str(v) for n, v in found.items()})
        return user

    return identified_user


def _id_of(user: Any) -> object:
    if isinstance(user, str | int | UUID):
        return user
    keyed = isinstance(user, Mapping)
    for name in _ID_NAMES:
        value = _part(user, name, keyed=keyed)
        if value is not None:
            return value
    kind, names = user.__class__.__name__, ", ".join(_ID_NAMES)
    raise TypeError(f"no {names} on {kind}: write identified(..., user_id=lambda user: ...)")


def _part(user: Any, name: str, *, keyed: bool) -> object:
    return user.get(name) if keyed else getattr(user, name, None)
